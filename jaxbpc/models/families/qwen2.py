"""Qwen 1.5, 2, 2.5 and their kin (QwQ, DeepSeek-R1-Distill-Qwen): Llama with biases on queries,
keys and values, and sliding windows in its last layers where they are switched on.

Source: `modeling_qwen2.py` and `configuration_qwen2.py` of Hugging Face transformers;
arXiv 2407.10671.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields, layer_kinds

NAMES = llama.NAMES
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        # Null means something else here: as many as query heads; no window.
        num_key_value_heads=config.get("num_key_value_heads", 32),
        sliding_window=config.get("sliding_window", 4096),
        max_position_embeddings=32768,
        intermediate_size=22016,
    )
    fields.refuse_unless(mlp_bias=(False,), use_mrope=(False,))
    arch = llama.llama_like(fields, "qwen2", whole=True)
    # Whatever `attention_bias` says, of which this family knows nothing.
    attention = dataclasses.replace(arch.attention, bias=True, out_bias=False)
    arch = sliding(dataclasses.replace(arch, attention=attention), fields, lambda i, n: i >= n)
    fields.finish()
    return arch


def sliding(arch: Arch, fields: Fields, slides: Callable[[int, int], bool]) -> Arch:
    """`arch` with `sliding_window` in the layers of `layer_types`, or where `slides` says so.

    slides: of a layer's index and `max_window_layers`; asked where `use_sliding_window` is true.
    """
    use = fields.get("use_sliding_window", bool, False)
    limit = fields.count("max_window_layers", 28)
    window = fields.optional("sliding_window")
    window = fields.get("sliding_window", int) if use and window is not None else None
    default = [
        "sliding_attention" if window and slides(i, limit) else "full_attention"
        for i in range(arch.n_layers)
    ]
    kinds = layer_kinds(fields, arch.n_layers, default)
    if window is None and "sliding_attention" in kinds:
        raise InputError(
            f"{fields.where}: `layer_types` has sliding windows, `use_sliding_window` is {use} and "
            "`sliding_window` null: fix the file"
        )
    layers = tuple(
        dataclasses.replace(layer, window=window if kind == "sliding_attention" else None)
        for layer, kind in zip(arch.layers, kinds, strict=True)
    )
    return dataclasses.replace(arch, layers=layers)
