"""Arch: every difference between model families, as data.

`decoder.py` builds one model from it. A family's file turns a Hugging Face `config.json` into an
Arch; the helpers here refuse what would otherwise be ignored: a field of the config that the family
does not handle is an error that names it, never a slightly wrong number.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from jaxbpc.errors import InputError

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
_DEFAULTS: dict[str, Any] = {"is_encoder_decoder": False, "add_cross_attention": False}
_DEFAULTS |= {"rope_interleaved": False}


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary position embedding, in the terms of transformers' `rope_parameters`.

    kind: 'default', 'linear' or 'llama3'. The rest holds where the kind uses it.
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_length: int = 0


@dataclasses.dataclass(frozen=True)
class Arch:
    """One decoder-only transformer. Sizes are counts; `max_length` is in tokens."""

    family: str
    n_layers: int
    embed: int
    n_heads: int
    n_kv_heads: int
    head_size: int
    mlp: int
    vocab_size: int
    max_length: int
    norm_eps: float
    rope: Rope
    activation: str = "silu"
    tied: bool = False
    attention_bias: bool = False
    attention_out_bias: bool = False
    mlp_bias: bool = False


class Fields:
    """A config.json being read: remembers what was asked for, refuses what was left over."""

    def __init__(self, config: Mapping[str, Any], where: str):
        self.config = config
        self.where = where
        self._seen: set[str] = set()

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        """Field `name` as an int, float, bool, str or dict; the default where absent or null.

        Raises:
          InputError: it is missing and has no default, or is of another type, or not positive.
        """
        self._seen.add(name)
        value = self.config.get(name)
        if value is None:
            if default is None:
                raise InputError(f"{self.where}: `{name}` is missing: a model needs it")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(
                f"{self.where}: `{name}` is {value!r}: its type is {kind.__name__}, mend the file"
            )
        if isinstance(value, int | float) and kind is not bool and not 0 < value < 2**40:
            raise InputError(
                f"{self.where}: `{name}` is {value}: an impossible size, mend the file"
            )
        return value

    def optional(self, name: str) -> Any:
        """Field `name` as it stands; None where it is absent."""
        self._seen.add(name)
        return self.config.get(name)

    def choice(self, name: str, choices: Collection[str], default: str) -> str:
        """A field that is one of `choices`. Raises InputError otherwise."""
        value = self.get(name, str, default)
        if value not in choices:
            raise InputError(
                f"{self.where}: `{name}` is {value!r}, which this model family does not handle; "
                f"it handles {', '.join(sorted(choices))}"
            )
        return value

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


def read_rope(fields: Fields, default_theta: float = 10000.0) -> Rope:
    """The RoPE settings, from `rope_parameters`, or `rope_theta` and `rope_scaling` of older files.

    Raises:
      InputError: a kind or key that is not handled.
    """
    theta = fields.get("rope_theta", float, default_theta)
    new, old = fields.optional("rope_parameters"), fields.optional("rope_scaling")
    given = dict(new or old or {})
    where = f"{fields.where}: `{'rope_parameters' if new else 'rope_scaling'}`"
    kind = given.pop("rope_type", None) or given.get("type") or "default"
    given.pop("type", None)
    inner = Fields(given, where)
    theta = inner.get("rope_theta", float, theta)
    length = fields.get("max_position_embeddings", int, 2048)
    if kind == "default":
        rope = Rope(theta)
    elif kind == "linear":
        rope = Rope(theta, kind, factor=inner.get("factor", float))
    elif kind == "llama3":
        rope = Rope(
            theta,
            kind,
            factor=inner.get("factor", float),
            low_freq_factor=inner.get("low_freq_factor", float),
            high_freq_factor=inner.get("high_freq_factor", float),
            original_length=inner.get("original_max_position_embeddings", int, length),
        )
    else:
        raise InputError(f"{where} is of type {kind!r}; handled: default, linear, llama3")
    inner.finish()
    return rope
