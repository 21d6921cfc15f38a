"""GPT-NeoX (Pythia): attention and MLP in parallel with a norm each, RoPE on part of each head.

Source: `modeling_gpt_neox.py` and `configuration_gpt_neox.py` of Hugging Face transformers;
arXiv 2204.06745.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm, Parts
from jaxbpc.models.hf_config import Fields
from jaxbpc.models.hf_rope import fit_rope, read_rope

_LAYER, _OURS = "gpt_neox.layers.{l}", "layers.{l}"
_MODULES = {
    f"{_LAYER}.input_layernorm": f"{_OURS}.attention_norm",
    f"{_LAYER}.post_attention_layernorm": f"{_OURS}.mlp_norm",
    f"{_LAYER}.attention.dense": f"{_OURS}.attention.out",
    f"{_LAYER}.mlp.dense_h_to_4h": f"{_OURS}.mlp.up",
    f"{_LAYER}.mlp.dense_4h_to_h": f"{_OURS}.mlp.down",
    "gpt_neox.final_layer_norm": "norm",
}
_QKV = tuple(f"{_OURS}.attention.{name}" for name in ("query", "key", "value"))
_KINDS = ("weight", "bias")
NAMES: dict[str, str | Parts] = {
    "gpt_neox.embed_in.weight": "embed.weight",
    **{f"{name}.{kind}": f"{ours}.{kind}" for name, ours in _MODULES.items() for kind in _KINDS},
    # Of each head: its query, its key, its value.
    **{
        f"{_LAYER}.attention.query_key_value.{kind}": Parts(
            tuple(f"{name}.{kind}" for name in _QKV), "groups"
        )
        for kind in _KINDS
    },
    "embed_out.weight": "head.weight",
    "lm_head.weight": "head.weight",  # as transformers 5 calls it
}
# Masks and tables that checkpoints store and that are computed from the config.
UNUSED = tuple(
    f"{_LAYER}.attention.{name}" for name in ("bias", "masked_bias", "rotary_emb.inv_freq")
)


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    names = {"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"}
    own = {usual: config[name] for name, usual in names.items() if config.get(name) is not None}
    defaults = {"rope_theta": 10000.0, "partial_rotary_factor": 0.25}
    fields = Fields(config, where, **(defaults | own))
    for usual in names.values():  # newer files repeat both under their usual names
        fields.refuse_unless(**{usual: ((defaults | own)[usual],)})
    fields.ignore(*names, "classifier_dropout", "hidden_dropout_prob")
    fields.ignore("attention_probs_dropout_prob", "custom_pipelines")
    head_size = fields.divide("hidden_size", "num_attention_heads")
    n_heads = fields.get("num_attention_heads", int)
    rope = fit_rope(fields, read_rope(fields), head_size)
    bias = fields.get("attention_bias", bool, True)
    arch = Arch(
        family="gpt_neox",
        embed=fields.get("hidden_size", int),
        vocab_size=fields.get("vocab_size", int, 50432),
        max_length=fields.get("max_position_embeddings", int, 2048),
        layers=(Layer(rope=rope),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads, n_heads, head_size, scale=head_size**-0.5, bias=bias, out_bias=bias
        ),
        mlp=MLP(
            fields.get("intermediate_size", int),
            fields.activation("hidden_act", "gelu"),
            gated=False,
            bias=True,
        ),
        norm=Norm(fields.get("layer_norm_eps", float, 1e-5), "layer", bias=True),
        placement="parallel2" if fields.get("use_parallel_residual", bool, True) else "pre",
        tied=fields.get("tie_word_embeddings", bool, False),
    )
    fields.finish()
    return arch
