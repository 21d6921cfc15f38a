"""OLMo 2: norms after attention and MLP alone, and over all queries and all keys at once.

Source: `modeling_olmo2.py` and `configuration_olmo2.py` of Hugging Face transformers;
arXiv 2501.00656.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch, Layer
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import read_rope

_LAYER, _OURS = "model.layers.{l}", "layers.{l}"
NAMES = {
    **{name: p for name, p in llama.NAMES.items() if "input_layernorm" not in name},
    f"{_LAYER}.self_attn.q_norm.weight": f"{_OURS}.attention.query_norm.weight",
    f"{_LAYER}.self_attn.k_norm.weight": f"{_OURS}.attention.key_norm.weight",
    f"{_LAYER}.post_attention_layernorm.weight": f"{_OURS}.attention_out_norm.weight",
    f"{_LAYER}.post_feedforward_layernorm.weight": f"{_OURS}.mlp_out_norm.weight",
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, rms_norm_eps=1e-5)
    arch = normed_after(llama.llama_like(fields, "olmo2"))
    layer = Layer(rope=read_rope(fields, whole=True))
    fields.finish()
    return dataclasses.replace(arch, layers=(layer,) * arch.n_layers)


def normed_after(arch: Arch) -> Arch:
    """`arch` with OLMo 2's norms."""
    attention = dataclasses.replace(arch.attention, norm=arch.norm, norm_over="all")
    return dataclasses.replace(arch, attention=attention, placement="post")
