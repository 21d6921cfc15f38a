"""Tiny configs of mixtures of experts: Qwen 2 and 3 MoE, DeepSeek V2 and V3, gpt-oss."""

VOCAB = 96

QWEN = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "moe_intermediate_size": 24,
    "num_experts": 8,
    "num_experts_per_tok": 3,
}
SLIDING = {"use_sliding_window": True, "sliding_window": 40}
KINDS = ["full_attention", "sliding_attention", "full_attention"]
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
DEEPSEEK = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 24,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "q_lora_rank": 20,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "rms_norm_eps": 1e-3,  # the compressed states' norms have one of their own
    "routed_scaling_factor": 1.7,
}
GPT_OSS = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_local_experts": 8,
    "num_experts_per_tok": 3,
    "sliding_window": 40,
}

# Case → (model_type, fields of its config).
CASES = {
    "qwen2_moe": (
        "qwen2_moe",
        QWEN | {"shared_expert_intermediate_size": 40, "max_window_layers": 2} | SLIDING,
    ),
    "qwen2_moe-sparse": (
        "qwen2_moe",
        QWEN
        | {"shared_expert_intermediate_size": 16, "decoder_sparse_step": 2, "qkv_bias": False}
        | {"norm_topk_prob": True, "num_experts": 6, "tie_word_embeddings": True},
    ),
    "qwen3_moe": (
        "qwen3_moe",
        QWEN | {"head_dim": 16, "norm_topk_prob": True, "mlp_only_layers": [1]},
    ),
    "qwen3_moe-sliding": (
        "qwen3_moe",
        QWEN | {"attention_bias": True, "head_dim": 8, "decoder_sparse_step": 2} | SLIDING,
    ),
    "deepseek_v2": (
        "deepseek_v2",
        DEEPSEEK
        | {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}
        | {"rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 1.3}},
    ),
    "deepseek_v2-lite": ("deepseek_v2", DEEPSEEK | {"q_lora_rank": None, "n_shared_experts": 1}),
    "deepseek_v2-biases": (
        "deepseek_v2",
        DEEPSEEK
        | {"attention_bias": True, "first_k_dense_replace": 0, "tie_word_embeddings": True},
    ),
    "deepseek_v3": (
        "deepseek_v3",
        DEEPSEEK
        | {"n_group": 4, "topk_group": 2, "num_nextn_predict_layers": 0}
        | {"rope_parameters": YARN | {"mscale": 1.2, "mscale_all_dim": 0.6}},
    ),
    "deepseek_v3-halves": (
        "deepseek_v3",
        DEEPSEEK
        | {"n_group": 1, "topk_group": 1, "rope_interleave": False, "norm_topk_prob": False}
        | {"q_lora_rank": None, "n_shared_experts": 2, "attention_bias": True},
    ),
    "gpt_oss": ("gpt_oss", GPT_OSS | {"rope_parameters": YARN | {"truncate": False}}),
    "gpt_oss-clamped": (
        "gpt_oss",
        GPT_OSS
        | {"swiglu_limit": 0.4, "swiglu_alpha": 0.9, "layer_types": KINDS, "head_dim": 8}
        | {"attention_bias": False, "tie_word_embeddings": True, "num_local_experts": 6},
    ),
}
ON_A_MESH = (
    "qwen2_moe-sparse",
    "qwen3_moe",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
    "gpt_oss-clamped",
)
