"""Phi 1, 1.5 and 2: attention and MLP in parallel on one norm, RoPE on part of each head, biases.

Source: `modeling_phi.py` and `configuration_phi.py` of Hugging Face transformers; arXiv 2309.05463.
"""

from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Layer, Norm
from jaxbpc.models.hf_config import Fields, read_heads
from jaxbpc.models.hf_rope import fit_rope, read_rope

_LAYER, _OURS = "model.layers.{l}", "layers.{l}"
_MODULES = {
    f"{_LAYER}.self_attn.q_proj": f"{_OURS}.attention.query",
    f"{_LAYER}.self_attn.k_proj": f"{_OURS}.attention.key",
    f"{_LAYER}.self_attn.v_proj": f"{_OURS}.attention.value",
    f"{_LAYER}.self_attn.dense": f"{_OURS}.attention.out",
    f"{_LAYER}.self_attn.q_layernorm": f"{_OURS}.attention.query_norm",
    f"{_LAYER}.self_attn.k_layernorm": f"{_OURS}.attention.key_norm",
    f"{_LAYER}.mlp.fc1": f"{_OURS}.mlp.up",
    f"{_LAYER}.mlp.fc2": f"{_OURS}.mlp.down",
    f"{_LAYER}.input_layernorm": f"{_OURS}.attention_norm",
    "model.final_layernorm": "norm",
    "lm_head": "head",
}
NAMES = {
    "model.embed_tokens.weight": "embed.weight",
    **{f"{name}.weight": f"{ours}.weight" for name, ours in _MODULES.items()},
    **{f"{name}.bias": f"{ours}.bias" for name, ours in _MODULES.items()},
}
# Tables that old checkpoints store and that are computed from the config.
UNUSED = (f"{_LAYER}.self_attn.rotary_emb.inv_freq",)


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(config, where, partial_rotary_factor=0.5)
    fields.refuse_unless(tie_word_embeddings=(False,))  # the head has a bias of its own
    n_heads, n_kv_heads, head_size = read_heads(fields)
    rope = fit_rope(fields, read_rope(fields), head_size)
    norm = Norm(fields.get("layer_norm_eps", float, 1e-5), "layer", bias=True)
    arch = Arch(
        family="phi",
        embed=fields.get("hidden_size", int),
        vocab_size=fields.get("vocab_size", int, 51200),
        max_length=fields.get("max_position_embeddings", int, 2048),
        layers=(Layer(rope=rope),) * fields.get("num_hidden_layers", int),
        attention=Attention(
            n_heads,
            n_kv_heads,
            head_size,
            scale=head_size**-0.5,
            bias=True,
            out_bias=True,
            norm=norm if fields.get("qk_layernorm", bool, False) else None,
        ),
        mlp=MLP(
            fields.get("intermediate_size", int),
            fields.activation("hidden_act", "gelu_new"),
            gated=False,
            bias=True,
        ),
        norm=norm,
        placement="parallel",
        head_bias=True,
    )
    fields.finish()
    return arch
