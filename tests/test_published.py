"""config.json files as they are published: all of their fields are understood, no weight is lost.

The counts are those of the hub's safetensors, less what predicts further tokens.
"""

import jax
import pytest

from jaxbpc.errors import InputError
from jaxbpc.models.decoder import Decoder, n_parameters
from jaxbpc.models.families import FAMILIES

QWEN2_5_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 3584,
    "initializer_range": 0.02,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN1_5_MOE = {
    "model_type": "qwen2_moe",
    "decoder_sparse_step": 1,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "max_position_embeddings": 8192,
    "max_window_layers": 21,
    "moe_intermediate_size": 1408,
    "norm_topk_prob": False,
    "num_attention_heads": 16,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 5632,
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_8B = {
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "max_window_layers": 36,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_30B = {
    "model_type": "qwen3_moe",
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_position_embeddings": 40960,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
SMOLLM3 = {
    "model_type": "smollm3",
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "layer_types": ["full_attention"] * 36,
    "max_position_embeddings": 65536,
    "max_window_layers": 28,
    "mlp_bias": False,
    "no_rope_layer_interval": 4,
    "no_rope_layers": [1, 1, 1, 0] * 9,
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 4,
    "pretraining_tp": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 5000000.0,
    "sliding_window": None,
    "use_sliding_window": False,
    "vocab_size": 128256,
}
GRANITE3_8B = {
    "model_type": "granite",
    "attention_bias": False,
    "attention_dropout": 0.1,
    "attention_multiplier": 0.0078125,
    "embedding_multiplier": 12.0,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 12800,
    "logits_scaling": 16.0,
    "max_position_embeddings": 4096,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 40,
    "num_key_value_heads": 8,
    "residual_multiplier": 0.22,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000,
    "tie_word_embeddings": True,
    "vocab_size": 49155,
}
DEEPSEEK_V2_LITE = {
    "model_type": "deepseek_v2",
    "attention_bias": False,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"},
    "aux_loss_alpha": 0.001,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "moe_intermediate_size": 1408,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "num_attention_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "pretraining_tp": 1,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "seq_aux": True,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "topk_method": "greedy",
    "v_head_dim": 128,
    "vocab_size": 102400,
}
MOONLIGHT = DEEPSEEK_V2_LITE | {
    "model_type": "deepseek_v3",
    "ep_size": 1,
    "intermediate_size": 11264,
    "max_position_embeddings": 8192,
    "norm_topk_prob": True,
    "num_nextn_predict_layers": 0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 50000.0,
    "routed_scaling_factor": 2.446,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "vocab_size": 163840,
}
GPT_OSS_20B = {
    "model_type": "gpt_oss",
    "attention_bias": True,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2880,
    "initial_context_length": 4096,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "output_router_logits": False,
    "quantization_config": {
        "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}


def to_arch(config):
    return FAMILIES[config["model_type"]].to_arch(config, "config.json")


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (QWEN2_5_7B, 7_615_616_512),
        (QWEN1_5_MOE, 14_315_784_192),
        (QWEN3_8B, 8_190_735_360),
        (QWEN3_30B, 30_532_122_624),
        (SMOLLM3, 3_075_098_624),
        (GRANITE3_8B, 8_170_848_256),
        (DEEPSEEK_V2_LITE, 15_706_484_224),
        (GPT_OSS_20B, 20_914_757_184),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_every_weight_is_counted(config, count):
    assert n_parameters(Decoder(to_arch(config), jax.numpy.bfloat16, "xla")) == count


def test_what_is_null_or_zero():
    arch = to_arch(MOONLIGHT)
    assert arch.attention.latent.query_rank is None
    assert arch.attention.scale == 192**-0.5
    assert arch.n_unused_layers == 0
    assert not any(layer.window for layer in to_arch(QWEN2_5_7B).layers)
    assert to_arch(MOONLIGHT | {"first_k_dense_replace": 0}).layers[0].experts


SLIDING = {"use_sliding_window": True, "sliding_window": 4096}
KINDS = {"layer_types": ["sliding_attention"] * 36}


@pytest.mark.parametrize(
    ("config", "change", "word"),
    [
        (QWEN2_5_7B, {"use_mrope": True}, "use_mrope"),
        (QWEN2_5_7B, {"dual_chunk_attention_config": {"chunk_size": 1}}, "dual_chunk_attention"),
        (QWEN2_5_7B, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (QWEN2_5_7B, {"hidden_act": "gelu"}, "hidden_act"),
        (QWEN2_5_7B, {"num_key_value_heads": 3}, "num_key_value_heads"),
        (QWEN3_8B, KINDS, "use_sliding_window"),
        (QWEN3_8B, SLIDING | {"sliding_window": 0}, "sliding_window"),
        (QWEN3_8B, SLIDING | {"layer_types": [[]]}, "layer_types"),
        (QWEN3_30B, SLIDING, "max_window_layers"),
        (QWEN3_30B, {"num_local_experts": 64}, "num_local_experts"),
        (QWEN3_30B, {"num_experts_per_tok": 129}, "129 of 128"),
        (QWEN1_5_MOE, {"mlp_only_layers": ["a"]}, "mlp_only_layers"),
        (QWEN1_5_MOE, {"decoder_sparse_step": 0}, "decoder_sparse_step"),
        (SMOLLM3, {"no_rope_layers": [1]}, "no_rope_layers"),
        (SMOLLM3, {"no_rope_layers": [2] * 36}, "no_rope_layers"),
        (GRANITE3_8B, {"logits_scaling": 0}, "logits_scaling"),
        (DEEPSEEK_V2_LITE, {"moe_layer_freq": 2}, "moe_layer_freq"),
        (DEEPSEEK_V2_LITE, {"norm_topk_prob": True}, "norm_topk_prob"),
        (DEEPSEEK_V2_LITE, {"scoring_func": "sigmoid"}, "scoring_func"),
        (DEEPSEEK_V2_LITE, {"topk_method": "noaux_tc"}, "topk_method"),
        (DEEPSEEK_V2_LITE, {"num_key_value_heads": 4}, "num_key_value_heads"),
        (DEEPSEEK_V2_LITE, {"qk_rope_head_dim": 63}, "63"),
        (MOONLIGHT, {"n_group": 3}, "64 experts in 3 groups"),
        (MOONLIGHT, {"n_group": 32, "topk_group": 2}, "6 of 64"),
        (MOONLIGHT, {"rope_scaling": {"type": "yarn", "mscale": "1"}}, "mscale"),
        (GPT_OSS_20B, {"experts_per_token": 8}, "experts_per_token"),
        (GPT_OSS_20B, {"sliding_window": None}, "sliding_window"),
    ],
)
def test_what_is_refused(config, change, word):
    with pytest.raises(InputError, match=r"config\.json") as error:
        to_arch(config | change)
    assert word in str(error.value)
