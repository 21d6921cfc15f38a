"""Mistral 7B and its kin: Llama with a sliding window in every layer.

Source: `modeling_mistral.py` and `configuration_mistral.py` of Hugging Face transformers;
arXiv 2310.06825.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields

NAMES = llama.NAMES
UNUSED = llama.UNUSED
TREES = llama.TREES


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        max_position_embeddings=131_072,
        num_key_value_heads=config.get("num_key_value_heads", 8),  # null: one a head
        sliding_window=config.get("sliding_window", 4096),  # null: none
    )
    arch = windowed(llama.llama_like(fields, "mistral"), fields)
    fields.finish()
    return arch


def windowed(arch: Arch, fields: Fields) -> Arch:
    """`arch` with `sliding_window`, where it is not null, in every layer."""
    window = fields.optional("sliding_window")
    if window is not None:
        window = fields.get("sliding_window", int)
    layers = tuple(dataclasses.replace(layer, window=window) for layer in arch.layers)
    return dataclasses.replace(arch, layers=layers)
