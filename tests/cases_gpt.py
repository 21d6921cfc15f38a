"""Tiny configs of GPT-BigCode, StarCoder2, GPT-NeoX, GPT-J and Phi."""

VOCAB = 96

BIGCODE = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}

LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
STARCODER2 = LLAMA | {"num_key_value_heads": 2}
NEOX = LLAMA | {"hidden_size": 64}  # heads of 16, of which a quarter turns
GPTJ = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 2, "rotary_dim": 4}
PHI = LLAMA | {"num_attention_heads": 2}
PHI3 = LLAMA | {"num_key_value_heads": 2, "pad_token_id": 0}
LONGROPE = {"short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.2, 3.0, 9.0, 40.0]}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}

# Case → (model_type, fields of its config).
CASES = {
    "gpt_bigcode": ("gpt_bigcode", BIGCODE),
    "gpt_bigcode-mha": (
        "gpt_bigcode",
        BIGCODE
        | {"multi_query": False, "activation_function": "gelu", "n_inner": 80}
        | {"tie_word_embeddings": False, "scale_attn_weights": False},
    ),
    "starcoder2": ("starcoder2", STARCODER2 | {"sliding_window": 48}),
    "starcoder2-no-biases": (
        "starcoder2",
        STARCODER2
        | {"use_bias": False, "tie_word_embeddings": False, "hidden_act": "gelu"}
        | {"head_dim": 12, "rope_parameters": {"rope_type": "default", "rope_theta": 1e3}},
    ),
    "gpt_neox": ("gpt_neox", NEOX),
    "gpt_neox-sequential": (
        "gpt_neox",
        NEOX
        | {"use_parallel_residual": False, "tie_word_embeddings": True, "rotary_pct": 1.0}
        | {"rotary_emb_base": 5000, "hidden_act": "gelu_fast", "attention_bias": False},
    ),
    "gpt_neox-yarn": ("gpt_neox", NEOX | {"rope_parameters": YARN}),
    "gptj": ("gptj", GPTJ),
    "gptj-wide": (
        "gptj",
        GPTJ | {"rotary_dim": 16, "n_inner": 80, "activation_function": "gelu"},
    ),
    "phi": ("phi", PHI),
    "phi-norms": (
        "phi",
        PHI
        | {"qk_layernorm": True, "num_key_value_heads": 1, "hidden_act": "gelu"}
        | {"partial_rotary_factor": 0.25},
    ),
    "phi-wide-heads": ("phi", PHI | {"head_dim": 24}),
    "phi3": ("phi3", PHI3 | {"sliding_window": 48, "head_dim": 12}),
    # 300 inputs: below the original length, and above it.
    "phi3-short": (
        "phi3",
        PHI3
        | {"max_position_embeddings": 4096, "original_max_position_embeddings": 512}
        | {"rope_scaling": LONGROPE | {"type": "longrope"}},
    ),
    "phi3-long": (
        "phi3",
        PHI3
        | {"max_position_embeddings": 4096, "original_max_position_embeddings": 128}
        | {"rope_scaling": LONGROPE | {"type": "longrope"}},
    ),
    # As Phi-4-mini: three of four pairs turn, the head is the embedding's.
    "phi3-partial": (
        "phi3",
        PHI3
        | {"max_position_embeddings": 4096, "original_max_position_embeddings": 128}
        | {"partial_rotary_factor": 0.75, "tie_word_embeddings": True}
        | {"rope_scaling": {name: f[:3] for name, f in LONGROPE.items()} | {"type": "longrope"}},
    ),
}
ON_A_MESH = (
    "gpt_bigcode",
    "gpt_bigcode-mha",
    "starcoder2",
    "gpt_neox",
    "gptj",
    "phi",
    "phi3",
    "phi3-long",
)
