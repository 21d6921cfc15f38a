"""StableLM and Stable Code: layer norms, a quarter of each head turned; some norm each head.

Source: `modeling_stablelm.py` and `configuration_stablelm.py` of Hugging Face transformers;
arXiv 2402.17834.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Parts
from jaxbpc.models.families import llama
from jaxbpc.models.hf_config import Fields, read_heads
from jaxbpc.models.hf_rope import fit_rope, read_rope

_ATTENTION, _OURS = "model.layers.{l}.self_attn", "layers.{l}.attention"
NAMES = {
    **llama.NAMES,
    "model.layers.{l}.input_layernorm.bias": "layers.{l}.attention_norm.bias",
    "model.layers.{l}.post_attention_layernorm.bias": "layers.{l}.mlp_norm.bias",
    "model.norm.bias": "norm.bias",
    f"{_ATTENTION}.q_layernorm.norms.{{e}}.weight": Parts((f"{_OURS}.query_norm.weight",)),
    f"{_ATTENTION}.k_layernorm.norms.{{e}}.weight": Parts((f"{_OURS}.key_norm.weight",)),
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        num_key_value_heads=32,
        partial_rotary_factor=0.25,
        max_position_embeddings=4096,
    )
    n_heads, n_kv_heads, head_size = read_heads(fields)
    embed, eps = fields.get("hidden_size", int), fields.get("layer_norm_eps", float, 1e-5)
    rope = fit_rope(fields, read_rope(fields), head_size)
    # Heads are of one size; and other names of the same in published files.
    fields.refuse_unless(head_dim=(embed / n_heads,), rope_pct=(rope.size / head_size,))
    fields.refuse_unless(rotary_scaling_factor=(1,), norm_eps=(eps,))
    parallel = fields.get("use_parallel_residual", bool, False)
    arch = Arch(
        family="stablelm",
        embed=embed,
        vocab_size=fields.get("vocab_size", int),
        max_length=fields.get("max_position_embeddings", int),
        layers=(Layer(rope=rope),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads,
            n_kv_heads,
            head_size,
            scale=head_size**-0.5,
            bias=fields.get("use_qkv_bias", bool, False),
            norm=Norm(eps, "layer") if fields.get("qk_layernorm", bool, False) else None,
            norm_over="heads",
        ),
        mlp=MLP(
            fields.get("intermediate_size", int),
            fields.activation("hidden_act", "silu"),
        ),
        norm=Norm(eps, "layer", bias=True),
        placement="parallel" if parallel else "pre",
        tied=fields.get("tie_word_embeddings", bool, False),
    )
    fields.finish()
    return arch
