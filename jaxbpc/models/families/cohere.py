"""Command R, R+ and Aya 23: attention and MLP side by side, behind one layer norm without a bias.

Source: `modeling_cohere.py` and `configuration_cohere.py` of Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch, Layer, Norm
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import read_rope

_ATTENTION = "model.layers.{l}.self_attn"
NAMES = {
    **llama.NAMES,
    f"{_ATTENTION}.q_norm.weight": "layers.{l}.attention.query_norm.weight",
    f"{_ATTENTION}.k_norm.weight": "layers.{l}.attention.key_norm.weight",
}
UNUSED = llama.UNUSED
# Of the config class, where Llama's are others.
DEFAULTS = {"rope_theta": 5e5, "max_position_embeddings": 8192, "tie_word_embeddings": True}


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, **DEFAULTS)
    arch = cohere_like(fields, "cohere")
    fields.finish()
    return arch


def cohere_like(fields: Fields, family: str) -> Arch:
    """The Arch of a family that differs from Command R in few things; it goes on reading."""
    fields.ignore("model_max_length")  # what the makers advise
    arch = llama.llama_like(fields, family)
    norm = Norm(fields.get("layer_norm_eps", float, 1e-5), "layer")
    normed = fields.get("use_qk_norm", bool, False)
    rope = dataclasses.replace(read_rope(fields, whole=True), interleaved=True)
    scale = fields.get("logit_scale", float, 0.0625)
    return dataclasses.replace(
        arch,
        layers=(Layer(rope=rope),) * arch.n_layers,
        attention=dataclasses.replace(
            arch.attention, norm=norm if normed else None, norm_over="heads"
        ),
        norm=norm,
        placement="parallel",
        logit_scale=scale,
    )
