"""SmolLM3: Llama without rotation in every fourth layer.

Source: `modeling_smollm3.py` and `configuration_smollm3.py` of Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch
from jaxbpc.models.families import llama, qwen2
from jaxbpc.models.hf_config import Fields

NAMES = llama.NAMES
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        num_key_value_heads=config.get("num_key_value_heads", 4),
        max_position_embeddings=32768,
        intermediate_size=11008,
        rope_theta=2000000.0,
        tie_word_embeddings=True,
    )
    arch = llama.llama_like(fields, "smollm3", whole=True)
    interval = fields.get("no_rope_layer_interval", int, 4)
    turned = [int((i + 1) % interval != 0) for i in range(arch.n_layers)]
    turned = fields.get("no_rope_layers", list, turned)  # 1: RoPE, whatever the name says
    if len(turned) < arch.n_layers or any(rope not in (0, 1) for rope in turned):
        raise InputError(f"{where}: `no_rope_layers` is {turned!r}: 0 or 1 for each layer")
    arch = qwen2.sliding(arch, fields, lambda i, n: not turned[i])
    layers = tuple(
        dataclasses.replace(layer, rope=layer.rope if rope else None)
        for layer, rope in zip(arch.layers, turned, strict=False)
    )
    fields.finish()
    return dataclasses.replace(arch, layers=layers)
