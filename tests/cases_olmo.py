"""Tiny configs of OLMo, Nemotron and StableLM."""

from cases_gemma import BASE, BIASES, LINEAR, SEES_ALL, SLIDES, YARN

SMALL = {name: value for name, value in BASE.items() if name != "head_dim"}
TIED = {"tie_word_embeddings": True}

# Case → (model_type, fields of its config).
CASES = {
    "olmo": ("olmo", SMALL | {"clip_qkv": 0.4}),
    "olmo-biases": ("olmo", BASE | BIASES | TIED | {"rope_parameters": LINEAR}),
    "olmo2": ("olmo2", SMALL | {"rms_norm_eps": 0.05}),
    "olmo2-biases": ("olmo2", BASE | BIASES | TIED | {"rope_parameters": LINEAR}),
    "olmo3": (
        "olmo3",
        SMALL
        | {
            "num_hidden_layers": 4,
            "sliding_window": 48,
            "rms_norm_eps": 0.05,
            "rope_parameters": {SEES_ALL: YARN, SLIDES: {"rope_theta": 1e4}},
        },
    ),
    "olmo3-types": (
        "olmo3",
        BASE | BIASES | TIED | {"sliding_window": 48, "layer_types": [SEES_ALL, SLIDES]},
    ),
    "nemotron": ("nemotron", BASE | {"norm_eps": 0.05}),
    "nemotron-biases": (
        "nemotron",
        SMALL
        | BIASES
        | TIED
        | {
            "mlp_bias": True,
            "hidden_act": "gelu",
            "rope_parameters": LINEAR | {"partial_rotary_factor": 0.75},
        },
    ),
    "stablelm": ("stablelm", SMALL | {"layer_norm_eps": 0.05, "use_qkv_bias": True}),
    "stablelm-norms": (
        "stablelm",
        SMALL | {"qk_layernorm": True, "rope_parameters": LINEAR | {"partial_rotary_factor": 0.75}},
    ),
    "stablelm-parallel": (
        "stablelm",
        SMALL | TIED | {"qk_layernorm": True, "use_parallel_residual": True, "hidden_act": "gelu"},
    ),
}
ON_A_MESH = (
    "olmo",
    "olmo2",
    "olmo3",
    "nemotron",
    "stablelm",
    "stablelm-norms",
    "stablelm-parallel",
)
