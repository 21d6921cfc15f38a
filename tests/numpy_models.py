"""Three families that transformers has no class for, in numpy: the oracle of their parity tests.

Written from the modelling files that are published beside the weights, without a line of jaxbpc.
Weights and activations are float64. Rotary angles are float32 products and their cosines float32,
as in those files. What is read is `ids[:, :-1]`, so a window's length T is `tokens - 1`.

x = wte[ids]; each layer: x += attention(rms(x)), x += mlp(rms(x)); logits = head @ rms(x).
rms(x) = x / sqrt(mean(x²) + eps) * w. Attention is causal, its scores divided by sqrt(H).
rope of base b, half against half: the pair (x_i, x_{i + R/2}) of position p is turned by the angle
p b^(-2 i / R), in the first R of a head's H dimensions.

qwen: Qwen/Qwen-1_8B, 7B, 14B, 72B, `modeling_qwen.py` (QWenLMHeadModel).
  q, k, v = c_attn(x), one [3 D, D] product, always with a bias; `no_bias` speaks of all others.
  mlp = c_proj(w1(x) * silu(w2(x))): w2 is the gate; its width F is half of `intermediate_size`.
  R = int(kv_channels * rotary_pct); kv_channels * heads must be D. b = rotary_emb_base.
  use_dynamic_ntk: b *= a^(R / (R - 2)), a = max(2^ceil(log2(T / seq_length) + 1) - 1, 1): a is 1
  up to T = seq_length, 3 up to twice it, 7 up to four times it.
  use_logn_attn: after rope, q of position p (from 0) *= log_seq_length(p + 1) where p + 1 >
  seq_length: nothing changes while T <= seq_length.

internlm2: internlm/internlm2-1_8b, 7b, 20b, internlm2_5-*, `modeling_internlm2.py`.
  wqkv [K (G + 2) H, D]: of each of K groups first its G query heads, then its key, then its value.
  mlp = w2(silu(w1(x)) * w3(x)). `bias` puts biases on wqkv and wo. R = H = D / heads.
  rope_scaling null, linear (positions / factor) or dynamic: for T > max_position_embeddings = M,
  b *= (factor T / M - (factor - 1))^(H / (H - 2)).

baichuan: baichuan-inc/Baichuan-7B, 13B, Baichuan2-7B, 13B (Base, Chat), `modeling_baichuan.py`.
  q, k, v = W_pack(x), [3 D, D]; mlp = down(silu(gate(x)) * up(x)); no biases.
  7B: rope of base 10000, not a field. 13B: no rope but ALiBi: slope_h * j is added to the score of
  key j (as good as slope_h * (j - i): the softmax does not see what a row has in common).
  slopes of n heads, n a power of two: 2^(-8 h / n), h = 1 … n; else those of the largest power of
  two m < n, then of those of 2 m the first, third, … until there are n.
  Told apart by fields: only the 7B files have `max_position_embeddings`, 13B has `model_max_length`
  alone. Baichuan2 (a vocabulary of 125,696) divides each row of lm_head by its L2 norm, at least
  1e-12 (NormHead).
"""

import math

import numpy as np

