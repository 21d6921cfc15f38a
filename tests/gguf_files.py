"""Small GGUF files, written as llama.cpp's converter writes them, from random Hugging Face models.

Names come from the `gguf` package's own map and fields from its writer, not from the tables under
test.
"""

import json

import gguf
import numpy as np
import safetensors.numpy
import tokenizers

LAYERS, EMBED, MLP, HEADS, KV_HEADS, VOCAB = 2, 32, 48, 4, 2, 258
_PLAIN = {
    "hidden_size": EMBED,
    "intermediate_size": MLP,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "vocab_size": VOCAB,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_KINDS = [*["sliding_attention"] * 5, "full_attention", "sliding_attention"]
CONFIGS = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **_PLAIN,
        "hidden_act": "silu",
        "head_dim": 8,
        "tie_word_embeddings": False,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        **_PLAIN,
        "hidden_act": "silu",
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **_PLAIN,
        "hidden_act": "silu",
        "head_dim": 16,
    },
    "gemma3": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        **_PLAIN,
        "num_hidden_layers": len(_KINDS),
        "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 16,
        "sliding_window": 8,
        "layer_types": _KINDS,
        "rope_local_base_freq": 10000.0,
    },
}
_BIASED = {"qwen2": ("q", "k", "v")}


def random_tensors(config, seed=0):
    """Hugging Face's names → random float32 tensors of a model."""
    random = np.random.RandomState(seed)
    kind, d, f = config["model_type"], config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim", d // config["num_attention_heads"])
    q, k = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], d), "model.norm.weight": (d,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], d)
    for layer in range(config["num_hidden_layers"]):
        p = f"model.layers.{layer}"
        rows = {"q": (q, d), "k": (k, d), "v": (k, d), "o": (d, q)}
        shapes |= {f"{p}.self_attn.{n}_proj.weight": shape for n, shape in rows.items()}
        biased = _BIASED.get(kind, tuple("qkvo") if config.get("attention_bias") else ())
        shapes |= {f"{p}.self_attn.{n}_proj.bias": rows[n][:1] for n in biased}
        rows = {"gate": (f, d), "up": (f, d), "down": (d, f)}
        shapes |= {f"{p}.mlp.{n}_proj.weight": shape for n, shape in rows.items()}
        if config.get("mlp_bias"):
            shapes |= {f"{p}.mlp.{n}_proj.bias": shape[:1] for n, shape in rows.items()}
        norms = ["input", "post_attention"]
        norms += ["pre_feedforward", "post_feedforward"] if kind == "gemma3_text" else []
        shapes |= {f"{p}.{n}_layernorm.weight": (d,) for n in norms}
        if kind in ("qwen3", "gemma3_text"):
            shapes |= {f"{p}.self_attn.{n}_norm.weight": (head,) for n in "qk"}
    draw = random.standard_normal
    return {name: (0.2 * draw(shape)).astype(np.float32) for name, shape in shapes.items()}


def write(path, architecture, config, tensors, kinds=None, fields=None, tokenizer=True):
    """A GGUF file of a model. kinds: a GGML type for tensors by GGUF's name; the others are F32."""
    writer = gguf.GGUFWriter(path, architecture)
    add_fields(writer, config)
    if tokenizer:
        add_byte_level(writer)
    for add in fields or []:
        add(writer)
    for name, stored in stored_tensors(architecture, config, tensors).items():
        if kinds and name in kinds:
            data = gguf.quants.quantize(stored, kinds[name])
            writer.add_tensor(name, data, raw_dtype=kinds[name])
        else:
            writer.add_tensor(name, stored)
    finish(writer)
    return path


def finish(writer):
    """Writes what was added and closes the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def stored_tensors(architecture, config, tensors):
    """GGUF's names → tensors as they are stored: rows permuted (Llama), norms with 1 (Gemma)."""
    arch = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    stored = {}
    for name, values in tensors.items():
        for n, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
            if architecture == "llama" and f"self_attn.{n}_proj" in name:
                heads = config[heads]
                split = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
                values = split.swapaxes(1, 2).reshape(values.shape)
        if architecture == "gemma3" and name.endswith("norm.weight"):
            values = values + np.float32(1)
        stored[names.get_name(name, try_suffixes=(".weight", ".bias"))] = values
    return stored


def add_fields(writer, config):
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if "sliding_window" in config:
        writer.add_sliding_window(config["sliding_window"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])


ALPHABET = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def add_byte_level(writer, pieces=("he", "the"), merges=("h e", "t he"), kinds=(), pre="gpt-2"):
    """A byte-level tokenizer of the 256 bytes, `pieces` of `kinds` behind them, and `merges`."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*ALPHABET, *pieces])
    writer.add_token_types([1] * 256 + list(kinds or [1] * len(pieces)))
    writer.add_token_merges(list(merges))


def save(folder, config, tensors):
    """The same model as a Hugging Face folder."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    metadata = {"format": "pt"}
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata=metadata)
    return folder
