"""Mixtral: Mistral with eight experts in place of each MLP (arXiv 2401.04088).

Source: `modeling_mixtral.py` and `configuration_mixtral.py` of Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch, Experts, Parts
from jaxbpc.models.families import llama, mistral
from jaxbpc.models.hf_config import Fields

_EXPERT = "model.layers.{l}.block_sparse_moe.experts.{e}"
NAMES = {
    **{name: parameter for name, parameter in llama.NAMES.items() if ".mlp." not in name},
    "model.layers.{l}.block_sparse_moe.gate.weight": "layers.{l}.mlp.router.weight",
    f"{_EXPERT}.w1.weight": Parts(("layers.{l}.mlp.gate",), transposed=True),
    f"{_EXPERT}.w3.weight": Parts(("layers.{l}.mlp.up",), transposed=True),
    f"{_EXPERT}.w2.weight": Parts(("layers.{l}.mlp.down",), transposed=True),
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        rms_norm_eps=1e-5,
        rope_theta=1e6,
        max_position_embeddings=131_072,
        num_key_value_heads=config.get("num_key_value_heads", 8),  # null: one a head
    )
    fields.optional("router_jitter_noise")  # of training
    arch = mistral.windowed(llama.llama_like(fields, "mixtral"), fields)
    experts = Experts(
        n=fields.get("num_local_experts", int, 8),
        top=fields.get("num_experts_per_tok", int, 2),
        size=arch.mlp.size,
        activation=arch.mlp.activation,
        normalize=True,
    )
    layers = tuple(dataclasses.replace(layer, experts=True) for layer in arch.layers)
    fields.finish()
    return dataclasses.replace(arch, experts=experts, layers=layers)
