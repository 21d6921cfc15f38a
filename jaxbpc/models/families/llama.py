"""Llama 1, 2, 3, and their kin (Yi, DeepSeek-LLM, CodeLlama, SmolLM2): `LlamaForCausalLM`.

Source: `modeling_llama.py` and `configuration_llama.py` of Hugging Face transformers, for names and
defaults; arXiv 2302.13971.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Fields, read_rope

NAMES = {
    "model.embed_tokens.weight": "embed.weight",
    "model.layers.{l}.input_layernorm.weight": "layers.{l}.attention_norm.weight",
    "model.layers.{l}.self_attn.q_proj.weight": "layers.{l}.attention.query.weight",
    "model.layers.{l}.self_attn.q_proj.bias": "layers.{l}.attention.query.bias",
    "model.layers.{l}.self_attn.k_proj.weight": "layers.{l}.attention.key.weight",
    "model.layers.{l}.self_attn.k_proj.bias": "layers.{l}.attention.key.bias",
    "model.layers.{l}.self_attn.v_proj.weight": "layers.{l}.attention.value.weight",
    "model.layers.{l}.self_attn.v_proj.bias": "layers.{l}.attention.value.bias",
    "model.layers.{l}.self_attn.o_proj.weight": "layers.{l}.attention.out.weight",
    "model.layers.{l}.self_attn.o_proj.bias": "layers.{l}.attention.out.bias",
    "model.layers.{l}.post_attention_layernorm.weight": "layers.{l}.mlp_norm.weight",
    "model.layers.{l}.mlp.gate_proj.weight": "layers.{l}.mlp.gate.weight",
    "model.layers.{l}.mlp.gate_proj.bias": "layers.{l}.mlp.gate.bias",
    "model.layers.{l}.mlp.up_proj.weight": "layers.{l}.mlp.up.weight",
    "model.layers.{l}.mlp.up_proj.bias": "layers.{l}.mlp.up.bias",
    "model.layers.{l}.mlp.down_proj.weight": "layers.{l}.mlp.down.weight",
    "model.layers.{l}.mlp.down_proj.bias": "layers.{l}.mlp.down.bias",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "head.weight",
}
# Tables that old checkpoints store and that are computed from the config.
UNUSED = ("model.layers.{l}.self_attn.rotary_emb.inv_freq",)


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    embed = fields.get("hidden_size", int)
    n_heads = fields.get("num_attention_heads", int)
    if not fields.optional("head_dim") and embed % n_heads:
        raise InputError(
            f"{where}: `hidden_size` {embed} is no multiple of `num_attention_heads` {n_heads}"
        )
    bias = fields.get("attention_bias", bool, False)
    arch = Arch(
        family="llama",
        n_layers=fields.get("num_hidden_layers", int),
        embed=embed,
        n_heads=n_heads,
        n_kv_heads=fields.get("num_key_value_heads", int, n_heads),
        head_size=fields.get("head_dim", int, embed // n_heads),
        mlp=fields.get("intermediate_size", int),
        vocab_size=fields.get("vocab_size", int),
        max_length=fields.get("max_position_embeddings", int, 2048),
        norm_eps=fields.get("rms_norm_eps", float, 1e-6),
        rope=read_rope(fields),
        activation=fields.choice("hidden_act", ("silu",), "silu"),
        tied=fields.get("tie_word_embeddings", bool, False),
        attention_bias=bias,
        attention_out_bias=bias,
        mlp_bias=fields.get("mlp_bias", bool, False),
    )
    if n_heads % arch.n_kv_heads:
        raise InputError(
            f"{where}: `num_attention_heads` {n_heads} is no multiple of `num_key_value_heads` "
            f"{arch.n_kv_heads}"
        )
    if arch.head_size % 2:
        raise InputError(f"{where}: `head_dim` {arch.head_size} is odd: RoPE turns pairs")
    fields.finish()
    return arch
