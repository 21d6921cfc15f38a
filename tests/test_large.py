"""The largest models, abstractly: shapes, counts and shardings without a byte of their weights."""

import math

import jax
import pytest

from jaxbpc.checkpoint import load
from jaxbpc.models.decoder import Decoder, n_parameters, parameters
from jaxbpc.models.families import FAMILIES

LLAMA_405B = {
    "model_type": "llama",
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
}
MIXTRAL_8X22B = {
    "model_type": "mixtral",
    "hidden_size": 6144,
    "intermediate_size": 16384,
    "num_hidden_layers": 56,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 65536,
    "rope_theta": 1000000.0,
    "sliding_window": None,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "n_group": 8,
    "topk_group": 4,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "num_nextn_predict_layers": 1,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
}


@pytest.mark.parametrize(
    ("config", "n_billions", "mesh"),
    [
        (LLAMA_405B, 405.9, (1, 64, 8)),
        (MIXTRAL_8X22B, 140.6, (1, 16, 8)),
        (MIXTRAL_8X22B, 140.6, (2, 8, 1)),
        (DEEPSEEK_V3, 671.0, (1, 64, 4)),
        (DEEPSEEK_V3, 671.0, (1, 32, 8)),
    ],
    ids=lambda value: str(value.get("model_type") if isinstance(value, dict) else value),
)
def test_shapes_and_shardings(config, n_billions, mesh):
    arch = FAMILIES[config["model_type"]].to_arch(config, "config.json")
    model = Decoder(arch, jax.numpy.bfloat16, "xla")
    assert n_parameters(model) / 1e9 == pytest.approx(n_billions, rel=1e-3)
    mesh = jax.sharding.AbstractMesh(mesh, ("data", "fsdp", "tensor"))
    shardings = load.parameter_shardings(model, mesh)
    n_local = 0
    for name, variable in parameters(model).items():
        shape = variable.get_value().shape
        # Raises where a dimension is not divided evenly.
        local = shardings[name].shard_shape(shape)
        n_local += math.prod(local)
    n_split = mesh.shape["fsdp"] * mesh.shape["tensor"]
    # Norms, routers and latent states are whole on every device; all else is split.
    assert n_local / (n_parameters(model) / n_split) < 1.1
