"""Orbax checkpoints: converted, loaded onto meshes, damaged; the oracle is the same safetensors."""

import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
import test_load
import tiny
import warm
from etils import epath
from test_load import loaded, same

from jaxbpc import config as config_lib
from jaxbpc.checkpoint import export_orbax, load, tensor_io
from jaxbpc.errors import InputError
from jaxbpc.evaluation import loop


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a tiny model `hf` and, converted, `ox`, in several groups."""
    place = tmp_path_factory.mktemp("models")
    tiny.make_model(place / "hf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_GROUP_BYTES", 1 << 15)
        export_orbax.convert(str(place / "hf"), str(place / "ox"))
    return place


def run(folder, place, workdir):
    tiny.write_corpus(place / "data" / "text.jsonl", tiny.TEXTS)
    config = config_lib.default()
    config.model.path, config.data.dir = str(folder), str(place / "data")
    config.data.corpora = ("text",)
    config.window.block_size, config.window.stride = 700, 300
    config.batch_per_device = 1
    config.model.dtype = "float32"
    return loop.run(config, place / workdir)


@pytest.mark.smoke
def test_scored_with_the_same_digits(models, tmp_path):
    want, got = (run(models / name, tmp_path, name) for name in ("hf", "ox"))
    assert got.corpora == want.corpora
    assert got.fingerprint == want.fingerprint
    assert got.model | {"path": None} == want.model | {"path": None}


@pytest.mark.smoke
@pytest.mark.parametrize("mesh", [(1, 1, 1), (2, 2, 2)], ids=str)
def test_onto_a_mesh(models, mesh):
    stacked = mesh == (2, 2, 2)
    want, fingerprint = loaded(models / "hf", stacked=stacked)
    got, again = loaded(models / "ox", mesh, stacked=stacked)
    same(got, want)
    assert again == fingerprint


def test_dtype(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a folder as one types it
    export_orbax.convert(str(models / "ox"), "low", "bfloat16")
    assert {t.dtype for t in load.open_checkpoint(tmp_path / "low").tensors.values()} == {"BF16"}
    want, fingerprint = loaded(models / "hf", dtype="bfloat16")
    got, again = loaded(tmp_path / "low", (1, 8, 1), dtype="bfloat16")
    same(got, want)
    assert again == fingerprint


@pytest.mark.parametrize("kind", ["float8", pytest.param("mxfp4", marks=pytest.mark.long)])
def test_quantized_stays_so(kind, tmp_path):
    config = test_load.DEEPSEEK if kind == "float8" else test_load.GPT_OSS
    tensors = {}
    for name, value in test_load.random_weights(config).items():
        if kind == "float8" and name.endswith("_proj.weight"):
            tensors[name], tensors[f"{name}_scale_inv"], _ = test_load.as_float8(value)
        elif kind == "mxfp4" and name.endswith("_proj"):
            n, columns, rows = value.shape
            blocks = np.arange(n * rows * columns // 2) % 251
            tensors[f"{name}_blocks"] = blocks.astype(np.uint8).reshape(n, rows, -1, 16)
            tensors[f"{name}_scales"] = np.full((n, rows, columns // 32), 120, np.uint8)
        else:
            tensors[name] = value
    method = test_load.FLOAT8 if kind == "float8" else test_load.MXFP4
    config = config | {"quantization_config": method}
    test_load.write(tmp_path / "hf", config, tensors)
    export_orbax.convert(str(tmp_path / "hf"), str(tmp_path / "ox"), "bfloat16")
    want, fingerprint = loaded(tmp_path / "hf", dtype="bfloat16")
    got, again = loaded(tmp_path / "ox", (2, 2, 2), dtype="bfloat16")
    same(got, want)
    assert again == fingerprint


def command(*arguments, limit=False):
    """The command, started. limit: no file may have more than 32 KiB."""
    environment = os.environ | {"XLA_FLAGS": ""}
    if not limit:
        return warm.Started("jaxbpc.convert", *arguments, env=environment)
    words = [sys.executable, "-m", "jaxbpc.convert", *map(str, arguments)]
    return subprocess.Popen(
        ["bash", "-c", 'ulimit -f 32; exec "$@"', "-", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refused(process, *words):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert not out
    assert "Traceback" not in err
    for word in words:
        assert str(word) in errors[0]


def test_two_processes_convert(models, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = [f"--coordinator_address={address}", "--num_processes=2"]
    both = [
        command("orbax", models / "hf", tmp_path / "ox", *flags, f"--process_id={k}")
        for k in range(2)
    ]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["ox"]
    want, fingerprint = loaded(models / "hf")
    got, again = loaded(tmp_path / "ox", (2, 2, 2))
    same(got, want)
    assert again == fingerprint


def test_what_cannot_be_converted(models, tmp_path):
    (tmp_path / "there").mkdir()
    refused(command("orbax", models / "hf", tmp_path / "there"), "there exists already")
    with pytest.raises(InputError, match="absent/ does not exist"):
        export_orbax.convert("absent/", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_full_disk(models, tmp_path):
    """A limit to a file's size: what is written beyond it fails as on a full disk."""
    process = command("orbax", models / "hf", tmp_path / "out", limit=True)
    refused(process, tmp_path / "out", "cannot be written", "make room")
    assert not list(tmp_path.iterdir())


