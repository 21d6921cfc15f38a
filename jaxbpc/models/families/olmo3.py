"""OLMo 3: OLMo 2 with windows in three layers of four; what scales RoPE spares those.

Source: `modeling_olmo3.py` and `configuration_olmo3.py` of Hugging Face transformers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import gemma2, gemma3_text, llama, olmo2
from jaxbpc.models.hf_config import Fields, layer_kinds

NAMES = olmo2.NAMES
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    # Versions of transformers differ in whether layers with a window follow another one.
    fields = Fields(config, where, max_position_embeddings=2048)
    fields.refuse_unless(rope_theta=(500000,))
    ropes = {
        kind: gemma3_text.rope_of_kind(fields, kind, "rope_theta", 5e5)
        for kind in ("full_attention", "sliding_attention")
    }
    rest = {name: value for name, value in config.items() if not name.startswith("rope_")}
    fields = Fields(rest, where, rms_norm_eps=1e-5, sliding_window=4096)
    arch = olmo2.normed_after(llama.llama_like(fields, "olmo3"))
    kinds = [
        "sliding_attention" if i % 4 else "full_attention" for i in range(1, arch.n_layers + 1)
    ]
    layers = gemma2.windowed(fields, layer_kinds(fields, arch.n_layers, kinds), ropes, config)
    fields.finish()
    return dataclasses.replace(arch, layers=layers)
