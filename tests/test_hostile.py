"""Models of strangers: each ends in status 2 and one line that names the culprit, in no harm.

`test_bad_input.py` has what users do by accident, through the command. Here each reader is called
as the commands call it, within the wrapper that ends them. `test_hostile_text.py` has the rest.
"""

import json
import math
import os
import shutil
import struct

import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
import test_bad_input
import tiny
from hostile import peak_mib, sparse

from jaxbpc import config
from jaxbpc.checkpoint import headers, load, locate
from jaxbpc.checkpoint.gguf import convert as gguf
from jaxbpc.evaluation import layout, setup

place = test_bad_input.place


# Safetensors.


def header(fields, data=b"", length=None):
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


SAFETENSORS = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "a length of 0": header(b""),
    "a length of 2^63": header({}, length=2**63),
    "a length of 2^64 - 1": header({}, length=2**64 - 1),
    "a length beyond the file": header({"a": tensor(0, 8)}, bytes(8), length=10_000),
    "a length within the header": header({"a": tensor(0, 8)}, bytes(8), length=20),
    "no JSON": header(b"{" + b" " * 20),
    "no UTF-8": header(b'{"\xff": 1}'),
    "a list": header([1]),
    "deep nesting": header(b'{"a":' * 100_000),
    "a key twice": header(
        b'{"a": %s, "a": %s}' % tuple(json.dumps(tensor(*x)).encode() for x in ((0, 8), (8, 16))),
        bytes(16),
    ),
    "offsets outside of the file": header({"a": tensor(0, 8)}),
    "offsets far outside": header({"a": tensor(2**62, 2**62 + 8)}, bytes(8)),
    "negative offsets": header({"a": tensor(-8, 0)}, bytes(8)),
    "offsets backwards": header({"a": tensor(8, 0)}, bytes(8)),
    "overlapping": header({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "the same bytes twice": header({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)),
    "a gap": header({"a": tensor(0, 8), "b": tensor(16, 24)}, bytes(24)),
    "bytes of no tensor": header({"a": tensor(0, 8)}, bytes(80)),
    "a shape of another size": header({"a": tensor(0, 8, (3,))}, bytes(8)),
    "a shape that overflows": header({"a": tensor(0, 8, (2**40, 2**40))}, bytes(8)),
    "a shape that overflows to right": header({"a": tensor(0, 8, (2**63, 2**63, 4))}, bytes(8)),
    "a negative shape": header({"a": tensor(0, 8, (-1, -2))}, bytes(8)),
    "a shape of strings": header({"a": tensor(0, 8, ("2",))}, bytes(8)),
    "an unknown dtype": header({"a": tensor(0, 8, (2,), "F13")}, bytes(8)),
    "no dtype": header({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "one offset": header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}, bytes(8)),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(refused, tmp_path, case):
    (tmp_path / headers.SINGLE).write_bytes(SAFETENSORS[case])
    refused(lambda: headers.tensors(tmp_path), f"{tmp_path}/model.safetensors", "damaged")


def test_names_of_tensors_do_not_reach_the_terminal_as_they_stand(refused, good_model, tmp_path):
    shutil.copy(good_model / "config.json", tmp_path)
    name = "\x1b[2J\r\u202e" + "x" * 10_000
    (tmp_path / headers.SINGLE).write_bytes(header({name: tensor(0, 8)}, bytes(8)))
    line = refused(lambda: load.open_checkpoint(tmp_path), "missing: model.embed_tokens.weight")
    assert "fix config.json" in line


# An index of safetensors files.

INDEX = {
    "a folder above": ('{"weight_map": {"a": "../x.safetensors"}}', "../x.safetensors"),
    "an absolute path": ('{"weight_map": {"a": "/etc/x.safetensors"}}', "/etc/x.safetensors"),
    "a folder below": ('{"weight_map": {"a": "x/y.safetensors"}}', "x/y.safetensors"),
    "another system's path": ('{"weight_map": {"a": "..\\\\x.safetensors"}}', "no safetensors"),
    "a drive": ('{"weight_map": {"a": "C:\\\\x.safetensors"}}', "no safetensors"),
    "NUL": ('{"weight_map": {"a": "x\\u0000.safetensors"}}', "no safetensors"),
    "a pickle": ('{"weight_map": {"a": "pytorch_model.bin"}}', "'pytorch_model.bin'"),
    "a number": ('{"weight_map": {"a": 1}}', "'1'"),
    "a list": ('{"weight_map": ["a"]}', "weight_map"),
    "no map": ("{}", "weight_map"),
    "no object": ("[]", "JSON object"),
    "no JSON": ("{", "JSON"),
    "deep nesting": ("[" * 100_000, "JSON"),
    "a key twice": ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "twice"),
    "a file that is absent": ('{"weight_map": {"a": "x.safetensors"}}', "x.safetensors does not"),
    "a tensor that is absent": ('{"weight_map": {"b": "good.safetensors"}}', "no file has: b"),
    "a tensor in two files": (
        '{"weight_map": {"a": "good.safetensors", "b": "same.safetensors"}}',
        "same.safetensors: tensor 'a' is in good.safetensors",
    ),
}


@pytest.mark.parametrize("case", INDEX)
def test_index(refused, tmp_path, case):
    for name in ("good", "same"):
        (tmp_path / f"{name}.safetensors").write_bytes(header({"a": tensor(0, 8)}, bytes(8)))
    content, word = INDEX[case]
    (tmp_path / headers.INDEX).write_text(content)
    refused(lambda: headers.tensors(tmp_path), str(tmp_path), word)


# config.json.


def changed(**fields):
    return json.dumps(tiny.CONFIG | fields)


CONFIG = {
    "no UTF-8": (b'{"model_type": "\xff"}', "JSON"),
    "UTF-16": (json.dumps(tiny.CONFIG).encode("utf-16"), "JSON"),
    "a list": ("[]", "JSON object"),
    "a key twice": ('{"model_type": "llama", "model_type": "gpt2"}', "'model_type' stands twice"),
    "deep nesting": ('{"a":' * 100_000, "recursion"),
    "a number of 5,000 digits": (f'{{"hidden_size": {"9" * 5000}}}', "digits"),
    "NaN": (changed(rms_norm_eps=float("nan")), "`rms_norm_eps`"),
    "infinity": (changed(rope_theta=float("inf")), "`rope_theta`"),
    "a number beyond floats": (changed(rope_theta=10**400), "`rope_theta`"),
    "half a layer": (changed(num_hidden_layers=1.5), "`num_hidden_layers`"),
    "a bool for a size": (changed(hidden_size=True), "`hidden_size`"),
    "a text for a size": (changed(vocab_size="256"), "`vocab_size`"),
    "a list for a size": (changed(num_attention_heads=[4]), "`num_attention_heads`"),
    "an object for a size": (changed(intermediate_size={}), "`intermediate_size`"),
    "a size of 0": (changed(hidden_size=0), "`hidden_size`"),
    "a negative size": (changed(num_key_value_heads=-2), "`num_key_value_heads`"),
    "a list for RoPE": (changed(rope_scaling=[1]), "`rope_scaling`"),
    "an unknown type of RoPE": (changed(rope_scaling={"type": "\x1b[2J"}), "`rope_scaling`"),
    "a list for the type": (changed(model_type=["llama"]), "`model_type`"),
    "a name that is none": (changed(architectures=["\x1b[2J\ud800"]), "`architectures`"),
    "10^9 layers": (changed(num_hidden_layers=10**9), "`num_hidden_layers` is 1000000000"),
    "2^40 heads": (changed(num_attention_heads=2**40), "`num_attention_heads`"),
    "sizes of 2^63": (changed(hidden_size=2**63), "`hidden_size`"),
    "sizes that no tensor has": (changed(vocab_size=2**40), "[1099511627776, 32]"),
    "layers that no tensor has": (changed(num_hidden_layers=50), "model.layers.2."),
    "an unknown quantization": (changed(quantization_config={"quant_method": "x"}), "'x'"),
    "an unknown field": (changed(new_trick=2), "new_trick=2"),
}


@pytest.mark.parametrize("case", CONFIG)
def test_config(refused, good_model, tmp_path, case):
    content, word = CONFIG[case]
    (tmp_path / "config.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    (tmp_path / headers.SINGLE).symlink_to(good_model / headers.SINGLE)
    refused(lambda: load.open_checkpoint(tmp_path), f"{tmp_path}", word)


@pytest.mark.long
def test_experts_without_end(refused, good_model, tmp_path):
    fields = tiny.CONFIG | {"model_type": "mixtral", "num_local_experts": 1 << 16}
    (tmp_path / "config.json").write_text(json.dumps(fields | {"num_hidden_layers": 1000}))
    (tmp_path / headers.SINGLE).symlink_to(good_model / headers.SINGLE)
    before = peak_mib()
    refused(lambda: load.open_checkpoint(tmp_path), "(missing: model.layers.", "more)")
    assert peak_mib() < before + 300


def test_a_config_without_end(refused, tmp_path):
    sparse(tmp_path / "config.json", b"{", 1 << 40)
    before = peak_mib()
    refused(lambda: locate.read_config(tmp_path), "config.json", "256 MiB")
    assert peak_mib() < before + 600


def test_sizes_beyond_the_memory(refused, good_model, tmp_path):
    """Weights of the very sizes of config.json, in a file that is a hole."""
    folder = tmp_path / "model"
    shutil.copytree(good_model, folder)
    text = (good_model / headers.SINGLE).read_bytes()
    fields = json.loads(text[8 : 8 + int.from_bytes(text[:8], "little")])
    rows, end = 1 << 34, 0
    for name, found in fields.items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            found["shape"][0] = rows
        if name != "__metadata__":
            begin, end = end, end + 4 * math.prod(found["shape"])
            found["data_offsets"] = [begin, end]
    begin = header(fields)
    try:
        sparse(folder / headers.SINGLE, begin, len(begin) + end)
    except OSError:
        pytest.skip("no file of that size here")
    (folder / "config.json").write_text(changed(vocab_size=rows))
    tiny.write_corpus(tmp_path / "text.jsonl", tiny.TEXTS)
    settings = config.default()
    settings.model.path, settings.data.dir = str(folder), str(tmp_path)
    settings.data.corpora, settings.model.dtype = ("text",), "float32"
    settings.mesh.data = -1
    before = peak_mib()
    words = ["the model needs", "GB", "free memory has", "config.json"]
    refused(lambda: setup.open_job(config.validate(settings)), *words)
    assert peak_mib() < before + 300


def test_windows_beyond_the_memory(refused, place, monkeypatch):
    monkeypatch.chdir(place)
    settings = config.default()
    settings.model.path, settings.data.dir, settings.data.corpora = "model", "data", ("text",)
    settings.window.block_size = 2**31 - 1
    refused(lambda: setup.open_job(config.validate(settings)), "2147483647 tokens", "block_size")


def test_the_memory_that_there_is():
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert total / 100 < layout.host_memory_bytes() < 2 * total


# Orbax folders; `test_orbax.py` has those that were damaged.


@pytest.fixture(scope="module")
def orbax(good_model, tmp_path_factory):
    """The good model as Orbax wrote it before OCDBT: its files are plain."""
    folder = tmp_path_factory.mktemp("orbax") / "model"
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as writer:
        writer.save(folder, safetensors.numpy.load_file(good_model / headers.SINGLE))
    shutil.copy(good_model / "config.json", folder)
    return folder


def edited(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def renamed(tree, name):
    tree.write_text(tree.read_text().replace("model.norm.weight", name))


NORM = "model.norm.weight/.zarray"
ORBAX = {
    "a piece of a terabyte": (lambda f: os.truncate(f / "model.norm.weight/0", 1 << 40), "0: has"),
    "pieces of 2^40": (lambda f: edited(f / NORM, chunks=[2**40]), "pieces of [1099511627776]"),
    "a shape of 2^40": (lambda f: edited(f / NORM, shape=[2**40]), "[1099511627776]"),
    "objects": (lambda f: edited(f / NORM, dtype="|O"), "cannot be read"),
    "integers": (lambda f: edited(f / NORM, dtype="<i4"), "model.norm.weight I32"),
    "an unknown filter": (lambda f: edited(f / NORM, filters=[{"id": "pickle"}]), "cannot be read"),
    "deep nesting": (lambda f: (f / NORM).write_text("[" * 100_000), "cannot be read"),
    "a tree in deep nesting": (lambda f: (f / "_METADATA").write_text("[" * 100_000), "recursion"),
    "a tree that is a list": (lambda f: (f / "_METADATA").write_text("[]"), "cannot be read"),
    "a tree without end": (lambda f: os.truncate(f / "_METADATA", 1 << 40), "_METADATA: has"),
    "a folder above": (lambda f: renamed(f / "_METADATA", "../../etc"), "cannot be read"),
    "an absolute path": (lambda f: renamed(f / "_METADATA", "/etc"), "cannot be read"),
}


@pytest.mark.parametrize("case", [pytest.param(case, marks=pytest.mark.long) for case in ORBAX])
def test_orbax(refused, orbax, tmp_path, case):
    folder = shutil.copytree(orbax, tmp_path / "model")
    change, word = ORBAX[case]
    change(folder)
    refused(lambda: load.open_checkpoint(folder), str(folder), word)


# GGUF; `test_gguf.py` has more.

HEAD = b"GGUF" + struct.pack("<I", 3)


def string(text):
    return struct.pack("<Q", len(text)) + text


def field(name, kind, value):
    return string(name) + struct.pack("<I", kind) + value


def info(name, shape, kind=0, offset=0):
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return string(name) + sizes + struct.pack("<IQ", kind, offset)


GGUF = {
    "another kind of file": b"PK\3\4" + bytes(60),
    "2^64 - 1 of both": HEAD + struct.pack("<QQ", 2**64 - 1, 2**64 - 1),
    "a name without end": HEAD + struct.pack("<QQQ", 0, 1, 2**63) + bytes(60),
    "a name that is no UTF-8": HEAD + struct.pack("<QQ", 0, 1) + field(b"\xff", 4, bytes(4)),
    "a field twice": HEAD + struct.pack("<QQ", 0, 2) + 2 * field(b"a", 4, bytes(4)),
    "an array of 2^61 doubles": HEAD
    + struct.pack("<QQ", 0, 1)
    + field(b"a", 9, struct.pack("<IQ", 12, 2**61)),
    "arrays in arrays": HEAD
    + struct.pack("<QQ", 0, 1)
    + field(b"a", 9, struct.pack("<IQ", 9, 1) * 1000),
    "an alignment of 0": HEAD
    + struct.pack("<QQ", 0, 1)
    + field(b"general.alignment", 4, struct.pack("<I", 0)),
    "an alignment of 3": HEAD
    + struct.pack("<QQ", 0, 1)
    + field(b"general.alignment", 4, struct.pack("<I", 3)),
    "a shape of 0": HEAD + struct.pack("<QQ", 1, 0) + info(b"t", [0]),
    "a shape that overflows": HEAD + struct.pack("<QQ", 1, 0) + info(b"t", [2**63, 2, 2]),
    "an offset of 2^64 - 1": HEAD + struct.pack("<QQ", 1, 0) + info(b"t", [8], 0, 2**64 - 1),
    "an offset outside of the file": HEAD + struct.pack("<QQ", 1, 0) + info(b"t", [8], 0, 1024),
    "half a block": HEAD + struct.pack("<QQ", 1, 0) + info(b"t", [33], 8) + bytes(99),
    "an unknown type": HEAD + struct.pack("<QQ", 1, 0) + info(b"t", [8], 999) + bytes(99),
    "a tensor twice": HEAD + struct.pack("<QQ", 2, 0) + 2 * info(b"t", [1]) + bytes(99),
    "no architecture": HEAD + struct.pack("<QQ", 0, 0) + bytes(60),
    "an architecture of escapes": HEAD
    + struct.pack("<QQ", 0, 1)
    + field(b"general.architecture", 8, string(b"\x1b[2J\r")),
    "a number for the architecture": HEAD
    + struct.pack("<QQ", 0, 1)
    + field(b"general.architecture", 4, struct.pack("<I", 7)),
}


@pytest.mark.parametrize("case", GGUF)
def test_gguf(refused, tmp_path, case):
    (tmp_path / "a.gguf").write_bytes(GGUF[case])
    refused(lambda: gguf.convert(tmp_path / "a.gguf", tmp_path / "out"), f"{tmp_path}/a.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
