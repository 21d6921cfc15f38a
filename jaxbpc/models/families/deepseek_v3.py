"""DeepSeek V3, R1, Moonlight: V2 with sigmoid scores and a correction of the experts' choice.

Source: `modeling_deepseek_v3.py` and `configuration_deepseek_v3.py` of Hugging Face transformers;
arXiv 2412.19437. The layers after the last, which predict further tokens, are not used.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxbpc.models.arch import Arch
from jaxbpc.models.families import deepseek_v2
from jaxbpc.models.hf_config import Fields, fit_experts

NAMES = {
    **deepseek_v2.NAMES,
    "model.layers.{l}.mlp.gate.e_score_correction_bias": "layers.{l}.mlp.router.correction",
}
UNUSED = (*deepseek_v2.UNUSED, "model.layers.{u}.*")


def to_arch(config: Mapping[str, Any], where: str) -> Arch:
    """The Arch of a config.json's fields. `where` names the file in errors (InputError)."""
    fields = Fields(
        config,
        where,
        max_position_embeddings=4096,
        intermediate_size=18432,
        moe_intermediate_size=2048,
        n_routed_experts=256,
        n_shared_experts=1,
        num_experts_per_tok=8,
        routed_scaling_factor=2.5,
        q_lora_rank=config.get("q_lora_rank", 1536),  # null: none
        first_k_dense_replace=3,
    )
    fields.refuse_unless(
        scoring_func=("sigmoid",), topk_method=("noaux_tc",), moe_layer_freq=(1,), mlp_bias=(False,)
    )
    fields.ignore("aux_loss_alpha", "seq_aux")  # of training
    interleaved = fields.get("rope_interleave", bool, True)
    # Where it is there, transformers turns so many of a head's numbers.
    fields.refuse_unless(head_dim=(fields.get("qk_rope_head_dim", int, 64),))
    arch = deepseek_v2.latent_like(fields, "deepseek_v3", interleaved)
    experts = dataclasses.replace(
        deepseek_v2.read_experts(fields, arch.mlp.activation),
        score="sigmoid",
        correction=True,
        normalize=fields.get("norm_topk_prob", bool, True),
        groups=fields.get("n_group", int, 8),
        top_groups=fields.get("topk_group", int, 4),
        group_best=2,
    )
    n_unused = fields.count("num_nextn_predict_layers", 1)
    fields.finish()
    return dataclasses.replace(arch, experts=fit_experts(fields, experts), n_unused_layers=n_unused)
