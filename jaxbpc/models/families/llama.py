"""Llama 1, 2, 3, and their kin (Yi, DeepSeek-LLM, CodeLlama, SmolLM2): `LlamaForCausalLM`.

Source: `modeling_llama.py` and `configuration_llama.py` of Hugging Face transformers, for names and
defaults; arXiv 2302.13971.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Moved, Norm, Tree
from jaxbpc.models.hf_config import Fields, read_heads
from jaxbpc.models.hf_rope import fit_rope, read_rope

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

# MaxText's trees (AI-Hypercomputer/maxtext: llama_or_mistral_ckpt.py, param_mapping.py,
# attentions.py). Its attention does not scale scores: queries are stored divided by √H. Llama 3.1's
# RoPE turns neighbours there, all other the two halves of a head.
_SCANNED = {
    "token_embedder.embedding": Moved("model.embed_tokens.weight", "VD", "V D"),
    "decoder.decoder_norm.scale": Moved("model.norm.weight", "D", "D"),
    "decoder.logits_dense.kernel": Moved("lm_head.weight", "DV", "V D"),
    "decoder.layers.pre_self_attention_layer_norm.scale": Moved(
        "model.layers.{l}.input_layernorm.weight", "DL", "D"
    ),
    "decoder.layers.self_attention.query.kernel": Moved(
        "model.layers.{l}.self_attn.q_proj.weight", "DLNH", "NH D", root="H", pairs=("llama3",)
    ),
    "decoder.layers.self_attention.key.kernel": Moved(
        "model.layers.{l}.self_attn.k_proj.weight", "DLKH", "KH D", pairs=("llama3",)
    ),
    "decoder.layers.self_attention.value.kernel": Moved(
        "model.layers.{l}.self_attn.v_proj.weight", "DLKH", "KH D"
    ),
    "decoder.layers.self_attention.out.kernel": Moved(
        "model.layers.{l}.self_attn.o_proj.weight", "NLHD", "D NH"
    ),
    "decoder.layers.post_self_attention_layer_norm.scale": Moved(
        "model.layers.{l}.post_attention_layernorm.weight", "DL", "D"
    ),
    "decoder.layers.mlp.wi_0.kernel": Moved("model.layers.{l}.mlp.gate_proj.weight", "DLF", "F D"),
    "decoder.layers.mlp.wi_1.kernel": Moved("model.layers.{l}.mlp.up_proj.weight", "DLF", "F D"),
    "decoder.layers.mlp.wo.kernel": Moved("model.layers.{l}.mlp.down_proj.weight", "FLD", "D F"),
}
# With scan_layers=false: the same, a tensor for each layer.
_UNSCANNED = {
    name.replace("layers.", "layers_{l}."): dataclasses.replace(m, axes=m.axes.replace("L", ""))
    for name, m in _SCANNED.items()
}
TREES = tuple(
    Tree("params.params.", names, unused=("step", "opt_state.*"))
    for names in (_SCANNED, _UNSCANNED)
)


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    arch = llama_like(fields, "llama")
    fields.finish()
    return arch


def llama_like(fields: Fields, family: str, whole: bool = False) -> Arch:
    """The Arch of a family that differs from Llama in few things; it goes on reading `fields`.

    whole: RoPE turns whole heads, nothing else is handled.
    """
    n_heads, n_kv_heads, head_size = read_heads(fields)
    rope = fit_rope(fields, read_rope(fields, whole=whole), head_size)
    bias = fields.get("attention_bias", bool, False)
    return Arch(
        family=family,
        embed=fields.get("hidden_size", int),
        vocab_size=fields.get("vocab_size", int),
        max_length=fields.get("max_position_embeddings", int, 2048),
        layers=(Layer(rope=rope),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads, n_kv_heads, head_size, scale=head_size**-0.5, bias=bias, out_bias=bias
        ),
        mlp=MLP(
            fields.get("intermediate_size", int),
            fields.choice("hidden_act", ("silu",), "silu"),
            bias=fields.get("mlp_bias", bool, False),
        ),
        norm=Norm(fields.get("rms_norm_eps", float, 1e-6)),
        tied=fields.get("tie_word_embeddings", bool, False),
    )
