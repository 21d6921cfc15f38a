"""Qwen 1 (1.8B, 7B, 14B, 72B): `QWenLMHeadModel`. Qwen 1.5 and later are `qwen2` and on.

Source: `modeling_qwen.py` and `configuration_qwen.py`, published beside the weights;
arXiv 2309.16609. Beyond `seq_length` tokens `use_dynamic_ntk` slows the rotation of all tokens and
`use_logn_attn` scales the queries that stand there. `no_bias` speaks of all matrices but the fused
queries, keys and values; `w2` is the gate, and it is half of `intermediate_size` wide.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Parts, Rope
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import fit_rope

_LAYER, _OURS = "transformer.h.{l}", "layers.{l}"
_MODULES = {
    f"{_LAYER}.attn.c_proj": f"{_OURS}.attention.out",
    f"{_LAYER}.mlp.w1": f"{_OURS}.mlp.up",
    f"{_LAYER}.mlp.w2": f"{_OURS}.mlp.gate",
    f"{_LAYER}.mlp.c_proj": f"{_OURS}.mlp.down",
}
_QKV = tuple(f"{_OURS}.attention.{name}" for name in ("query", "key", "value"))
_KINDS = ("weight", "bias")
NAMES: dict[str, str | Parts] = {
    "transformer.wte.weight": "embed.weight",
    f"{_LAYER}.ln_1.weight": f"{_OURS}.attention_norm.weight",
    **{f"{_LAYER}.attn.c_attn.{k}": Parts(tuple(f"{p}.{k}" for p in _QKV)) for k in _KINDS},
    f"{_LAYER}.ln_2.weight": f"{_OURS}.mlp_norm.weight",
    **{f"{name}.{kind}": f"{ours}.{kind}" for name, ours in _MODULES.items() for kind in _KINDS},
    "transformer.ln_f.weight": "norm.weight",
    "lm_head.weight": "head.weight",
}
# Tables that checkpoints store and that are computed from the config.
UNUSED = (
    f"{_LAYER}.attn.masked_bias",
    f"{_LAYER}.attn.rotary_emb.inv_freq",
    "transformer.rotary_emb.inv_freq",
)


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    # Of training and of kernels; `rope_theta` stands in the 72B's file, and nothing reads it.
    fields.ignore("emb_dropout_prob", "attn_dropout_prob", "bf16", "fp16", "fp32", "onnx_safe")
    fields.ignore("use_flash_attn", "use_cache_kernel", "softmax_in_fp32", "padded_vocab_size")
    fields.ignore("params_dtype", "tokenizer_type", "rope_theta")
    fields.refuse_unless(
        scale_attn_weights=(True,),
        use_cache_quantization=(False,),
        tie_word_embeddings=(False,),
    )
    embed = fields.get("hidden_size", int, 4096)
    n_heads = fields.get("num_attention_heads", int, 32)
    head_size = fields.get("kv_channels", int, 128)
    trained = fields.get("seq_length", int)
    if n_heads * head_size != embed or trained < 2:
        raise InputError(
            f"{where}: {n_heads} heads of `kv_channels` {head_size}, `hidden_size` {embed}, "
            f"`seq_length` {trained}: heads make up `hidden_size`, texts are longer than a token"
        )
    rope = Rope(
        fields.get("rotary_emb_base", float, 10000.0),
        "steps" if fields.get("use_dynamic_ntk", bool, True) else "default",
        share=fields.get("rotary_pct", float, 1.0),
        original_length=trained,
    )
    bias = not fields.get("no_bias", bool, True)
    arch = Arch(
        family="qwen",
        embed=embed,
        vocab_size=fields.get("vocab_size", int, 151936),
        max_length=fields.get("max_position_embeddings", int, 8192),
        layers=(Layer(fit_rope(fields, rope, head_size)),)
        * fields.get("num_hidden_layers", int, 32),
        attention=Attention(
            n_heads,
            n_heads,
            head_size,
            scale=head_size**-0.5,
            bias=True,
            out_bias=bias,
            log_length=trained if fields.get("use_logn_attn", bool, True) else None,
        ),
        mlp=MLP(fields.get("intermediate_size", int, 22016) // 2, "silu", bias=bias),
        norm=Norm(fields.get("layer_norm_epsilon", float, 1e-6)),
    )
    fields.finish()
    return arch
