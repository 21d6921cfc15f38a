"""Reading a config.json: every field is asked for, or the file is refused.

A field that a family does not handle is an error that names it, never a slightly wrong number.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Experts

# Fields of any config.json that do not change what the model computes on a full window of text:
# training, generation, caching, bookkeeping, special ids.
IGNORED = frozenset(
    [
        "architectures",
        "model_type",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "_name_or_path",
        "auto_map",
        "use_cache",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "unk_token_id",
        "sep_token_id",
        "decoder_start_token_id",
        "initializer_range",
        "pretraining_tp",
        "attention_dropout",
        "hidden_dropout",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "router_aux_loss_coef",
        "return_dict",
        "return_dict_in_generate",
        "use_return_dict",
        "quantization_config",  # of the weights alone: `checkpoint/quantization.py` reads it
        "torchscript",
        "gradient_checkpointing",
        "tokenizer_class",
        "task_specific_params",
        "problem_type",
        "finetuning_task",
        "id2label",
        "label2id",
        "prefix",
        "chunk_size_feed_forward",
        "is_encoder_decoder",
        "cross_attention_hidden_size",
        "_attn_implementation",
        "attn_implementation",
        "_commit_hash",
        "max_length",
        "min_length",
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "num_beams",
        "num_return_sequences",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "early_stopping",
        "num_beam_groups",
        "diversity_penalty",
        "typical_p",
        "bad_words_ids",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "suppress_tokens",
        "begin_suppress_tokens",
        "exponential_decay_length_penalty",
        "encoder_no_repeat_ngram_size",
        "output_scores",
        "tf_legacy_loss",
        "use_bfloat16",
        "pruned_heads",
        "is_decoder",
        "add_cross_attention",
        "tie_encoder_decoder",
        "is_llama_config",
        "rope_interleaved",
    ]
)
# Of these the default alone is harmless; another value is refused.
_DEFAULTS: dict[str, Any] = {
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "rope_interleaved": False,
}


# Hugging Face's name → ours.
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
}


# Counts, by what their field is called: far above any model's, and what is made for each is little.
_MOST = {"layer": 1_000, "expert": 1 << 16, "head": 1 << 16}


class Fields:
    """A config.json being read: remembers what was asked for, refuses what was left over."""

    def __init__(self, config: Mapping[str, Any], where: str, **defaults: Any):
        """defaults: for fields that are absent or null (see `get`), where helpers do not know."""
        given = {name: value for name, value in config.items() if value is not None}
        self.config: Mapping[str, Any] = defaults | given
        self._nulls = config.keys() - given.keys()
        self.where = where
        self._seen: set[str] = set()

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        """Field `name` as an int, float, bool, str or dict; the default where absent or null.

        Raises:
          InputError: it is missing and has no default, is of another type or not positive, or is
            null where absent is true.
        """
        self._seen.add(name)
        value = self.config.get(name)
        if name in self._nulls and (default if value is None else value) is True:
            # transformers takes null for false: who wrote it may have meant the default.
            raise InputError(f"{self.where}: `{name}` is null: give true or false")
        if value is None:
            if default is None:
                raise InputError(f"{self.where}: `{name}` is missing: a model needs it")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 2**1000 else math.inf
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(
                f"{self.where}: `{name}` is {value!r}: its type is {kind.__name__}, fix the file"
            )
        most = 2**40
        if kind is int and "size" not in name:
            most = min((n for what, n in _MOST.items() if what in name), default=most)
        if isinstance(value, int | float) and kind is not bool and not 0 < value <= most:
            raise InputError(f"{self.where}: `{name}` is {value}: an impossible size, fix the file")
        return value

    def optional(self, name: str) -> Any:
        """Field `name` as it stands; None where it is absent."""
        self._seen.add(name)
        return self.config.get(name)

    def count(self, name: str, default: int) -> int:
        """An int that may be 0."""
        return 0 if self.optional(name) == 0 else self.get(name, int, default)

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """A field that is one of `choices`. Raises InputError otherwise."""
        value = self.get(name, str, default)
        if value not in choices:
            raise InputError(
                f"{self.where}: `{name}` is {value!r}, which this model family does not handle; "
                f"it handles {', '.join(sorted(choices))}"
            )
        return value

    def activation(self, name: str, default: str) -> str:
        """An activation by Hugging Face's name, as `layers.ACTIVATIONS` calls it."""
        return _ACTIVATIONS[self.choice(name, _ACTIVATIONS, default)]

    def divide(self, whole: str, parts: str) -> int:
        """One field by another. Raises InputError where it is no multiple."""
        a, b = self.get(whole, int), self.get(parts, int)
        if a % b:
            raise InputError(f"{self.where}: `{whole}` {a} is no multiple of `{parts}` {b}")
        return a // b

    def ignore(self, *names: str) -> None:
        """Fields of this family that do not change what it computes."""
        self._seen.update(names)

    def refuse_unless(self, **allowed: tuple) -> None:
        """Fields that this family handles at these values (or null, or absent) alone."""
        for name, values in allowed.items():
            value = self.optional(name)
            if value is not None and value not in values:
                raise InputError(
                    f"{self.where}: `{name}` is {value!r}, handled is "
                    f"{' or '.join(map(repr, values)) or 'null'}"
                )

    def finish(self) -> None:
        """Raises InputError naming all fields that nobody read and that may change the model."""
        left = []
        for name, value in self.config.items():
            if name in self._seen or (name in IGNORED and name not in _DEFAULTS):
                continue
            if value is None or (name in _DEFAULTS and value == _DEFAULTS[name]):
                continue
            left.append(f"{name}={value!r}"[:80])
        if left:
            raise InputError(
                f"{self.where}: fields that jaxbpc does not know for this architecture: "
                f"{', '.join(left)}; remove those that do not change the model"
            )


