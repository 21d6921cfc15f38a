"""GGUF file → Hugging Face folder: config.json, float32 safetensors, tokenizer.json.

A converter only, so that there is one loading path and any library can open the same folder. The
`gguf` package dequantises. llama.cpp stores Llama's query and key rows permuted for interleaved
RoPE, and Gemma's norms with the 1 that is added to them: both are put back in Hugging Face's way.
"""

import dataclasses
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxbpc.checkpoint.gguf import model as gguf_model
from jaxbpc.checkpoint.gguf import reader as gguf_reader
from jaxbpc.checkpoint.gguf import tokenizer as gguf_tokenizer
from jaxbpc.checkpoint.gguf.model import Part
from jaxbpc.errors import InputError

_SHARD = 4 << 30  # bytes of a safetensors file


def convert(file: pathlib.Path, out: pathlib.Path) -> None:
    """Writes folder `out` from GGUF `file`; `out` appears only when it is complete.

    Raises:
      InputError: not a readable GGUF, an architecture, field, tensor or tokenizer that is not
        handled, no room.
    """
    if out.exists():
        raise InputError(f"{out} exists already: give a folder that does not")
    fields, tensors = gguf_reader.read(file)
    try:
        config, parts = gguf_model.read(fields, tensors, file)
        tokenizer, tokenizer_config = gguf_tokenizer.build(fields, file)
    except KeyError as e:
        raise InputError(f"{file}: the field {e} is missing: convert another file of this model")
    except (TypeError, ValueError, IndexError, AttributeError) as e:  # of another type than it is
        raise InputError(f"{file}: damaged fields ({e}): download it again")
    if len(fields["tokenizer.ggml.tokens"]) > config["vocab_size"]:
        raise InputError(
            f"{file}: {len(fields['tokenizer.ggml.tokens'])} pieces for {config['vocab_size']} "
            "rows of the embedding: damaged, download it again"
        )
    n_bytes = sum(4 * part.tensor.size for part in parts)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if n_bytes > shutil.disk_usage(out.parent).free:
            raise InputError(f"{out}: {n_bytes / 1e9:.1f} GB are needed there: make room")
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            _write(temporary, parts)
            tokenizer.save(str(temporary / "tokenizer.json"))
            for name, value in (("config", config), ("tokenizer_config", tokenizer_config)):
                _write_json(temporary / f"{name}.json", value)
            temporary.chmod(0o755)
            temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as e:
        raise InputError(f"{out}: cannot be written ({e.strerror}): give another folder")


def _write(folder: pathlib.Path, parts: list[Part]) -> None:
    """Safetensors files of some GB, tensor by tensor, with an index if there are many."""
    shards: list[list[Part]] = [[]]
    room = _SHARD
    for part in parts:
        if shards[-1] and 4 * part.tensor.size > room:
            shards.append([])
            room = _SHARD
        shards[-1].append(part)
        room -= 4 * part.tensor.size
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        name = name if len(shards) > 1 else "model.safetensors"
        where |= {part.name: name for part in shard}
        _write_shard(folder / name, shard)
    if len(shards) > 1:
        total = sum(4 * part.tensor.size for part in parts)
        index = {"metadata": {"total_size": total}, "weight_map": where}
        _write_json(folder / "model.safetensors.index.json", index)


def _write_shard(path: pathlib.Path, parts: list[Part]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for part in parts:
        begin, end = end, end + 4 * part.tensor.size
        shape = list(part.tensor.shape)
        header[part.name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        for part in parts:
            for values in _values(part):
                opened.write(np.ascontiguousarray(values, "<f4").data)


def _values(part: Part) -> Iterator[np.ndarray]:
    """float32 values of a part in Hugging Face's order."""
    tensor, heads = part.tensor, part.heads
    if heads and len(tensor.shape) == 2:  # whole rows, as they are stored
        tensor = dataclasses.replace(tensor, data=_unpermute(tensor.data, heads))
    for values in tensor.values():
        if heads and len(tensor.shape) == 1:
            values = _unpermute(values.ravel(), heads)
        yield values - np.float32(part.shift) if part.shift else values


def _unpermute(values: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows (pair, half) of each head, interleaved, back to (half, pair)."""
    half = values.shape[0] // n_heads // 2
    split = values.reshape(n_heads, half, 2, *values.shape[1:])
    return split.swapaxes(1, 2).reshape(values.shape)


def _write_json(path: pathlib.Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
