"""GLM-4-0414 and GLM-Z1: norms before and after, half of each head turned, fused gate and up.

Source: `modeling_glm4.py` and `configuration_glm4.py` of Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch, Layer, Parts
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import fit_rope, read_rope

_LAYER, _OURS = "model.layers.{l}", "layers.{l}"
NAMES = {
    **{name: p for name, p in llama.NAMES.items() if "gate_proj" not in name and "up_" not in name},
    f"{_LAYER}.post_self_attn_layernorm.weight": f"{_OURS}.attention_out_norm.weight",
    f"{_LAYER}.post_mlp_layernorm.weight": f"{_OURS}.mlp_out_norm.weight",
    f"{_LAYER}.mlp.gate_up_proj.weight": Parts(
        (f"{_OURS}.mlp.gate.weight", f"{_OURS}.mlp.up.weight")
    ),
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        num_key_value_heads=2,
        head_dim=128,
        max_position_embeddings=131072,
        rms_norm_eps=1.5625e-7,
        attention_bias=True,
        partial_rotary_factor=0.5,
    )
    arch = llama.llama_like(fields, "glm4")
    rope = fit_rope(fields, read_rope(fields), arch.attention.head_size)
    layer = Layer(rope=dataclasses.replace(rope, interleaved=True))
    fields.finish()
    return dataclasses.replace(
        arch,
        layers=(layer,) * arch.n_layers,
        attention=dataclasses.replace(arch.attention, out_bias=False),
        placement="sandwich",
    )
