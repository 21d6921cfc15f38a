"""GPT-2: learned positions, layer norms, matrices stored [in, out].

Source: `modeling_gpt2.py` and `configuration_gpt2.py` of Hugging Face transformers.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Parts
from jaxbpc.models.hf_config import Fields

_LAYER, _OURS = "transformer.h.{l}", "layers.{l}"
_QKV = tuple(f"{_OURS}.attention.{name}" for name in ("query", "key", "value"))
NAMES = {
    "transformer.wte.weight": "embed.weight",
    "transformer.wpe.weight": "positions.weight",
    f"{_LAYER}.ln_1.weight": f"{_OURS}.attention_norm.weight",
    f"{_LAYER}.ln_1.bias": f"{_OURS}.attention_norm.bias",
    f"{_LAYER}.attn.c_attn.weight": Parts(tuple(f"{p}.weight" for p in _QKV), transposed=True),
    f"{_LAYER}.attn.c_attn.bias": Parts(tuple(f"{p}.bias" for p in _QKV)),
    f"{_LAYER}.attn.c_proj.weight": Parts((f"{_OURS}.attention.out.weight",), transposed=True),
    f"{_LAYER}.attn.c_proj.bias": f"{_OURS}.attention.out.bias",
    f"{_LAYER}.ln_2.weight": f"{_OURS}.mlp_norm.weight",
    f"{_LAYER}.ln_2.bias": f"{_OURS}.mlp_norm.bias",
    f"{_LAYER}.mlp.c_fc.weight": Parts((f"{_OURS}.mlp.up.weight",), transposed=True),
    f"{_LAYER}.mlp.c_fc.bias": f"{_OURS}.mlp.up.bias",
    f"{_LAYER}.mlp.c_proj.weight": Parts((f"{_OURS}.mlp.down.weight",), transposed=True),
    f"{_LAYER}.mlp.c_proj.bias": f"{_OURS}.mlp.down.bias",
    "transformer.ln_f.weight": "norm.weight",
    "transformer.ln_f.bias": "norm.bias",
    "lm_head.weight": "head.weight",
}
# The first published checkpoints leave out the outer name.
PREFIXES = {name: f"transformer.{name}" for name in ("h.", "wte.", "wpe.", "ln_f.")}
# Masks that old checkpoints store.
UNUSED = (f"{_LAYER}.attn.bias", f"{_LAYER}.attn.masked_bias")


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    fields.refuse_unless(reorder_and_upcast_attn=(False, True))  # of the order of rounding alone
    arch = gpt2_like(fields, "gpt2")
    fields.finish()
    return arch


def gpt2_like(fields: Fields, family: str) -> Arch:
    """The Arch of a family that differs from GPT-2 in few things; it goes on reading `fields`."""
    embed = fields.get("n_embd", int)
    n_heads = fields.get("n_head", int)
    n_layers = fields.get("n_layer", int)
    head_size = fields.divide("n_embd", "n_head")
    length = fields.get("n_positions", int, 1024)
    fields.ignore("n_ctx", "summary_type", "summary_use_proj", "summary_activation")
    fields.ignore("summary_proj_to_labels", "summary_first_dropout")
    by_layer = fields.get("scale_attn_by_inverse_layer_idx", bool, False)
    return Arch(
        family=family,
        embed=embed,
        vocab_size=fields.get("vocab_size", int),
        max_length=length,
        layers=tuple(Layer(scale=1 / (i + 1) if by_layer else 1.0) for i in range(n_layers)),
        attention=Attention(
            n_heads,
            n_heads,
            head_size,
            scale=head_size**-0.5 if fields.get("scale_attn_weights", bool, True) else 1.0,
            bias=True,
            out_bias=True,
        ),
        mlp=MLP(
            fields.get("n_inner", int, 4 * embed),
            fields.activation("activation_function", "gelu_new"),
            gated=False,
            bias=True,
        ),
        norm=Norm(fields.get("layer_norm_epsilon", float, 1e-5), "layer", bias=True),
        tied=fields.get("tie_word_embeddings", bool, True),
        positions=length,
        position_limit=True,
    )
