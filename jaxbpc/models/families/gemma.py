"""Gemma 1 and CodeGemma: Llama with scaled embeddings, norms stored around 0 and a GELU gate.

Source: `modeling_gemma.py` and `configuration_gemma.py` of Hugging Face transformers;
arXiv 2403.08295.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields, read_heads
from jaxbpc.models.hf_rope import read_rope

NAMES = llama.NAMES
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config, where, num_key_value_heads=16, head_dim=256, max_position_embeddings=8192
    )
    # The first files say "gelu" and mean its approximation by tanh, as `hidden_activation` says.
    fields.choice("hidden_act", ("gelu", "gelu_pytorch_tanh"), "gelu_pytorch_tanh")
    fields.refuse_unless(hidden_activation=("gelu_pytorch_tanh",))
    arch = gemma_like(fields, "gemma", "gelu_tanh")
    layer = Layer(rope=read_rope(fields, whole=True))
    fields.finish()
    return dataclasses.replace(arch, layers=(layer,) * arch.n_layers)


def gemma_like(fields: Fields, family: str, activation: str) -> Arch:
    """The Arch of any Gemma, without positions and windows; it goes on reading `fields`."""
    n_heads, n_kv_heads, head_size = read_heads(fields)
    embed = fields.get("hidden_size", int)
    bias = fields.get("attention_bias", bool, False)
    fields.refuse_unless(use_bidirectional_attention=(False,))
    fields.ignore("cache_implementation")
    return Arch(
        family=family,
        embed=embed,
        vocab_size=fields.get("vocab_size", int),
        max_length=fields.get("max_position_embeddings", int),
        layers=(Layer(),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads, n_kv_heads, head_size, scale=head_size**-0.5, bias=bias, out_bias=bias
        ),
        mlp=MLP(fields.get("intermediate_size", int), activation),
        norm=Norm(fields.get("rms_norm_eps", float, 1e-6), offset=1.0),
        tied=fields.get("tie_word_embeddings", bool, True),
        embed_scale=embed**0.5,
    )
