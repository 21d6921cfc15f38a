"""Gemma 3: Gemma 2 with normed queries and keys instead of soft caps, and two kinds of RoPE.

Five layers of six see a window and turn fast; the sixth sees everything and turns slowly.
Source: `modeling_gemma3.py` and `configuration_gemma3.py` of Hugging Face transformers;
arXiv 2503.19786.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Rope
from jaxbpc.models.families import gemma2, llama
from jaxbpc.models.hf_config import Fields, layer_kinds
from jaxbpc.models.hf_rope import read_rope

_ATTENTION = "model.layers.{l}.self_attn"
NAMES = {
    **gemma2.NAMES,
    f"{_ATTENTION}.q_norm.weight": "layers.{l}.attention.query_norm.weight",
    f"{_ATTENTION}.k_norm.weight": "layers.{l}.attention.key_norm.weight",
}
UNUSED = llama.UNUSED
# The sizes of 4B, which its published file leaves out.
_DEFAULTS = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, **_DEFAULTS)
    arch = gemma2.sandwiched(fields, "gemma3_text")
    attention = dataclasses.replace(arch.attention, norm=arch.norm)
    # The published code reads the first of these and does nothing with it.
    fields.refuse_unless(attn_logit_softcapping=())
    softcap = None
    if fields.optional("final_logit_softcapping") is not None:
        softcap = fields.get("final_logit_softcapping", float)
    kinds = layer_kinds(fields, arch.n_layers, _kinds(fields, arch.n_layers))
    ropes = {
        "full_attention": rope_of_kind(fields, "full_attention", "rope_theta", 1e6),
        "sliding_attention": rope_of_kind(fields, "sliding_attention", "rope_local_base_freq", 1e4),
    }
    layers = gemma2.windowed(fields, kinds, ropes, config)
    fields.finish()
    return dataclasses.replace(arch, attention=attention, layers=layers, logit_softcap=softcap)


def _kinds(fields: Fields, n_layers: int) -> list[str]:
    """`layer_types` of older files: every `sliding_window_pattern`th layer sees everything."""
    pattern = fields.get("sliding_window_pattern", int, 6)
    if fields.optional("layer_types") is None:
        fields.refuse_unless(_sliding_window_pattern=(pattern,))
    fields.ignore("_sliding_window_pattern")
    return [
        "sliding_attention" if i % pattern else "full_attention" for i in range(1, n_layers + 1)
    ]


def rope_of_kind(fields: Fields, kind: str, theta: str, default_theta: float) -> Rope:
    """The RoPE of layers of a kind: its entry of `rope_parameters`, or the fields of older files.

    `rope_scaling` of older files is of the layers with full attention alone.

    Args:
      theta: the older files' field.

    Raises:
      InputError: a `rope_parameters` that is not by kind of layer, or both spellings.
    """
    new, old = fields.optional("rope_parameters") or {}, fields.optional("rope_scaling")
    kinds = {"full_attention", "sliding_attention"}
    if not isinstance(new, Mapping) or not new.keys() <= kinds or (new and old):
        raise InputError(
            f"{fields.where}: `rope_parameters` is {new!r} beside `rope_scaling` {old!r}: handled "
            "is one of them, and the former by kind of layer, 'full_attention' and "
            "'sliding_attention'"
        )
    config = {
        "rope_theta": fields.get(theta, float, default_theta),
        "rope_parameters": new.get(kind),
        "rope_scaling": old if kind == "full_attention" else None,
        "max_position_embeddings": fields.get("max_position_embeddings", int),
        "partial_rotary_factor": fields.optional("partial_rotary_factor"),
    }
    return read_rope(Fields(config, fields.where), whole=True)
