"""DeepSeek V2, V2 Lite, Coder V2: latent attention, fine experts and shared ones.

Source: `modeling_deepseek_v2.py` and `configuration_deepseek_v2.py` of Hugging Face transformers;
arXiv 2405.04434. Queries and keys turn in interleaved pairs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import MLP, Arch, Attention, Experts, Latent, Layer, Norm
from jaxbpc.models.families import llama, qwen2_moe
from jaxbpc.models.hf_config import Fields, fit_experts
from jaxbpc.models.hf_rope import fit_rope, mscale, read_rope

_ATTENTION, _OURS = "model.layers.{l}.self_attn", "layers.{l}"
_SHARED = "model.layers.{l}.mlp.shared_experts"
NAMES = {
    **llama.NAMES,
    **qwen2_moe.EXPERT_NAMES,
    f"{_ATTENTION}.q_a_proj.weight": f"{_OURS}.attention.query_down.weight",
    f"{_ATTENTION}.q_a_proj.bias": f"{_OURS}.attention.query_down.bias",
    f"{_ATTENTION}.q_a_layernorm.weight": f"{_OURS}.attention.query_norm.weight",
    f"{_ATTENTION}.q_b_proj.weight": f"{_OURS}.attention.query.weight",
    f"{_ATTENTION}.kv_a_proj_with_mqa.weight": f"{_OURS}.attention.kv_down.weight",
    f"{_ATTENTION}.kv_a_proj_with_mqa.bias": f"{_OURS}.attention.kv_down.bias",
    f"{_ATTENTION}.kv_a_layernorm.weight": f"{_OURS}.attention.kv_norm.weight",
    f"{_ATTENTION}.kv_b_proj.weight": f"{_OURS}.attention.kv.weight",
    f"{_SHARED}.gate_proj.weight": f"{_OURS}.mlp.shared.gate.weight",
    f"{_SHARED}.up_proj.weight": f"{_OURS}.mlp.shared.up.weight",
    f"{_SHARED}.down_proj.weight": f"{_OURS}.mlp.shared.down.weight",
}
UNUSED = llama.UNUSED


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        intermediate_size=11008,
        moe_intermediate_size=1407,
        n_routed_experts=64,
        n_shared_experts=2,
        q_lora_rank=config.get("q_lora_rank", 1536),  # null: none
        first_k_dense_replace=0,
    )
    fields.refuse_unless(
        mlp_bias=(False,), norm_topk_prob=(False,), scoring_func=("softmax",), moe_layer_freq=(1,)
    )
    fields.ignore("aux_loss_alpha", "seq_aux")  # of training
    method = fields.choice("topk_method", ("greedy", "group_limited_greedy"), "greedy")
    arch = latent_like(fields, "deepseek_v2", interleaved=True)
    experts = read_experts(fields, arch.mlp.activation)
    if method == "greedy":
        fields.ignore("n_group", "topk_group")
    else:
        groups, top_groups = fields.get("n_group", int), fields.get("topk_group", int)
        experts = dataclasses.replace(experts, groups=groups, top_groups=top_groups)
    fields.finish()
    return dataclasses.replace(arch, experts=fit_experts(fields, experts))


def latent_like(fields: Fields, family: str, interleaved: bool) -> Arch:
    """The Arch, but for its experts, of a family whose attention and layers are DeepSeek's."""
    n_heads = fields.get("num_attention_heads", int)
    fields.refuse_unless(num_key_value_heads=(n_heads,))
    fields.ignore("head_dim", "qk_head_dim", "ep_size")  # the first two follow from others
    rank = fields.optional("q_lora_rank")
    latent = Latent(
        query_rank=None if rank is None else fields.get("q_lora_rank", int),
        kv_rank=fields.get("kv_lora_rank", int, 512),
        plain_size=fields.get("qk_nope_head_dim", int, 128),
        rope_size=fields.get("qk_rope_head_dim", int, 64),
        value_size=fields.get("v_head_dim", int, 128),
        norm=Norm(1e-6),  # whatever `rms_norm_eps` is
    )
    rope = read_rope(fields, whole=True)
    rope = dataclasses.replace(fit_rope(fields, rope, latent.rope_size), interleaved=interleaved)
    size = latent.plain_size + latent.rope_size
    scale = size**-0.5
    if rope.kind == "yarn":
        given = fields.optional("rope_parameters") or fields.optional("rope_scaling")
        scale *= mscale(rope.factor, given.get("mscale_all_dim") or 0.0) ** 2
    bias = fields.get("attention_bias", bool, False)
    n_layers = fields.get("num_hidden_layers", int)
    n_dense = fields.count("first_k_dense_replace", 0)
    return Arch(
        family=family,
        embed=fields.get("hidden_size", int),
        vocab_size=fields.get("vocab_size", int),
        max_length=fields.get("max_position_embeddings", int, 2048),
        layers=tuple(Layer(rope=rope, experts=i >= n_dense) for i in range(n_layers)),
        attention=Attention(n_heads, n_heads, size, scale, bias=bias, out_bias=bias, latent=latent),
        mlp=MLP(
            fields.get("intermediate_size", int), fields.choice("hidden_act", ("silu",), "silu")
        ),
        norm=Norm(fields.get("rms_norm_eps", float, 1e-6)),
        tied=fields.get("tie_word_embeddings", bool, False),
    )


def read_experts(fields: Fields, activation: str) -> Experts:
    """Experts by DeepSeek's names; scores, groups and weights are yet to be set."""
    size = fields.get("moe_intermediate_size", int)
    return Experts(
        n=fields.get("n_routed_experts", int),
        top=fields.get("num_experts_per_tok", int),
        size=size,
        activation=activation,
        scale=fields.get("routed_scaling_factor", float, 1.0),
        shared=size * fields.get("n_shared_experts", int),
    )
