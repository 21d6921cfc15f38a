"""Qwen 3 MoE: Qwen 3 with experts.

Source: `modeling_qwen3_moe.py` and `configuration_qwen3_moe.py` of Hugging Face transformers;
arXiv 2505.09388.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import llama, mistral, qwen2_moe, qwen3
from jaxbpc.models.hf_config import Fields

NAMES = {**qwen3.NAMES, **qwen2_moe.EXPERT_NAMES}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        num_key_value_heads=4,
        sliding_window=config.get("sliding_window", 4096),
        max_position_embeddings=32768,
        intermediate_size=6144,
        moe_intermediate_size=768,
        num_experts=config.get("num_local_experts") or 128,  # as transformers 5 writes it
        num_experts_per_tok=8,
    )
    fields.refuse_unless(mlp_bias=(False,), num_local_experts=(fields.optional("num_experts"),))
    arch = qwen3.normed(llama.llama_like(fields, "qwen3_moe", whole=True))
    if fields.get("use_sliding_window", bool, False):
        fields.refuse_unless(max_window_layers=(0,))  # once it spared the first layers
        arch = mistral.windowed(arch, fields)
    fields.ignore("sliding_window", "max_window_layers")
    experts = qwen2_moe.read_experts(fields, arch.mlp.activation)
    arch = qwen2_moe.sparse(dataclasses.replace(arch, experts=experts), fields)
    fields.finish()
    return arch