def test_what_others_still_write_is_removed_too(tmp_path):
    """Writes that go on after the first has failed: their folder is gone when they have ended."""
    folder = tmp_path / "out"
    until = time.monotonic() + 0.5

    def write():
        for k in itertools.takewhile(lambda _: time.monotonic() < until, itertools.count()):
            with contextlib.suppress(OSError):
                (folder / "state").mkdir(parents=True, exist_ok=True)
                (folder / "state" / str(k)).touch()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        tensor_io.remove(folder)
        for writer in writers:
            writer.result()
    tensor_io.remove(folder)  # one that was held up for long may have come after
    assert not list(tmp_path.iterdir())


def test_an_interrupted_conversion(models, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_GROUP_BYTES", 1 << 15)

    def stop(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_orbax.convert(str(models / "hf"), str(tmp_path / "out"), progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_killed_conversion(models, tmp_path):
    """At any of its groups: what it leaves is no model."""
    program = (
        "import os, sys; from jaxbpc.checkpoint import load, export_orbax as save\n"
        "load._GROUP_BYTES = 1 << 15\n"
        "left = [2]\n"
        "def progress(n):\n"
        "    left[0] -= 1\n"
        "    left[0] or os._exit(9)\n"
        "save.convert(sys.argv[1], sys.argv[2], progress=progress)"
    )
    words = [sys.executable, "-c", program, models / "hf", tmp_path / "out"]
    assert subprocess.run(words, env=os.environ, check=False).returncode == 9
    left = list(tmp_path.iterdir())
    assert left
    assert "out" not in [path.name for path in left]
    for path in left:
        with pytest.raises(InputError, match=r"config\.json does not exist"):
            load.open_checkpoint(path)


def largest(folder):
    """Its largest file of tensors."""
    return max(folder.glob("state/ocdbt.*/d/*"), key=lambda path: path.stat().st_size)


def cut(path, n_bytes):
    os.truncate(path, path.stat().st_size - n_bytes)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda ox: largest(ox).unlink(), ["is missing"]),
        (lambda ox: cut(largest(ox), 10000), ["bytes"]),
        (lambda ox: [shutil.rmtree(p) for p in ox.glob("state/ocdbt.process_*")], ["is missing"]),
        (lambda ox: [p.unlink() for p in ox.glob("state/d/*")], ["damaged"]),
        (lambda ox: cut(ox / "state" / "manifest.ocdbt", 9), ["damaged"]),
        (lambda ox: (ox / "state" / "manifest.ocdbt").unlink(), ["cannot be read"]),
        (lambda ox: cut(ox / "state" / "_METADATA", 100), ["cannot be read"]),
        (lambda ox: (ox / "state" / "_METADATA").unlink(), ["no Orbax checkpoint"]),
        (lambda ox: shutil.copytree(ox / "state", ox / "more"), ["more than one", "more, state"]),
        (lambda ox: (ox / "model.safetensors").touch(), ["more than one", "model.safetensors"]),
    ],
)
def test_a_damaged_checkpoint(models, tmp_path, damage, words):
    folder = shutil.copytree(models / "ox", tmp_path / "ox")
    damage(folder)
    with pytest.raises(InputError) as error:
        loaded(folder)
    for word in [str(folder), *words]:
        assert word in str(error.value)


def tensors_of(models):
    return safetensors.numpy.load_file(models / "hf" / "model.safetensors")