def layer_kinds(fields: Fields, n_layers: int, default: Sequence[str]) -> tuple[str, ...]:
    """`layer_types`, or `default`: 'full_attention' or 'sliding_attention' for each layer."""
    kinds = tuple(map(str, fields.get("layer_types", list, list(default))))
    unknown = set(kinds) - {"full_attention", "sliding_attention"}
    if unknown or len(kinds) != n_layers:
        raise InputError(
            f"{fields.where}: `layer_types` has {len(kinds)} entries of {sorted(set(kinds))} for "
            f"{n_layers} layers: one each, 'full_attention' or 'sliding_attention'"
        )
    return kinds


def read_heads(fields: Fields, n_kv_default: int | None = None) -> tuple[int, int, int]:
    """(query heads, key heads, head size) by their usual names, checked to fit each other."""
    embed = fields.get("hidden_size", int)
    n_heads = fields.get("num_attention_heads", int)
    n_kv_heads = fields.get("num_key_value_heads", int, n_kv_default or n_heads)
    if not fields.optional("head_dim") and embed % n_heads:
        raise InputError(
            f"{fields.where}: `hidden_size` {embed} is no multiple of `num_attention_heads` "
            f"{n_heads}"
        )
    if n_heads % n_kv_heads:
        raise InputError(
            f"{fields.where}: `num_attention_heads` {n_heads} is no multiple of "
            f"`num_key_value_heads` {n_kv_heads}"
        )
    head_size = fields.get("head_dim", int, embed // n_heads)
    if head_size % 2:
        raise InputError(f"{fields.where}: `head_dim` {head_size} is odd: RoPE turns pairs")
    return n_heads, n_kv_heads, head_size


def fit_experts(fields: Fields, experts: Experts) -> Experts:
    """`experts`, checked: as many as are chosen can be. Raises InputError."""
    e = experts
    if e.n % e.groups or e.top_groups > e.groups or e.group_best > e.n // e.groups:
        raise InputError(
            f"{fields.where}: {e.n} experts in {e.groups} groups, of which the best {e.top_groups} "
            f"by {e.group_best} experts each are taken: fix the file"
        )
    if e.top > e.top_groups * (e.n // e.groups):
        raise InputError(
            f"{fields.where}: a token chooses {e.top} of {e.n} experts, more than it may"
        )
    return e
