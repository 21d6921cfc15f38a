"""OPT: learned positions from the third row of their table on; 350m has its norms after.

Source: `modeling_opt.py` and `configuration_opt.py` of Hugging Face transformers; arXiv 2205.01068.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm
from jaxbpc.models.hf_config import Fields

_LAYER, _OURS = "model.decoder.layers.{l}", "layers.{l}"
_MODULES = {
    f"{_LAYER}.self_attn.q_proj": f"{_OURS}.attention.query",
    f"{_LAYER}.self_attn.k_proj": f"{_OURS}.attention.key",
    f"{_LAYER}.self_attn.v_proj": f"{_OURS}.attention.value",
    f"{_LAYER}.self_attn.out_proj": f"{_OURS}.attention.out",
    f"{_LAYER}.fc1": f"{_OURS}.mlp.up",
    f"{_LAYER}.fc2": f"{_OURS}.mlp.down",
    f"{_LAYER}.self_attn_layer_norm": f"{_OURS}.attention_norm",
    f"{_LAYER}.final_layer_norm": f"{_OURS}.mlp_norm",
    "model.decoder.final_layer_norm": "norm",
}
_KINDS = ("weight", "bias")
NAMES = {
    "model.decoder.embed_tokens.weight": "embed.weight",
    "model.decoder.embed_positions.weight": "positions.weight",
    "model.decoder.project_in.weight": "embed_in.weight",
    "model.decoder.project_out.weight": "embed_out.weight",
    **{f"{name}.{kind}": f"{ours}.{kind}" for name, ours in _MODULES.items() for kind in _KINDS},
    "lm_head.weight": "head.weight",
}
# Files that were written from the model without its head leave out the outer name.
PREFIXES = {"decoder.": "model.decoder."}
UNUSED = ()


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where)
    fields.ignore("dropout", "activation_dropout", "layerdrop", "init_std", "output_projection")
    fields.refuse_unless(scale_embedding=(False,))
    embed = fields.get("hidden_size", int)
    n_heads = fields.get("num_attention_heads", int)
    head_size = fields.divide("hidden_size", "num_attention_heads")
    length = fields.get("max_position_embeddings", int, 2048)
    bias = fields.get("enable_bias", bool, True)
    affine = fields.get("layer_norm_elementwise_affine", bool, True)
    before = fields.get("do_layer_norm_before", bool, True)
    removed = fields.get("_remove_final_layer_norm", bool, False)
    arch = Arch(
        family="opt",
        embed=embed,
        vocab_size=fields.get("vocab_size", int, 50272),
        max_length=length,
        layers=(Layer(),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads, n_heads, head_size, scale=head_size**-0.5, bias=bias, out_bias=bias
        ),
        mlp=MLP(
            fields.get("ffn_dim", int),
            fields.activation("activation_function", "relu"),
            gated=False,
            bias=bias,
        ),
        norm=Norm(1e-5, "layer", weight=affine, bias=affine),
        placement="pre" if before else "after",
        final_norm=before and not removed,
        tied=fields.get("tie_word_embeddings", bool, True),
        embed_size=fields.get("word_embed_proj_dim", int, embed),
        positions=length,
        position_offset=2,
        position_limit=True,
    )
    fields.finish()
    return arch
