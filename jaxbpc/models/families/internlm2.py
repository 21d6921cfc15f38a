"""InternLM 2 and 2.5: Llama with queries, keys and values in one matrix, a group after the other.

Source: `modeling_internlm2.py` and `configuration_internlm2.py`, published beside the weights;
arXiv 2403.17297.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Parts
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields

_LAYER, _OURS = "model.layers.{l}", "layers.{l}"
_QKV = tuple(f"{_OURS}.attention.{name}" for name in ("query", "key", "value"))
_KINDS = ("weight", "bias")
NAMES: dict[str, str | Parts] = {
    "model.tok_embeddings.weight": "embed.weight",
    f"{_LAYER}.attention_norm.weight": f"{_OURS}.attention_norm.weight",
    # Of each group: its query heads, its key, its value.
    **{
        f"{_LAYER}.attention.wqkv.{kind}": Parts(tuple(f"{p}.{kind}" for p in _QKV), "groups")
        for kind in _KINDS
    },
    **{f"{_LAYER}.attention.wo.{kind}": f"{_OURS}.attention.out.{kind}" for kind in _KINDS},
    f"{_LAYER}.ffn_norm.weight": f"{_OURS}.mlp_norm.weight",
    f"{_LAYER}.feed_forward.w1.weight": f"{_OURS}.mlp.gate.weight",
    f"{_LAYER}.feed_forward.w3.weight": f"{_OURS}.mlp.up.weight",
    f"{_LAYER}.feed_forward.w2.weight": f"{_OURS}.mlp.down.weight",
    "model.norm.weight": "norm.weight",
    "output.weight": "head.weight",
}
# Tables that checkpoints store and that are computed from the config.
UNUSED = (f"{_LAYER}.attention.rotary_emb.inv_freq",)


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    # Llama's, which this family's code does not read.
    fields.refuse_unless(attention_bias=(), mlp_bias=(), head_dim=(), tie_word_embeddings=(False,))
    arch = llama.llama_like(fields, "internlm2", whole=True)
    kinds = {layer.rope.kind for layer in arch.layers if layer.rope}
    if not kinds <= {"default", "linear", "dynamic"}:
        raise InputError(
            f"{where}: `rope_scaling` is of type {kinds}: linear or dynamic is handled"
        )
    bias = fields.get("bias", bool, True)
    fields.finish()
    attention = dataclasses.replace(arch.attention, bias=bias, out_bias=bias)
    return dataclasses.replace(arch, attention=attention)
