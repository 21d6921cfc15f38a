"""MPT: ALiBi, layer norms without bias, queries, keys and values clipped where asked.

Source: `modeling_mpt.py` and `configuration_mpt.py` of Hugging Face transformers, which read less
than the code published beside the weights. `alibi_bias_max` and `expansion_ratio` count here as
they do there; `alibi`, `qk_ln`, `prefix_lm`, `logit_scale`, `no_bias` and their like are refused
where they would change what is computed.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Parts
from jaxbpc.models.hf_config import Fields

_LAYER, _OURS = "transformer.blocks.{l}", "layers.{l}"
_QKV = tuple(f"{_OURS}.attention.{name}.weight" for name in ("query", "key", "value"))
NAMES: dict[str, str | Parts] = {
    "transformer.wte.weight": "embed.weight",
    f"{_LAYER}.norm_1.weight": f"{_OURS}.attention_norm.weight",
    f"{_LAYER}.attn.Wqkv.weight": Parts(_QKV),
    f"{_LAYER}.attn.out_proj.weight": f"{_OURS}.attention.out.weight",
    f"{_LAYER}.norm_2.weight": f"{_OURS}.mlp_norm.weight",
    f"{_LAYER}.ffn.up_proj.weight": f"{_OURS}.mlp.up.weight",
    f"{_LAYER}.ffn.down_proj.weight": f"{_OURS}.mlp.down.weight",
    "transformer.norm_f.weight": "norm.weight",
    "lm_head.weight": "head.weight",
}
UNUSED = ()


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    # Of initialization, training and serving. ALiBi takes the place of learned positions.
    fields.ignore("init_config", "init_device", "verbose", "emb_pdrop", "resid_pdrop")
    fields.ignore("tokenizer_name", "embedding_fraction", "learned_pos_emb", "attn_config")
    fields.refuse_unless(
        no_bias=(True,),
        logit_scale=(),
        norm_type=("low_precision_layernorm", "layernorm"),
        ffn_config=({"ffn_type": "mptmlp"},),
        fc_type=("torch",),
        use_pad_tok_in_ffn=(True,),
        block_overrides=(),
        final_logit_softcapping=(),
    )
    embed = fields.get("d_model", int, 2048)
    n_heads = fields.get("n_heads", int, 16)
    head_size = Fields({"d_model": embed, "n_heads": n_heads}, where).divide("d_model", "n_heads")
    attention, slopes = _attention(fields, n_heads, head_size)
    arch = Arch(
        family="mpt",
        embed=embed,
        vocab_size=fields.get("vocab_size", int, 50368),
        max_length=fields.get("max_seq_len", int, 2048),
        layers=(Layer(),) * fields.get("n_layers", int, 24),
        attention=attention,
        mlp=MLP(fields.get("expansion_ratio", int, 4) * embed, "gelu", gated=False),
        norm=Norm(fields.get("layer_norm_epsilon", float, 1e-5), "layer"),
        tied=fields.get("tie_word_embeddings", bool, True),
        key_bias=slopes,
    )
    fields.finish()
    return arch


def _attention(fields: Fields, n_heads: int, head_size: int) -> tuple[Attention, tuple[float, ...]]:
    """What `attn_config` says, and ALiBi's slopes."""
    inner = Fields(fields.get("attn_config", dict, {}), f"{fields.where}: `attn_config`")
    inner.ignore("attn_impl", "attn_pdrop")
    # Without token_type_ids, which a corpus has not, attn_uses_sequence_id has no sense.
    inner.refuse_unless(
        alibi=(True,),
        attn_type=("multihead_attention",),
        attn_uses_sequence_id=(False,),
        prefix_lm=(False,),
        qk_ln=(False,),
        qk_gn=(False,),
        rope=(False,),
        sliding_window_size=(-1,),
        kv_n_heads=(n_heads,),
        attn_logit_softcapping=(),
    )
    clip = inner.get("clip_qkv", float) if inner.optional("clip_qkv") else None
    attention = Attention(
        n_heads,
        n_heads,
        head_size,
        scale=inner.get("softmax_scale", float, head_size**-0.5),
        clip=clip,
    )
    slopes = alibi_slopes(n_heads, inner.get("alibi_bias_max", int, 8))
    inner.finish()
    return attention, slopes


def alibi_slopes(n_heads: int, bias_max: int) -> tuple[float, ...]:
    """MPT's slopes: 2^(-bias_max h / n), h = 1 … n, for n the next power of two.

    Where there are fewer heads, every other one from the second on, then from the first on.
    """
    n = 2 ** math.ceil(math.log2(n_heads))
    exponents = np.arange(1, n + 1, dtype=np.float32) * np.float32(bias_max / n)
    slopes = 1.0 / np.float32(2) ** exponents
    if n != n_heads:
        slopes = np.concatenate([slopes[1::2], slopes[::2]])[:n_heads]
    return tuple(float(slope) for slope in slopes)
