"""OLMo 1: Llama with layer norms that have no weights, and clipped queries, keys and values.

Source: `modeling_olmo.py` and `configuration_olmo.py` of Hugging Face transformers;
arXiv 2402.00838.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch, Layer, Norm
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import read_rope

NAMES = llama.NAMES
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    arch = llama.llama_like(fields, "olmo")
    layer = Layer(rope=read_rope(fields, whole=True))
    clip = None
    if fields.optional("clip_qkv") is not None:
        clip = fields.get("clip_qkv", float)
    fields.finish()
    return dataclasses.replace(
        arch,
        layers=(layer,) * arch.n_layers,
        attention=dataclasses.replace(arch.attention, clip=clip),
        norm=Norm(1e-5, "layer", weight=False),
    )
