"""GGUF file → Hugging Face folder: config.json, float32 safetensors, tokenizer.json.

A converter only, so that there is one loading path and any library can open the same folder. The
`gguf` package reads and dequantises. llama.cpp stores query and key rows permuted for interleaved
RoPE; they are put back in Hugging Face's order.
Source: `convert_hf_to_gguf.py` and `src/llama-vocab.cpp` of llama.cpp, for names, the permutation
and the pre-tokenizers.
"""

import json
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np

from jaxbpc.errors import InputError

_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_CONTROL, _USER_DEFINED = 3, 4  # llama.cpp's token types


def convert(file: pathlib.Path, out: pathlib.Path) -> None:
    """Writes folder `out` from GGUF `file`; `out` appears only when it is complete.

    Raises:
      InputError: not a readable GGUF, an architecture, tensor or tokenizer that is not handled.
    """
    if out.exists():
        raise InputError(f"{out} exists already: give a folder that does not")
    fields, tensors = _read(file)
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise InputError(f"{file}: architecture {architecture!r}: converted are llama files alone")
    try:
        config = _config(fields, {t.name for t in tensors})
        tokenizer, tokenizer_config = _tokenizer(fields, file)
    except KeyError as e:
        raise InputError(f"{file}: the field {e} is missing: download the file again")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write_weights(temporary / "model.safetensors", tensors, config, file)
        tokenizer.save(str(temporary / "tokenizer.json"))
        for name, value in (("config", config), ("tokenizer_config", tokenizer_config)):
            (temporary / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
        (temporary / "model.safetensors").chmod(0o644)  # private by the library's default
        temporary.chmod(0o755)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(file: pathlib.Path) -> tuple[dict[str, Any], list[Any]]:
    """(metadata fields, tensors) of a GGUF file."""
    try:
        import gguf
    except ImportError:
        raise InputError("GGUF files need the gguf package: pip install 'jaxbpc[gguf]'")
    if not file.is_file():
        raise InputError(f"{file} does not exist: give a GGUF file")
    try:
        reader = gguf.GGUFReader(file)
        return {name: field.contents() for name, field in reader.fields.items()}, reader.tensors
    except Exception as e:  # the reader indexes what the header claims
        reason = " ".join(str(e).split())[:120]
        raise InputError(
            f"{file}: no readable GGUF ({type(e).__name__}: {reason}): download it again"
        )


def _config(fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """config.json of a llama-architecture file."""
    unknown = [k for k in fields if k.startswith("llama.rope.scaling") or "expert" in k]
    if unknown:
        raise InputError(f"GGUF fields that the converter does not know: {', '.join(unknown)}")
    embed, n_heads = fields["llama.embedding_length"], fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": embed,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": n_heads,
        "num_key_value_heads": fields.get("llama.attention.head_count_kv", n_heads),
        "head_dim": fields.get("llama.attention.key_length", embed // n_heads),
        "max_position_embeddings": fields["llama.context_length"],
        # Stored as float32: 9.99999974e-06 is 1e-05.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": float(fields.get("llama.rope.freq_base", 10000.0)),
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": "output.weight" not in names,
        "hidden_act": "silu",
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
        "dtype": "float32",
    }


def _write_weights(path: pathlib.Path, tensors, config: dict[str, Any], file: pathlib.Path) -> None:
    import gguf
    import safetensors.numpy

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights, unknown = {}, []
    for tensor in tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name in _TOP:
            weights[_TOP[tensor.name]] = values
            continue
        parts = tensor.name.split(".")
        if len(parts) != 4 or parts[0] != "blk" or parts[2] not in _LAYER:
            unknown.append(tensor.name)
            continue
        if parts[2] in heads:
            values = _unpermute(values, heads[parts[2]])
        name = f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.{parts[3]}"
        weights[name] = np.ascontiguousarray(values)
    if unknown:
        raise InputError(f"{file}: tensors that the converter does not know: {unknown[:8]}")
    safetensors.numpy.save_file(weights, path, metadata={"format": "pt"})


def _unpermute(values: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows (pair, half) of each head, interleaved, back to (half, pair)."""
    half = values.shape[0] // n_heads // 2
    split = values.reshape(n_heads, half, 2, *values.shape[1:])
    return split.swapaxes(1, 2).reshape(values.shape)


def _tokenizer(fields: dict[str, Any], file: pathlib.Path):
    """(tokenizer, tokenizer_config) that give the ids of llama.cpp's pre-tokenizer."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    model, pre = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.pre", "default")
    if (model, pre) != ("gpt2", "smollm"):
        raise InputError(f"{file}: tokenizer {model!r} with pre-tokenizer {pre!r} is not handled")
    pieces = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = tokenizers.Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    # Digits one by one, before GPT-2's pattern.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for piece, kind in zip(pieces, fields["tokenizer.ggml.token_type"], strict=True):
        if kind in (_CONTROL, _USER_DEFINED):
            added = tokenizers.AddedToken(piece, special=kind == _CONTROL, normalized=False)
            (tokenizer.add_special_tokens if kind == _CONTROL else tokenizer.add_tokens)([added])
    if fields.get("tokenizer.ggml.add_bos_token"):
        raise InputError(f"{file}: a BOS before each text is not handled by this pre-tokenizer")
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name in ("bos", "eos"):
        if (index := fields.get(f"tokenizer.ggml.{name}_token_id")) is not None:
            config[f"{name}_token"] = pieces[index]
    return tokenizer, config
