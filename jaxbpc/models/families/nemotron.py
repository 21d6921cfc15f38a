"""Nemotron-3, Nemotron-4 and Minitron: layer norms stored around 0, a plain MLP of squared ReLU.

Source: `modeling_nemotron.py` and `configuration_nemotron.py` of Hugging Face transformers;
arXiv 2402.16819.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields, read_heads
from jaxbpc.models.hf_rope import fit_rope, read_rope

NAMES = {
    **{name: p for name, p in llama.NAMES.items() if "gate_proj" not in name},
    "model.layers.{l}.input_layernorm.bias": "layers.{l}.attention_norm.bias",
    "model.layers.{l}.post_attention_layernorm.bias": "layers.{l}.mlp_norm.bias",
    "model.norm.bias": "norm.bias",
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, partial_rotary_factor=0.5, max_position_embeddings=4096)
    n_heads, n_kv_heads, head_size = read_heads(fields)
    rope = fit_rope(fields, read_rope(fields), head_size)
    bias = fields.get("attention_bias", bool, False)
    # Other names of the same in published files.
    fields.refuse_unless(kv_channels=(head_size,), rope_percent=(rope.size / head_size,))
    arch = Arch(
        family="nemotron",
        embed=fields.get("hidden_size", int),
        vocab_size=fields.get("vocab_size", int),
        max_length=fields.get("max_position_embeddings", int),
        layers=(Layer(rope=rope),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads, n_kv_heads, head_size, scale=head_size**-0.5, bias=bias, out_bias=bias
        ),
        mlp=MLP(
            fields.get("intermediate_size", int),
            fields.activation("hidden_act", "relu2"),
            gated=False,
            bias=fields.get("mlp_bias", bool, False),
        ),
        norm=Norm(fields.get("norm_eps", float, 1e-5), "layer", offset=1.0, bias=True),
        tied=fields.get("tie_word_embeddings", bool, False),
    )
    fields.finish()
    return arch
