"""Qwen 3: Llama with a norm of each query and key, whose heads have a size of their own.

Source: `modeling_qwen3.py` and `configuration_qwen3.py` of Hugging Face transformers;
arXiv 2505.09388.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import llama, qwen2
from jaxbpc.models.hf_config import Fields

NAMES = {
    **llama.NAMES,
    "model.layers.{l}.self_attn.q_norm.weight": "layers.{l}.attention.query_norm.weight",
    "model.layers.{l}.self_attn.k_norm.weight": "layers.{l}.attention.key_norm.weight",
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        num_key_value_heads=config.get("num_key_value_heads", 32),
        sliding_window=config.get("sliding_window", 4096),
        max_position_embeddings=32768,
        intermediate_size=22016,
        head_dim=128,
    )
    fields.refuse_unless(mlp_bias=(False,))
    arch = normed(llama.llama_like(fields, "qwen3", whole=True))
    arch = qwen2.sliding(arch, fields, lambda i, n: i >= n)
    fields.finish()
    return arch


def normed(arch: Arch) -> Arch:
    """`arch` with its norm on the queries and keys of each head."""
    return dataclasses.replace(arch, attention=dataclasses.replace(arch.attention, norm=arch.norm))
