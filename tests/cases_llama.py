"""Tiny configs of Llama and its nearest kin."""

VOCAB = 96

LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}

GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}

# Case → (model_type, fields of its config).
CASES = {
    "llama-mha": ("llama", LLAMA | {"num_key_value_heads": 4}),
    "llama-gqa": ("llama", LLAMA | {"num_key_value_heads": 2}),
    "llama-mqa": ("llama", LLAMA | {"num_key_value_heads": 1}),
    "llama-tied": ("llama", LLAMA | {"tie_word_embeddings": True}),
    "llama-biases": ("llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama-llama3": ("llama", LLAMA | {"rope_parameters": LLAMA3}),
    "mistral": ("mistral", LLAMA | {"num_key_value_heads": 2, "sliding_window": 48}),
    "mixtral": ("mixtral", LLAMA | {"num_local_experts": 8, "num_key_value_heads": 2}),
    "gpt2": ("gpt2", GPT2),
    "gpt2-scales": (
        "gpt2",
        GPT2
        | {"scale_attn_by_inverse_layer_idx": True, "n_inner": 48, "activation_function": "relu"},
    ),
    "llama-linear": ("llama", LLAMA | {"rope_parameters": LINEAR, "head_dim": 16}),
}
ON_A_MESH = ("llama-mha", "llama-mqa", "llama-tied", "llama-biases", "mistral", "mixtral", "gpt2")
