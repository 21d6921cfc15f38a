"""Gemma 2: Gemma with norms before and after, soft caps, and windows in every second layer.

Source: `modeling_gemma2.py` and `configuration_gemma2.py` of Hugging Face transformers;
arXiv 2408.00118.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Layer, Rope
from jaxbpc.models.families import gemma, llama
from jaxbpc.models.hf_config import Fields, layer_kinds
from jaxbpc.models.hf_rope import read_rope

_LAYER = "model.layers.{l}"
NAMES = {
    **gemma.NAMES,
    f"{_LAYER}.post_attention_layernorm.weight": "layers.{l}.attention_out_norm.weight",
    f"{_LAYER}.pre_feedforward_layernorm.weight": "layers.{l}.mlp_norm.weight",
    f"{_LAYER}.post_feedforward_layernorm.weight": "layers.{l}.mlp_out_norm.weight",
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        num_key_value_heads=4,
        head_dim=256,
        max_position_embeddings=8192,
        sliding_window=4096,
    )
    arch = sandwiched(fields, "gemma2")
    attention = dataclasses.replace(
        arch.attention, softcap=_cap(fields, config, "attn_logit_softcapping", 50.0)
    )
    kinds = ["full_attention" if i % 2 else "sliding_attention" for i in range(arch.n_layers)]
    rope = read_rope(fields, whole=True)
    layers = windowed(
        fields, layer_kinds(fields, arch.n_layers, kinds), dict.fromkeys(kinds, rope), config
    )
    softcap = _cap(fields, config, "final_logit_softcapping", 30.0)
    fields.finish()
    return dataclasses.replace(arch, attention=attention, layers=layers, logit_softcap=softcap)


def sandwiched(fields: Fields, family: str) -> Arch:
    """The Arch of Gemma 2 or later, without positions and windows; it goes on reading `fields`."""
    activation = fields.activation("hidden_activation", "gelu_pytorch_tanh")
    fields.ignore("hidden_act")  # in published files, beside the one that is read
    arch = gemma.gemma_like(fields, family, activation)
    scale = fields.get("query_pre_attn_scalar", float, 256.0) ** -0.5
    attention = dataclasses.replace(arch.attention, scale=scale)
    return dataclasses.replace(arch, attention=attention, placement="sandwich")


def windowed(
    fields: Fields,
    kinds: Sequence[str],
    ropes: Mapping[str, Rope | None],
    config: Mapping[str, Any],
) -> tuple[Layer, ...]:
    """A layer for each of `kinds`, with `sliding_window` where it slides.

    Raises:
      InputError: there are such layers and no window.
    """
    window = fields.get("sliding_window", int)
    fields.refuse_unless(sliding_window_size=(window,))  # its name in the first files
    if "sliding_attention" in kinds and config.get("sliding_window", window) is None:
        raise InputError(f"{fields.where}: `sliding_window` is null, but there are layers with one")
    return tuple(
        Layer(rope=ropes[kind], window=window if kind == "sliding_attention" else None)
        for kind in kinds
    )


def _cap(fields: Fields, config: Mapping[str, Any], name: str, default: float) -> float | None:
    """A soft cap: the default where it is absent, none where it is null."""
    if name in config and config[name] is None:
        return None
    return fields.get(name, float, default)
