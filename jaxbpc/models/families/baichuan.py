"""Baichuan 1 and 2: Llama's layers; RoPE in the 7B models, ALiBi in the 13B; a normed head in 2.

Source: `modeling_baichuan.py` and `configuration_baichuan.py`, published beside the weights;
arXiv 2309.10305. Two things no field of config.json says: 7B files alone have
`max_position_embeddings`, 13B `model_max_length` alone; and Baichuan 2, whose head's rows are
divided by their lengths, is known by its vocabulary of 125,696, as other engines know it. Any other
vocabulary is taken for Baichuan 1, unless the file has `z_loss_weight`, which only 2 has: there,
whether the head is normed is unknown, and it is refused.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Parts, Rope
from jaxbpc.models.families import falcon, llama
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import fit_rope

_NORMED_VOCAB = 125_696
_QKV = tuple(f"layers.{{l}}.attention.{name}.weight" for name in ("query", "key", "value"))
NAMES: dict[str, str | Parts] = {
    **{
        name: parameter
        for name, parameter in llama.NAMES.items()
        if not name.endswith((".bias", "q_proj.weight", "k_proj.weight", "v_proj.weight"))
    },
    "model.layers.{l}.self_attn.W_pack.weight": Parts(_QKV),
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    fields.ignore("_from_model_config", "model_max_length")
    fields.refuse_unless(tie_word_embeddings=(False,), quantization_config=())
    vocab_size = fields.get("vocab_size", int)
    normed = vocab_size == _NORMED_VOCAB
    if fields.optional("z_loss_weight") is not None and not normed:
        raise InputError(
            f"{where}: a Baichuan 2 (`z_loss_weight`) of `vocab_size` {vocab_size}: whether its "
            f"head is normed is known for {_NORMED_VOCAB} alone"
        )
    n_heads = fields.get("num_attention_heads", int)
    head_size = fields.divide("hidden_size", "num_attention_heads")
    rope: Rope | None = None
    slopes: tuple[float, ...] = ()
    if fields.optional("max_position_embeddings") is None:
        max_length = fields.get("model_max_length", int)
        slopes = falcon.alibi_slopes(n_heads)
    else:
        max_length = fields.get("max_position_embeddings", int)
        rope = fit_rope(fields, Rope(10000.0), head_size)
    arch = Arch(
        family="baichuan",
        embed=fields.get("hidden_size", int),
        vocab_size=vocab_size,
        max_length=max_length,
        layers=(Layer(rope),) * fields.get("num_hidden_layers", int),
        attention=Attention(n_heads, n_heads, head_size, scale=head_size**-0.5),
        mlp=MLP(
            fields.get("intermediate_size", int), fields.choice("hidden_act", ("silu",), "silu")
        ),
        norm=Norm(fields.get("rms_norm_eps", float, 1e-6)),
        key_bias=slopes,
        head_normalized=normed,
    )
    fields.finish()
    return arch
