"""Tiny configs of Falcon, MPT and OPT: ALiBi, grouped and single keys, norms before and after."""

FALCON = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
NEW = FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 80}
RW = {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}

MPT = {"vocab_size": 96, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 320}

OPT = {
    "vocab_size": 96,
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 80,
    "max_position_embeddings": 512,
}
OPT_350M = {"do_layer_norm_before": False, "word_embed_proj_dim": 16}

# Case → (model_type, fields of its config).
CASES = {
    "falcon-7b": ("falcon", FALCON),
    "falcon-7b-biases": (
        "falcon",
        FALCON
        | {"bias": True, "tie_word_embeddings": False, "activation": "relu"}
        | {"max_position_embeddings": 128, "rope_parameters": DYNAMIC},
    ),
    "falcon-7b-sequential": ("falcon", FALCON | {"parallel_attn": False, "num_kv_heads": 4}),
    "falcon-40b": ("falcon", NEW),
    "falcon-11b": (
        "falcon",
        NEW | {"num_ln_in_parallel_attn": 1, "bias": True, "tie_word_embeddings": False},
    ),
    "falcon-rw": ("falcon", FALCON | RW),
    # Heads of 8: the product's rounding and the division by √8 do not commute. Six slopes.
    "falcon-rw-parallel": (
        "falcon",
        FALCON | RW | {"parallel_attn": True, "hidden_size": 48, "num_attention_heads": 6},
    ),
    "falcon-alibi-mqa": ("falcon", FALCON | {"alibi": True}),
    "mpt": ("mpt", MPT),
    # Values are around ±0.6, so that the clip cuts many.
    "mpt-clipped": (
        "mpt",
        MPT
        | {"d_model": 48, "n_heads": 6, "tie_word_embeddings": False}
        | {"attn_config": {"clip_qkv": 0.3, "softmax_scale": 1.5}},
    ),
    "opt": ("opt", OPT),
    "opt-350m": ("opt", OPT | OPT_350M),
    "opt-plain": (
        "opt",
        OPT
        | {"enable_bias": False, "layer_norm_elementwise_affine": False}
        | {"tie_word_embeddings": False, "activation_function": "gelu"},
    ),
    "opt-no-final-norm": ("opt", OPT | {"_remove_final_layer_norm": True}),
}
ON_A_MESH = ("falcon-7b", "falcon-40b", "falcon-rw", "mpt", "mpt-clipped", "opt", "opt-350m")
