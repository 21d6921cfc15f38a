"""Granite 3 and 4 without experts: Llama with scales on embedding, scores, residuals and logits.

Source: `modeling_granite.py` and `configuration_granite.py` of Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields

NAMES = llama.NAMES
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, intermediate_size=11008)
    arch = llama.llama_like(fields, "granite", whole=True)
    scale = fields.get("attention_multiplier", float, 1.0)
    arch = dataclasses.replace(
        arch,
        attention=dataclasses.replace(arch.attention, scale=scale),
        embed_scale=fields.get("embedding_multiplier", float, 1.0),
        residual_scale=fields.get("residual_multiplier", float, 1.0),
        logit_scale=1.0 / fields.get("logits_scaling", float, 1.0),
    )
    fields.finish()
    return arch
