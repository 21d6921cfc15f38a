"""Command R7B and Command A: Command R with sliding windows, and no positions where there are none.

Source: `modeling_cohere2.py` and `configuration_cohere2.py` of Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import cohere, gemma2
from jaxbpc.models.hf_config import Fields, layer_kinds

NAMES = cohere.NAMES
UNUSED = cohere.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, **cohere.DEFAULTS | {"rope_theta": 1e4, "sliding_window": 4096})
    fields.refuse_unless(  # of the makers' own code: what their files have
        use_qk_norm=(False,),
        use_parallel_block=(True,),
        use_parallel_embedding=(False,),
        use_embedding_sharing=(True,),
        use_gated_activation=(True,),
        position_embedding_type=("rope_gptj",),
        rotary_pct=(1.0,),
        order_of_interleaved_layers=("local_attn_first",),
    )
    fields.ignore("layer_switch", "cache_implementation")
    arch = cohere.cohere_like(fields, "cohere2")
    every = fields.get("sliding_window_pattern", int, 4)
    default = ["full_attention" if (i + 1) % every == 0 else "" for i in range(arch.n_layers)]
    kinds = layer_kinds(fields, arch.n_layers, [kind or "sliding_attention" for kind in default])
    ropes = {"sliding_attention": arch.layers[0].rope, "full_attention": None}
    layers = gemma2.windowed(fields, kinds, ropes, config)
    fields.finish()
    return dataclasses.replace(arch, layers=layers)
