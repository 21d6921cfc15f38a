"""Falcon: 7B (one norm, one key head), 40B and 180B (two norms, grouped), RW (ALiBi, in sequence).

Source: `modeling_falcon.py` and `configuration_falcon.py` of Hugging Face transformers;
arXiv 2311.16867. What that code adds under ALiBi with eager attention it adds twice; with its
default attention, as in the code published beside the weights, once: so do we.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbpc.errors import InputError
from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Parts
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import fit_rope, read_rope

_LAYER, _OURS = "transformer.h.{l}", "layers.{l}"
_MODULES = {
    f"{_LAYER}.self_attention.dense": f"{_OURS}.attention.out",
    f"{_LAYER}.mlp.dense_h_to_4h": f"{_OURS}.mlp.up",
    f"{_LAYER}.mlp.dense_4h_to_h": f"{_OURS}.mlp.down",
    f"{_LAYER}.input_layernorm": f"{_OURS}.attention_norm",
    f"{_LAYER}.post_attention_layernorm": f"{_OURS}.mlp_norm",
    f"{_LAYER}.ln_attn": f"{_OURS}.attention_norm",
    f"{_LAYER}.ln_mlp": f"{_OURS}.mlp_norm",
    "transformer.ln_f": "norm",
}
_QKV = tuple(f"{_OURS}.attention.{name}" for name in ("query", "key", "value"))
_KINDS = ("weight", "bias")
NAMES: dict[str, str | Parts] = {
    "transformer.word_embeddings.weight": "embed.weight",
    **{f"{name}.{kind}": f"{ours}.{kind}" for name, ours in _MODULES.items() for kind in _KINDS},
    # One key head, or one for each query head: then too a group is queries, key, value.
    **{
        f"{_LAYER}.self_attention.query_key_value.{kind}": Parts(
            tuple(f"{name}.{kind}" for name in _QKV), "groups"
        )
        for kind in _KINDS
    },
    "lm_head.weight": "head.weight",
}
# Tables that old checkpoints store and that are computed from the config.
UNUSED = tuple(
    f"{_LAYER}.self_attention.{name}.inv_freq" for name in ("rotary", "maybe_rotary", "rotary_emb")
)


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    fields.refuse_unless(apply_residual_connection_post_layernorm=(False,))
    embed = fields.get("hidden_size", int)
    fields.refuse_unless(n_embed=(embed,))
    n_heads = fields.get("num_attention_heads", int)
    head_size = fields.divide("hidden_size", "num_attention_heads")
    bias = fields.get("bias", bool, False)
    alibi = fields.get("alibi", bool, False)
    rope = read_rope(fields, whole=True)  # which a file may name under ALiBi too
    layer = Layer(rope=None if alibi else fit_rope(fields, rope, head_size))
    size = fields.get("ffn_hidden_size", int, 4 * embed)
    fields.refuse_unless(ff_factor=(size / embed,))
    arch = Arch(
        family="falcon",
        embed=embed,
        vocab_size=fields.get("vocab_size", int, 65024),
        max_length=fields.get("max_position_embeddings", int, 2048),
        layers=(layer,) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads,
            _n_kv_heads(fields, n_heads),
            head_size,
            scale=head_size**-0.5,
            bias=bias,
            out_bias=bias,
        ),
        mlp=MLP(size, fields.activation("activation", "gelu"), gated=False, bias=bias),
        norm=Norm(fields.get("layer_norm_epsilon", float, 1e-5), "layer", bias=True),
        placement=_placement(fields),
        tied=fields.get("tie_word_embeddings", bool, True),
        key_bias=alibi_slopes(n_heads) if alibi else (),
        key_bias_bfloat16=alibi,
        key_bias_scale=head_size**-0.5,
    )
    fields.finish()
    return arch


def _n_kv_heads(fields: Fields, n_heads: int) -> int:
    """`num_kv_heads` counts in the new architecture alone; files of the old one name any."""
    n_kv_heads = fields.get("num_kv_heads", int, n_heads)
    multi_query = fields.get("multi_query", bool, True)
    if fields.get("new_decoder_architecture", bool, False):
        if n_heads % n_kv_heads:
            raise InputError(
                f"{fields.where}: `num_attention_heads` {n_heads} is no multiple of "
                f"`num_kv_heads` {n_kv_heads}"
            )
        return n_kv_heads
    if multi_query:
        return 1
    fields.refuse_unless(num_kv_heads=(n_heads,))
    return n_heads


def _placement(fields: Fields) -> str:
    if not fields.get("new_decoder_architecture", bool, False):
        fields.refuse_unless(num_ln_in_parallel_attn=(1,))
        return "parallel" if fields.get("parallel_attn", bool, True) else "pre"
    fields.refuse_unless(num_ln_in_parallel_attn=(1, 2), parallel_attn=(True,))
    return "parallel2" if fields.get("num_ln_in_parallel_attn", int, 2) == 2 else "parallel"


def alibi_slopes(n_heads: int) -> tuple[float, ...]:
    """ALiBi's slopes (arXiv 2108.12409) in float32, as transformers' `build_alibi_tensor`.

    2^(-8 h / n), h = 1 … n for n the largest power of two in n_heads; then every other one of 2 n.
    """
    n = 2 ** int(math.log2(n_heads))
    base, extra = (np.float32(2 ** (-(2 ** -(math.log2(m) - 3)))) for m in (n, 2 * n))
    slopes = [base ** np.float32(h) for h in range(1, n + 1)]
    slopes += [extra ** np.float32(h) for h in range(1, 2 * (n_heads - n) + 1, 2)]
    return tuple(float(slope) for slope in slopes)
