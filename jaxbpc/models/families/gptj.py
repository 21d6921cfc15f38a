"""GPT-J: attention and MLP in parallel on one norm, RoPE in pairs of neighbours, a head with bias.

Source: `modeling_gptj.py` and `configuration_gptj.py` of Hugging Face transformers.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Rope
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import fit_rope

_LAYER, _OURS = "transformer.h.{l}", "layers.{l}"
_BIASED = {
    f"{_LAYER}.ln_1": f"{_OURS}.attention_norm",
    f"{_LAYER}.mlp.fc_in": f"{_OURS}.mlp.up",
    f"{_LAYER}.mlp.fc_out": f"{_OURS}.mlp.down",
    "transformer.ln_f": "norm",
    "lm_head": "head",
}
NAMES = {
    "transformer.wte.weight": "embed.weight",
    f"{_LAYER}.attn.q_proj.weight": f"{_OURS}.attention.query.weight",
    f"{_LAYER}.attn.k_proj.weight": f"{_OURS}.attention.key.weight",
    f"{_LAYER}.attn.v_proj.weight": f"{_OURS}.attention.value.weight",
    f"{_LAYER}.attn.out_proj.weight": f"{_OURS}.attention.out.weight",
    **{f"{name}.weight": f"{ours}.weight" for name, ours in _BIASED.items()},
    **{f"{name}.bias": f"{ours}.bias" for name, ours in _BIASED.items()},
}
# Masks that old checkpoints store.
UNUSED = (f"{_LAYER}.attn.bias", f"{_LAYER}.attn.masked_bias")


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    fields.ignore("n_ctx", "summary_type", "summary_use_proj", "summary_activation")
    fields.ignore("summary_proj_to_labels", "summary_first_dropout")
    fields.refuse_unless(rotary=(True,), scale_attn_weights=(True,), tie_word_embeddings=(False,))
    if config.get("rotary_dim", 64) is None:
        raise InputError(f"{where}: `rotary_dim` is null: a GPT-J without it is not handled")
    embed = fields.get("n_embd", int, 4096)
    n_heads = fields.get("n_head", int, 16)
    head_size = Fields({"n_embd": embed, "n_head": n_heads}, where).divide("n_embd", "n_head")
    rope = Rope(10000.0, size=fields.get("rotary_dim", int, 64), interleaved=True)
    arch = Arch(
        family="gptj",
        embed=embed,
        vocab_size=fields.get("vocab_size", int, 50400),
        max_length=fields.get("n_positions", int, 2048),
        layers=(Layer(rope=fit_rope(fields, rope, head_size)),) * fields.get("n_layer", int, 28),
        attention=Attention(n_heads, n_heads, head_size, scale=head_size**-0.5),
        mlp=MLP(
            fields.get("n_inner", int, 4 * embed),
            fields.activation("activation_function", "gelu_new"),
            gated=False,
            bias=True,
        ),
        norm=Norm(fields.get("layer_norm_epsilon", float, 1e-5), "layer", bias=True),
        placement="parallel",
        head_bias=True,
    )
    fields.finish()
    return arch
