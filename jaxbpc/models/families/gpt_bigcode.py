"""GPT-BigCode (StarCoder, SantaCoder): GPT-2 with one key head, its matrices stored [out, in].

Source: `modeling_gpt_bigcode.py` and `configuration_gpt_bigcode.py` of Hugging Face transformers;
arXiv 2305.06161.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch, Parts
from jaxbpc.models.families import gpt2
from jaxbpc.models.hf_config import Fields

# One key head, or one for each query head: then too a group is queries, key, value.
NAMES = {
    name: Parts(to.parameters, "groups" if len(to.parameters) > 1 else "concat")
    if isinstance(to, Parts)
    else to
    for name, to in gpt2.NAMES.items()
}
UNUSED = gpt2.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    # Of the order of rounding, and of a server.
    fields.ignore("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    fields.ignore("inference_runner", "validate_runner_input", "pre_allocate_kv_cache")
    fields.ignore("max_sequence_length", "max_batch_size", "pad_key_length")
    fields.refuse_unless(scale_attn_by_inverse_layer_idx=(False,), reorder_and_upcast_attn=(False,))
    arch = gpt2.gpt2_like(fields, "gpt_bigcode")
    n_heads = arch.attention.n_heads
    n_kv_heads = 1 if fields.get("multi_query", bool, True) else n_heads
    fields.refuse_unless(num_key_value_heads=(n_kv_heads,))
    fields.finish()
    attention = dataclasses.replace(arch.attention, n_kv_heads=n_kv_heads)
    return dataclasses.replace(arch, attention=attention)
