"""Every reader of strangers' files, as functions of bytes: what fuzzing calls.

Each writes its input to a folder and reads it as the commands do. It returns where the input was
taken or refused by an `InputError`; any other exception is a fault, and so is an assertion on what
was read: those are of independent oracles.
"""

import contextlib
import json
import pathlib
import struct
from collections.abc import Callable

import gguf_files
import tiny
from absl import flags

from jaxbpc import config, config_flag
from jaxbpc.checkpoint import headers, load
from jaxbpc.checkpoint.gguf import model as gguf_model
from jaxbpc.checkpoint.gguf import reader as gguf_reader
from jaxbpc.checkpoint.gguf import tokenizer as gguf_tokenizer
from jaxbpc.data import corpora, qwen_tokenizer, tokens
from jaxbpc.errors import InputError
from jaxbpc.run import results
from jaxbpc.run.record import Record

LIMIT = 1000  # characters of a document


def corpus(data: bytes, folder: pathlib.Path) -> None:
    """Rows of a corpus. Oracle: json's own reader of each line."""
    path = folder / "text.jsonl"
    path.write_bytes(data)
    found = []
    with contextlib.suppress(InputError):
        for document in corpora.documents(path, most_characters=LIMIT):
            found.append(document.text)
            assert document.n_bytes == len(document.text.encode())
            assert len(document.text) <= LIMIT
        rows = data.decode("utf-8-sig").split("\n")
        if rows[0].strip(" \t\r").startswith("["):
            rows = [json.dumps(row) for row in json.loads("\n".join(rows))]
        texts = [json.loads(row)["content"] for row in rows if row.strip(" \t\r")]
        assert found == texts


def config_json(data: bytes, folder: pathlib.Path) -> None:
    """config.json → Arch → which tensors fill which parameters."""
    (folder / "config.json").write_bytes(data)
    with contextlib.suppress(InputError):
        load.read_arch(folder)
        load.open_checkpoint(folder)


def safetensors_header(data: bytes, folder: pathlib.Path) -> None:
    """A safetensors file. Oracle: its tensors lie end to end, from the header to the file's end."""
    (folder / headers.SINGLE).write_bytes(data)
    with contextlib.suppress(InputError):
        found = headers.tensors(folder)
        length = struct.unpack("<Q", data[:8])[0]
        assert 8 + length + sum(t.n_bytes for t in found.values()) == len(data)


def index(data: bytes, folder: pathlib.Path) -> None:
    """An index of safetensors files. Oracle: none outside of the folder is read."""
    (folder / headers.INDEX).write_bytes(data)
    (folder / "a.safetensors").write_bytes(SEEDS["safetensors header"][0])
    with contextlib.suppress(InputError):
        for tensor in headers.tensors(folder).values():
            assert tensor.file.parent == folder


def gguf(data: bytes, folder: pathlib.Path) -> None:
    """A GGUF file: header, fields, tensors, tokenizer."""
    path = folder / "a.gguf"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        fields, tensors = gguf_reader.read(path)
        assert sum(t.data.size for t in tensors.values()) <= len(tensors) * len(data)
        # As `gguf.convert` has it.
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, AttributeError):
            gguf_model.read(fields, tensors, path)
            gguf_tokenizer.build(fields, path)


def tokenizer(data: bytes, folder: pathlib.Path) -> None:
    """A tokenizer.json, and a text through it."""
    (folder / "tokenizer.json").write_bytes(data)
    (folder / "tokenizer_config.json").write_text("{}")
    with contextlib.suppress(InputError):
        loaded = tokens.load_tokenizer(folder)
        documents = [corpora.Document("Grüße, 4 x <s>\0", 18, 0)]
        ((ids, ends),) = tokens._encode(loaded, documents)
        assert len(ids) == len(ends)


def ranks(data: bytes, folder: pathlib.Path) -> None:
    """A qwen.tiktoken."""
    (folder / qwen_tokenizer.FILE).write_bytes(data)
    with contextlib.suppress(InputError):
        qwen_tokenizer.convert(folder)


def flag(data: bytes, folder: pathlib.Path) -> None:
    """Flags of the main command → a checked config."""
    from jaxbpc import main

    assert main.main is not None  # it defines the flags
    arguments = data.decode(errors="surrogateescape").replace("\0", "").split("\n")[:5]
    if any(arg.startswith(("--flagfile", "-flagfile")) for arg in arguments):
        return  # reads any file that the user names
    words = ["main", f"--config={CONFIGS / 'llama.py'}", *arguments]
    flags.FLAGS.unparse_flags()
    try:
        config_flag.parse(words)
        config.validate(flags.FLAGS.config)
    except InputError:
        pass


def record_json(data: bytes, folder: pathlib.Path) -> None:
    """A record's description, and results.json."""
    (folder / "record.json").write_bytes(data)
    (folder / "results.json").write_bytes(data)
    with contextlib.suppress(InputError):
        Record.open(folder)
    with contextlib.suppress(InputError):
        results.read(folder / "results.json")


READERS: dict[str, Callable[[bytes, pathlib.Path], None]] = {
    "corpus": corpus,
    "config.json": config_json,
    "safetensors header": safetensors_header,
    "index": index,
    "gguf": gguf,
    "tokenizer": tokenizer,
    "ranks": ranks,
    "flags": flag,
    "record": record_json,
}
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
_HEADER = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
# What is right, to begin from. `prepare` adds those that need a folder.
SEEDS: dict[str, list[bytes]] = {
    "corpus": [
        '{"content": "Grüße"}\n{"content": "\\ud835\\udc65", "subset": "b"}\r\n'.encode(),
        b'[{"content": "a", "date": "2024-01-01"},\n {"content": ""}]\n',
    ],
    "safetensors header": [struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(8)],
    "index": [b'{"weight_map": {"a": "a.safetensors"}}'],
    "ranks": [b"YQ== 0\nYg== 1\n"],
    "flags": [b"--config.window.stride=5\n--config.mesh.data=-1", b"--config.data.samples=None"],
    "record": [b'{"version": 1, "settings": {}, "n_tokens": 1}', b'{"schema": 1, "corpora": {}}'],
}


def prepare(folder: pathlib.Path) -> None:
    """Makes the seeds that need files, and puts good weights where config.json is read."""
    model = tiny.make_model(folder / "model")
    small = json.loads((model / "tokenizer.json").read_text())
    SEEDS["tokenizer"] = [json.dumps(small).encode()]
    SEEDS["config.json"] = [(model / "config.json").read_bytes()]
    made = gguf_files.CONFIGS["llama"]
    gguf_files.write(folder / "a.gguf", "llama", made, gguf_files.random_tensors(made))
    # The header alone: where tensors end does not matter to most of what it can say.
    SEEDS["gguf"] = [(folder / "a.gguf").read_bytes()]
    for name in READERS:
        (folder / name).mkdir(exist_ok=True)
    weights = folder / "config.json" / headers.SINGLE
    weights.write_bytes((model / headers.SINGLE).read_bytes())
