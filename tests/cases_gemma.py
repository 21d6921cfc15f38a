"""Tiny configs of Gemma and of those with norms on both sides, or with one for both branches."""

VOCAB = 96

# Heads of 16 where hidden_size / heads is 8; a large eps, so that it is seen.
BASE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
GEMMA = BASE | {"rms_norm_eps": 0.05}
GEMMA2 = GEMMA | {
    "num_hidden_layers": 3,
    "sliding_window": 48,
    "query_pre_attn_scalar": 24,
    "attn_logit_softcapping": 1.5,
    "final_logit_softcapping": 2.0,
}
SLIDES, SEES_ALL = "sliding_attention", "full_attention"
GEMMA3 = GEMMA | {
    "num_hidden_layers": 3,
    "sliding_window": 48,
    "sliding_window_pattern": 3,
    # Normed by weights around 2, queries and keys have long products: rounding would be blown up.
    "query_pre_attn_scalar": 400,
    "rope_parameters": {
        SEES_ALL: {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0},
        SLIDES: {"rope_type": "default", "rope_theta": 100.0},
    },
}
LINEAR = {"rope_type": "linear", "rope_theta": 100.0, "factor": 4.0}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
EYES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
UNTIED = {"tie_word_embeddings": False}
BIASES = {"attention_bias": True}

# Case → (model_type, fields of its config).
CASES = {
    "gemma": ("gemma", GEMMA),
    "gemma-biases": (
        "gemma",
        GEMMA
        | BIASES
        | UNTIED
        | {"hidden_act": "gelu", "num_key_value_heads": 1, "rope_parameters": LINEAR},
    ),
    "gemma2": ("gemma2", GEMMA2),
    "gemma2-plain": (
        "gemma2",
        GEMMA2
        | BIASES
        | UNTIED
        | {
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "hidden_activation": "relu",
            "layer_types": [SEES_ALL, SLIDES, SLIDES],
        },
    ),
    "gemma3_text": ("gemma3_text", GEMMA3),
    "gemma3_text-types": (
        "gemma3_text",
        GEMMA3
        | BIASES
        | UNTIED
        | {
            "final_logit_softcapping": 2.0,
            "hidden_activation": "relu",
            "layer_types": [SLIDES, SEES_ALL, SLIDES],
        },
    ),
    "gemma3": (
        "gemma3",
        {"text_config": GEMMA3, "vision_config": EYES, "mm_tokens_per_image": 4},
    ),
    "cohere": ("cohere", BASE | {"logit_scale": 0.5, "layer_norm_eps": 0.05}),
    "cohere2": (
        "cohere2",
        BASE | {"num_hidden_layers": 4, "sliding_window": 48, "layer_norm_eps": 0.05},
    ),
    "cohere2-kinds": (
        "cohere2",
        BASE
        | {
            "sliding_window": 80,
            "layer_types": ["full_attention", "sliding_attention"],
            "tie_word_embeddings": False,
        },
    ),
    "cohere-norms": (
        "cohere",
        BASE | BIASES | UNTIED | {"use_qk_norm": True, "rope_parameters": LINEAR},
    ),
    "glm4": ("glm4", GEMMA | {"pad_token_id": 0}),
    "glm4-plain": (
        "glm4",
        BASE
        | {
            "attention_bias": False,
            "pad_token_id": 0,
            "tie_word_embeddings": True,
            "num_key_value_heads": 1,
            "rope_parameters": YARN | {"partial_rotary_factor": 0.25},
        },
    ),
}
ON_A_MESH = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "cohere",
    "cohere-norms",
    "cohere2",
    "glm4",
)
