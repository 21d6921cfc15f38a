"""gpt-oss 20B and 120B: sinks, a sliding window in every other layer, experts in four bits.

Source: `modeling_gpt_oss.py` and `configuration_gpt_oss.py` of Hugging Face transformers;
arXiv 2508.10925. Rows of experts' gates and ups come in turn; published checkpoints store them
packed (`checkpoint/mapping.py`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Clamped, Experts, Parts
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields, fit_experts, layer_kinds

_MLP, _OURS = "model.layers.{l}.mlp", "layers.{l}.mlp"
_GATE_UP = (f"{_OURS}.gate", f"{_OURS}.up")
NAMES = {
    **{name: to for name, to in llama.NAMES.items() if ".mlp." not in name},
    "model.layers.{l}.self_attn.sinks": "layers.{l}.attention.sinks",
    f"{_MLP}.router.weight": f"{_OURS}.router.weight",
    f"{_MLP}.router.bias": f"{_OURS}.router.bias",
    f"{_MLP}.experts.gate_up_proj": Parts(_GATE_UP, "pairs", axis=2),
    f"{_MLP}.experts.gate_up_proj_bias": Parts(
        (f"{_OURS}.gate_bias", f"{_OURS}.up_bias"), "pairs", axis=1
    ),
    f"{_MLP}.experts.down_proj": f"{_OURS}.down",
    f"{_MLP}.experts.down_proj_bias": f"{_OURS}.down_bias",
    # Packed, the rows of a matrix are its outputs.
    f"{_MLP}.experts.gate_up_proj_blocks": Parts(_GATE_UP, "pairs", transposed=True, axis=2),
    f"{_MLP}.experts.down_proj_blocks": Parts((f"{_OURS}.down",), transposed=True),
}
UNUSED = llama.UNUSED
_YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        rope_parameters=None if config.get("rope_scaling") else _YARN,
        rope_theta=150000.0,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        num_key_value_heads=config.get("num_key_value_heads", 8),
        head_dim=config.get("head_dim", 64),
        sliding_window=config.get("sliding_window", 128),
        attention_bias=True,
        num_experts_per_tok=4,
        intermediate_size=2880,
    )
    fields.refuse_unless(
        mlp_bias=(False,), experts_per_token=(fields.optional("num_experts_per_tok"),)
    )
    fields.ignore("initial_context_length")  # is in the RoPE settings as well
    arch = llama.llama_like(fields, "gpt_oss", whole=True)
    slope, limit = fields.get("swiglu_alpha", float, 1.702), fields.get("swiglu_limit", float, 7.0)
    experts = Experts(
        n=fields.get("num_local_experts", int, 128),
        top=fields.get("num_experts_per_tok", int),
        size=arch.mlp.size,
        activation=arch.mlp.activation,
        clamped=Clamped(slope, limit),
        score="softmax_top",
        router_bias=True,
        bias=True,
    )
    default = ["full_attention" if i % 2 else "sliding_attention" for i in range(arch.n_layers)]
    kinds = layer_kinds(fields, arch.n_layers, default)
    if fields.optional("sliding_window") is None and "sliding_attention" in kinds:
        raise InputError(f"{where}: `layer_types` has sliding windows, `sliding_window` is null")
    windows = {"full_attention": None, "sliding_attention": fields.get("sliding_window", int, 1)}
    layers = tuple(
        dataclasses.replace(layer, window=windows[kind], experts=True)
        for layer, kind in zip(arch.layers, kinds, strict=True)
    )
    fields.finish()
    attention = dataclasses.replace(arch.attention, sinks=True)
    return dataclasses.replace(
        arch, layers=layers, attention=attention, experts=fit_experts(fields, experts)
    )