_RMS_EPS = {"qwen": "layer_norm_epsilon", "internlm2": "rms_norm_eps", "baichuan": "rms_norm_eps"}
_EMBED = {
    "qwen": "transformer.wte.weight",
    "internlm2": "model.tok_embeddings.weight",
    "baichuan": "model.embed_tokens.weight",
}
_FINAL_NORM = {
    "qwen": "transformer.ln_f.weight",
    "internlm2": "model.norm.weight",
    "baichuan": "model.norm.weight",
}
_HEAD = {"qwen": "lm_head.weight", "internlm2": "output.weight", "baichuan": "lm_head.weight"}
NORM_HEAD_VOCAB = 125_696


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a checkpoint, under its published name."""
    kind, d, v = config["model_type"], config["hidden_size"], config["vocab_size"]
    found = {_EMBED[kind]: (v, d), _FINAL_NORM[kind]: (d,), _HEAD[kind]: (v, d)}
    for layer in range(config["num_hidden_layers"]):
        for name, shape in _LAYER_SHAPES[kind](config).items():
            found[_prefix(kind, layer) + name] = shape
    return found


def nll(config: dict, tensors: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """Nats of each target: ids [rows, tokens] → [rows, tokens - 1] float64."""
    kind = config["model_type"]
    w = {name: np.asarray(tensors[name], np.float64) for name in shapes(config)}
    head = w[_HEAD[kind]]
    if kind == "baichuan" and config["vocab_size"] == NORM_HEAD_VOCAB:
        head = head / np.maximum(np.linalg.norm(head, axis=1, keepdims=True), 1e-12)
    eps = config[_RMS_EPS[kind]]
    rows = []
    for row in ids:
        x = w[_EMBED[kind]][row[:-1]]
        for layer in range(config["num_hidden_layers"]):
            x = _LAYERS[kind](config, _Layer(w, _prefix(kind, layer)), x, eps)
        rows.append(_loss(_rms(x, w[_FINAL_NORM[kind]], eps), head, row[1:]))
    return np.stack(rows)


class _Layer:
    """The tensors of one layer; called with a name, a linear map with its bias, if it has one."""

    def __init__(self, tensors: dict[str, np.ndarray], prefix: str):
        self.tensors, self.prefix = tensors, prefix

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[self.prefix + name]

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self[f"{name}.weight"].T + self.tensors.get(f"{self.prefix}{name}.bias", 0.0)


def _prefix(kind: str, layer: int) -> str:
    return f"transformer.h.{layer}." if kind == "qwen" else f"model.layers.{layer}."


def _rms(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def _loss(x: np.ndarray, head: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """-log softmax(x head')[target], few positions at a time: a vocabulary may be large."""
    parts = []
    for begin in range(0, len(x), 50):
        logits = x[begin : begin + 50] @ head.T
        aimed = targets[begin : begin + 50, None]
        top = logits.max(-1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(-1)) + top[:, 0]
        parts.append(total - np.take_along_axis(logits, aimed, -1)[:, 0])
    return np.concatenate(parts)


def _heads(x: np.ndarray, n: int) -> np.ndarray:
    """[T, n H] → [n, T, H]."""
    return x.reshape(len(x), n, -1).transpose(1, 0, 2)


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | float = 0.0):
    """Causal attention of heads [n, T, H] → [T, n H]. bias: added to the scaled scores."""
    n_tokens = q.shape[1]
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]) + bias
    scores = np.where(np.tri(n_tokens, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = weights / weights.sum(-1, keepdims=True) @ v
    return mixed.transpose(1, 0, 2).reshape(n_tokens, -1)


def _rope(x: np.ndarray, base: float, size: int, divisor: float = 1.0) -> np.ndarray:
    """Turns the first `size` dimensions of heads [n, T, H] by their positions / divisor."""
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = np.float32(1) / np.float32(base) ** exponents
    positions = np.arange(x.shape[1], dtype=np.float32) / np.float32(divisor)
    angles = positions[:, None] * frequencies
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = x[..., : size // 2], x[..., size // 2 : size]
    turned = (first * cos - second * sin, second * cos + first * sin)
    return np.concatenate([*turned, x[..., size:]], -1)


def _qwen_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    d, f = config["hidden_size"], config["intermediate_size"] // 2
    assert config["kv_channels"] * config["num_attention_heads"] == d
    found: dict[str, tuple[int, ...]] = {"ln_1.weight": (d,), "ln_2.weight": (d,)}
    found |= {"attn.c_attn.weight": (3 * d, d), "attn.c_attn.bias": (3 * d,)}
    linear = {"attn.c_proj": (d, d), "mlp.w1": (f, d), "mlp.w2": (f, d), "mlp.c_proj": (d, f)}
    for name, shape in linear.items():
        found[f"{name}.weight"] = shape
        if not config["no_bias"]:
            found[f"{name}.bias"] = shape[:1]
    return found


def _qwen_layer(config: dict, w: _Layer, x: np.ndarray, eps: float) -> np.ndarray:
    n, length, trained = config["num_attention_heads"], len(x), config["seq_length"]
    size = int(config["kv_channels"] * config["rotary_pct"])
    base = config["rotary_emb_base"]
    if config["use_dynamic_ntk"]:
        alpha = max(2 ** math.ceil(math.log2(length / trained) + 1) - 1, 1)
        base = base * alpha ** (size / (size - 2))
    h = _rms(x, w["ln_1.weight"], eps)
    q, k, v = (_heads(part, n) for part in np.split(w("attn.c_attn", h), 3, axis=-1))
    q, k = _rope(q, base, size), _rope(k, base, size)
    if config["use_logn_attn"]:
        counts = np.arange(1, length + 1)
        q = q * np.where(counts > trained, np.log(counts) / math.log(trained), 1.0)[:, None]
    x = x + w("attn.c_proj", _attend(q, k, v))
    h = _rms(x, w["ln_2.weight"], eps)
    return x + w("mlp.c_proj", w("mlp.w1", h) * _silu(w("mlp.w2", h)))


def _internlm2_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    d, f, n = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    fused = (n + 2 * config["num_key_value_heads"]) * (d // n)
    found: dict[str, tuple[int, ...]] = {"attention_norm.weight": (d,), "ffn_norm.weight": (d,)}
    found |= {"attention.wqkv.weight": (fused, d), "attention.wo.weight": (d, d)}
    if config["bias"]:
        found |= {"attention.wqkv.bias": (fused,), "attention.wo.bias": (d,)}
    found |= {"feed_forward.w1.weight": (f, d), "feed_forward.w3.weight": (f, d)}
    return found | {"feed_forward.w2.weight": (d, f)}


def _internlm2_layer(config: dict, w: _Layer, x: np.ndarray, eps: float) -> np.ndarray:
    n, n_groups = config["num_attention_heads"], config["num_key_value_heads"]
    size, length = config["hidden_size"] // n, len(x)
    base, divisor, scaling = config["rope_theta"], 1.0, config["rope_scaling"]
    if scaling and scaling["type"] == "linear":
        divisor = scaling["factor"]
    elif scaling and length > config["max_position_embeddings"]:
        factor = scaling["factor"]
        growth = factor * length / config["max_position_embeddings"] - (factor - 1)
        base = base * growth ** (size / (size - 2))
    h = _rms(x, w["attention_norm.weight"], eps)
    # [K, G + 2, T, H]
    fused = w("attention.wqkv", h).reshape(length, n_groups, -1, size).transpose(1, 2, 0, 3)
    q = fused[:, :-2].reshape(n, length, size)
    k, v = (np.repeat(fused[:, i], n // n_groups, axis=0) for i in (-2, -1))
    q, k = _rope(q, base, size, divisor), _rope(k, base, size, divisor)
    x = x + w("attention.wo", _attend(q, k, v))
    h = _rms(x, w["ffn_norm.weight"], eps)
    gated = _silu(w("feed_forward.w1", h)) * w("feed_forward.w3", h)
    return x + w("feed_forward.w2", gated)


def _baichuan_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    d, f = config["hidden_size"], config["intermediate_size"]
    return {
        "input_layernorm.weight": (d,),
        "self_attn.W_pack.weight": (3 * d, d),
        "self_attn.o_proj.weight": (d, d),
        "post_attention_layernorm.weight": (d,),
        "mlp.gate_proj.weight": (f, d),
        "mlp.up_proj.weight": (f, d),
        "mlp.down_proj.weight": (d, f),
    }


def alibi_slopes(n: int) -> list[float]:
    """The slopes of n heads."""
    whole = 2 ** int(math.log2(n))
    found = [2.0 ** (-8.0 * h / whole) for h in range(1, whole + 1)]
    return found if whole == n else found + alibi_slopes(2 * whole)[::2][: n - whole]


def _baichuan_layer(config: dict, w: _Layer, x: np.ndarray, eps: float) -> np.ndarray:
    n = config["num_attention_heads"]
    h = _rms(x, w["input_layernorm.weight"], eps)
    q, k, v = (_heads(part, n) for part in np.split(w("self_attn.W_pack", h), 3, axis=-1))
    bias: np.ndarray | float = 0.0
    if "max_position_embeddings" in config:
        q, k = (_rope(a, 10000.0, a.shape[-1]) for a in (q, k))
    else:
        bias = np.array(alibi_slopes(n))[:, None, None] * np.arange(len(x))
    x = x + w("self_attn.o_proj", _attend(q, k, v, bias))
    h = _rms(x, w["post_attention_layernorm.weight"], eps)
    return x + w("mlp.down_proj", _silu(w("mlp.gate_proj", h)) * w("mlp.up_proj", h))


_LAYER_SHAPES = {
    "qwen": _qwen_shapes,
    "internlm2": _internlm2_shapes,
    "baichuan": _baichuan_shapes,
}
_LAYERS = {"qwen": _qwen_layer, "internlm2": _internlm2_layer, "baichuan": _baichuan_layer}

# config.json files with each field that the published ones carry, but small.
_SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_QWEN = _SIZES | {
    "architectures": ["QWenLMHeadModel"],
    "attn_dropout_prob": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_qwen.QWenConfig",
        "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
    },
    "bf16": False,
    "emb_dropout_prob": 0.0,
    "fp16": False,
    "fp32": False,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "kv_channels": 8,
    "layer_norm_epsilon": 1e-06,
    "max_position_embeddings": 8192,
    "model_type": "qwen",
    "no_bias": True,
    "onnx_safe": None,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "scale_attn_weights": True,
    "seq_length": 8192,
    "tie_word_embeddings": False,
    "tokenizer_class": "QWenTokenizer",
    "transformers_version": "4.32.0",
    "use_cache": True,
    "use_dynamic_ntk": True,
    "use_flash_attn": "auto",
    "use_logn_attn": True,
}
# Fields that the 72B file adds.
_QWEN_72B = {
    "padded_vocab_size": 96,
    "params_dtype": "torch.bfloat16",
    "rope_theta": 1000000,
    "rotary_emb_base": 1000000,
    "softmax_in_fp32": False,
    "tokenizer_type": "QWenTokenizer",
    "torch_dtype": "bfloat16",
    "use_cache_kernel": False,
    "use_cache_quantization": False,
    "use_dynamic_ntk": False,
    "use_flash_attn": False,
    "use_logn_attn": False,
}
_INTERNLM2 = _SIZES | {
    "architectures": ["InternLM2ForCausalLM"],
    "attn_implementation": "eager",
    "auto_map": {
        "AutoConfig": "configuration_internlm2.InternLM2Config",
        "AutoModel": "modeling_internlm2.InternLM2ForCausalLM",
        "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
    },
    "bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "model_type": "internlm2",
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 2.0, "type": "dynamic"},
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.41.0",
    "use_cache": True,
}
_BAICHUAN = _SIZES | {
    "architectures": ["BaichuanForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_baichuan.BaichuanConfig",
        "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM",
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "model_type": "baichuan",
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.29.2",
    "use_cache": True,
}
_BAICHUAN2 = {
    "_from_model_config": True,
    "hidden_size": 16,
    "model_max_length": 4096,
    "tokenizer_class": "BaichuanTokenizer",
    "vocab_size": NORM_HEAD_VOCAB,
    "z_loss_weight": 0,
}
CASES: dict[str, dict] = {
    "qwen": _QWEN,
    "qwen-72b": _QWEN | _QWEN_72B,
    "qwen-biases": _QWEN | {"no_bias": False},
    "qwen-partial": _QWEN | {"rotary_pct": 0.5},
    "qwen-beyond": _QWEN | {"seq_length": 128},
    "internlm2-gqa": _INTERNLM2,
    "internlm2-mha": _INTERNLM2 | {"num_key_value_heads": 4, "rope_scaling": None},
    "internlm2-biases": _INTERNLM2 | {"bias": True},
    "internlm2-dynamic": _INTERNLM2 | {"max_position_embeddings": 128, "rope_theta": 10000},
    "internlm2-linear": _INTERNLM2 | {"rope_scaling": {"factor": 4.0, "type": "linear"}},
    "baichuan-7b": _BAICHUAN
    | {"architectures": ["BaiChuanForCausalLM"], "max_position_embeddings": 4096},
    # Six heads: like the 40 of the published 13B no power of two.
    "baichuan-13b": _BAICHUAN
    | {"hidden_size": 48, "num_attention_heads": 6}
    | {"_from_model_config": True, "gradient_checkpointing": False, "model_max_length": 4096},
    "baichuan2-7b": _BAICHUAN | _BAICHUAN2 | {"max_position_embeddings": 4096},
    "baichuan2-13b": _BAICHUAN | _BAICHUAN2,
}
# At least one of each family also runs on a mesh of all three axes; by default the one whose head
# is normalised over a split vocabulary.
ON_A_MESH = ("qwen-biases", "qwen-beyond", "internlm2-biases", "baichuan-13b", "baichuan2-7b")
MESH_FEATURES = ("baichuan2-7b",)
