"""Tiny configs of Qwen 2 and 3, SmolLM3 and Granite."""

VOCAB = 96

QWEN = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SLIDING = {"use_sliding_window": True, "sliding_window": 40}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
SMOLLM = QWEN | {"pad_token_id": 0}
GRANITE = QWEN | {
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.5,
    "residual_multiplier": 0.7,
    "logits_scaling": 0.4,
}

# Case → (model_type, fields of its config).
CASES = {
    "qwen2": ("qwen2", QWEN | {"max_window_layers": 1} | SLIDING),
    "qwen2-tied": (
        "qwen2",
        QWEN | {"tie_word_embeddings": True, "sliding_window": 40, "num_key_value_heads": 4},
    ),
    "qwen2-kinds": (
        "qwen2",
        QWEN | {"layer_types": KINDS, "num_key_value_heads": 1, "rope_parameters": YARN} | SLIDING,
    ),
    "qwen3": ("qwen3", QWEN | {"head_dim": 16, "max_window_layers": 2} | SLIDING),
    "qwen3-biases": (
        "qwen3",
        QWEN | {"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True},
    ),
    "qwen3-yarn": (
        "qwen3",
        QWEN | {"head_dim": 8, "layer_types": KINDS, "rope_parameters": YARN} | SLIDING,
    ),
    "smollm3": ("smollm3", SMOLLM | {"no_rope_layer_interval": 2} | SLIDING),
    "smollm3-kinds": (
        "smollm3",
        SMOLLM
        | {"no_rope_layers": [0, 1, 1], "layer_types": KINDS, "tie_word_embeddings": False}
        | {"attention_bias": True, "mlp_bias": True, "head_dim": 16}
        | SLIDING,
    ),
    "granite": ("granite", GRANITE),
    "granite-biases": (
        "granite",
        GRANITE
        | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 16},
    ),
}
ON_A_MESH = ("qwen2", "qwen3", "smollm3-kinds", "granite-biases")
