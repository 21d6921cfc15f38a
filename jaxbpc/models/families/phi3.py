"""Phi 3, 3.5 and 4: Llama with fused matrices, a sliding window, and LongRoPE.

Source: `modeling_phi3.py` and `configuration_phi3.py` of Hugging Face transformers;
arXiv 2404.14219, arXiv 2402.13753. A window longer than `original_max_position_embeddings` is read
with the long factors from its first token on.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Parts
from jaxbpc.models.families import llama, mistral
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import fit_rope

_LAYER, _OURS = "model.layers.{l}", "layers.{l}"
_QKV = tuple(f"{_OURS}.attention.{name}.weight" for name in ("query", "key", "value"))
_FUSED = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
NAMES = {
    **{name: to for name, to in llama.NAMES.items() if not any(f in name for f in _FUSED)},
    f"{_LAYER}.self_attn.qkv_proj.weight": Parts(_QKV),
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
        max_position_embeddings=4096,
        original_max_position_embeddings=4096,
        rms_norm_eps=1e-5,
    )
    fields.refuse_unless(
        attention_bias=(False,),
        mlp_bias=(False,),
        lm_head_bias=(False,),
        full_attn_mod=(1,),
        interpolate_factor=(1,),
    )
    arch = mistral.windowed(llama.llama_like(fields, "phi3"), fields)
    rope = arch.layers[0].rope
    assert rope is not None
    if rope.kind not in ("default", "longrope"):
        raise InputError(f"{where}: RoPE of type {rope.kind!r}: a Phi 3 has 'longrope' or none")
    rope = fit_rope(fields, rope, arch.attention.head_size)
    fields.finish()
    layers = tuple(dataclasses.replace(layer, rope=rope) for layer in arch.layers)
    return dataclasses.replace(arch, layers=layers)