def test_a_checkpoint_of_plain_zarr(models, tmp_path):
    """As Orbax wrote it before OCDBT: it loads, and a lost piece is no zero."""
    tensors = tensors_of(models)
    with ocp.PyTreeCheckpointer(use_ocdbt=False) as writer:
        writer.save(tmp_path / "ox", tensors)
    shutil.copy(models / "hf" / "config.json", tmp_path / "ox")
    same(loaded(tmp_path / "ox", (2, 2, 2))[0], loaded(models / "hf")[0])
    (tmp_path / "ox" / "model.norm.weight" / "0").unlink()
    with pytest.raises(InputError, match=r"ox: cannot be read .*model\.norm"):
        loaded(tmp_path / "ox")


@pytest.mark.parametrize("part", ["params", "", None], ids=str)
def test_a_tree_that_others_wrote(models, tmp_path, part):
    """Nested, with whole tensors as pieces; in a part of the folder, in itself, or as that part."""
    tree = {}
    for name, value in tensors_of(models).items():
        *path, last = name.split(".")
        inner = tree
        for key in path:
            inner = inner.setdefault(key, {})
        inner[last] = value
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(tmp_path / "ox" / (part or ""), tree)
    folder = tmp_path / "ox"
    if part is None:
        (folder / "items").mkdir()
        for path in list(folder.iterdir()):
            if path.name not in ("items", "_CHECKPOINT_METADATA"):
                path.rename(folder / "items" / path.name)
        folder = folder / "items"
    shutil.copy(models / "hf" / "config.json", folder)
    same(loaded(folder, (1, 8, 1))[0], loaded(models / "hf")[0])


@pytest.mark.parametrize("holders", [["params"], ["params", "params"]], ids=len)
def test_a_trainings_state(models, tmp_path, holders):
    """Its parameters are read; the optimizer's are not, and what is neither is refused."""
    tree = tensors_of(models)
    moments = {name: np.zeros_like(value) for name, value in tree.items()}
    for holder in holders:
        tree = {holder: tree}
    state = tree | {"opt_state": [{"mu": moments}], "step": np.int64(7)}
    for name, given in (("ox", state), ("odd", state | {"ema": moments})):
        with ocp.PyTreeCheckpointer() as writer:
            writer.save(tmp_path / name / "default", given)
        shutil.copy(models / "hf" / "config.json", tmp_path / name)
    same(loaded(tmp_path / "ox", (1, 8, 1))[0], loaded(models / "hf")[0])
    with pytest.raises(InputError, match=r"extra.*ema\.model"):
        loaded(tmp_path / "odd")


def test_tensors_that_do_not_fit(models, tmp_path):
    tensors = tensors_of(models)
    tensors["model.norm.weight"] = np.ones(33, np.float32)
    tensors["model.layers.0.mlp.up_proj.weight"] = np.ones((48, 32), np.int32)
    tensors["other.weight"] = tensors.pop("lm_head.weight")
    with ocp.PyTreeCheckpointer() as writer:
        writer.save(tmp_path / "ox", tensors)
    shutil.copy(models / "hf" / "config.json", tmp_path / "ox")
    with pytest.raises(InputError) as error:
        load.open_checkpoint(pathlib.Path(tmp_path / "ox"))
    for words in [
        "missing: lm_head.weight",
        "extra: other.weight",
        "model.norm.weight F32 [33] instead of F32 [32]",
        "up_proj.weight I32",
    ]:
        assert words in str(error.value)


@pytest.mark.long
def test_in_a_bucket(models, bucket, tmp_path):
    export_orbax.convert(str(models / "hf"), f"{bucket}/ox")
    want, got = (
        run(path, tmp_path, str(i)) for i, path in enumerate([models / "hf", f"{bucket}/ox"])
    )
    assert got.corpora == want.corpora
    assert got.fingerprint == want.fingerprint
    export_orbax.convert(f"{bucket}/ox", str(tmp_path / "back"))
    assert loaded(tmp_path / "back")[1] == want.model["weights_fingerprint"]
    with pytest.raises(InputError, match="exists already"):
        export_orbax.convert(str(models / "hf"), f"{bucket}/ox")
    next(epath.Path(f"{bucket}/ox/state").glob("ocdbt.process_0/d/*")).unlink()
    with pytest.raises(InputError, match="is missing"):
        run(f"{bucket}/ox", tmp_path, "damaged")
    with pytest.raises(InputError, match="absent: cannot be read"):
        run(f"{bucket}/absent", tmp_path, "absent")
