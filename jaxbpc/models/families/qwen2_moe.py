"""Qwen 1.5 MoE and Qwen 2 MoE: small experts, and one for every token that a gate weighs.

Source: `modeling_qwen2_moe.py` and `configuration_qwen2_moe.py` of Hugging Face transformers;
arXiv 2407.10671.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Experts, Parts
from jaxbpc.models.families import llama, qwen2
from jaxbpc.models.hf_config import Fields, fit_experts

_MLP, _OURS = "model.layers.{l}.mlp", "layers.{l}.mlp"
EXPERT_NAMES: dict[str, str | Parts] = {
    f"{_MLP}.gate.weight": f"{_OURS}.router.weight",
    **{
        f"{_MLP}.experts.{{e}}.{name}_proj.weight": Parts((f"{_OURS}.{name}",), transposed=True)
        for name in ("gate", "up", "down")
    },
}
NAMES = {
    **llama.NAMES,
    **EXPERT_NAMES,
    f"{_MLP}.shared_expert.gate_proj.weight": f"{_OURS}.shared.gate.weight",
    f"{_MLP}.shared_expert.up_proj.weight": f"{_OURS}.shared.up.weight",
    f"{_MLP}.shared_expert.down_proj.weight": f"{_OURS}.shared.down.weight",
    f"{_MLP}.shared_expert_gate.weight": f"{_OURS}.shared_gate.weight",
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        num_key_value_heads=config.get("num_key_value_heads", 16),
        sliding_window=config.get("sliding_window", 4096),
        max_position_embeddings=32768,
        intermediate_size=5632,
        moe_intermediate_size=1408,
        num_experts=60,
        num_experts_per_tok=4,
    )
    fields.refuse_unless(mlp_bias=(False,))
    arch = llama.llama_like(fields, "qwen2_moe", whole=True)
    bias = fields.get("qkv_bias", bool, True)
    attention = dataclasses.replace(arch.attention, bias=bias, out_bias=False)
    arch = dataclasses.replace(arch, attention=attention)
    arch = qwen2.sliding(arch, fields, lambda i, n: i % 2 == 0 and i < n)
    shared = fields.get("shared_expert_intermediate_size", int, 5632)
    experts = read_experts(fields, arch.mlp.activation)
    experts = dataclasses.replace(experts, shared=shared, shared_gate=True)
    arch = sparse(dataclasses.replace(arch, experts=experts), fields)
    fields.finish()
    return arch


def read_experts(fields: Fields, activation: str) -> Experts:
    """The experts of this family and the next, without those that every token goes through."""
    experts = Experts(
        n=fields.get("num_experts", int),
        top=fields.get("num_experts_per_tok", int),
        size=fields.get("moe_intermediate_size", int),
        activation=activation,
        normalize=fields.get("norm_topk_prob", bool, False),
    )
    return fit_experts(fields, experts)


def sparse(arch: Arch, fields: Fields) -> Arch:
    """`arch` with experts every `decoder_sparse_step` layers, but in `mlp_only_layers`."""
    step = fields.get("decoder_sparse_step", int, 1)
    plain = fields.get("mlp_only_layers", list, [])
    if not all(isinstance(i, int) for i in plain):
        raise InputError(f"{fields.where}: `mlp_only_layers` is {plain!r}: it lists layers")
    layers = tuple(
        dataclasses.replace(layer, experts=(i + 1) % step == 0 and i not in plain)
        for i, layer in enumerate(arch.layers)
    )
    return dataclasses.replace(arch, layers=layers)
