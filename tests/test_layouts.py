"""Layouts over devices and processes: the same nats as one process, each byte read by one of them.

The oracle of bytes is strace: what each process reads of the files of a checkpoint.
"""

import collections
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
import test_load
import tiny
from test_parity import ONE, scored

from jaxbpc.checkpoint import export_orbax, load, mapping
from jaxbpc.checkpoint.assemble import assemble
from jaxbpc.models.arch import Parts
from jaxbpc.models.decoder import Decoder, parameters
from jaxbpc.models.families import FAMILIES
from jaxbpc.parallel import sharding
from jaxbpc.run.record import Record

DENSE = tiny.CONFIG | {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
}
EXPERTS = {
    "model_type": "mixtral",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": tiny.VOCAB,
}
# Processes of two devices each → the layouts of each model.
LAYOUTS = {
    2: {
        "dense": [(4, 1, 1), (1, 4, 1), (2, 1, 2), (1, 2, 2)],
        "experts": [(4, 1, 1), (1, 1, 4), (2, 2, 1)],
        "orbax": [(1, 4, 1), (1, 2, 2)],
    },
    4: {
        "dense": [(1, 1, 8), (2, 2, 2)],
        "experts": [(1, 8, 1), (1, 4, 2)],
        "orbax": [(2, 2, 2)],
    },
    # One device each: three divides none of the sizes, all is left whole.
    3: {"dense": [(3, 1, 1), (1, 1, 3)], "experts": [(1, 1, 3)], "orbax": [(1, 3, 1)]},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder with models and a corpus; what one process on one device makes of them."""
    place = tmp_path_factory.mktemp("layouts")
    tiny.make_model(place / "tiny")
    tiny.write_corpus(place / "data" / "text.jsonl", tiny.TEXTS)
    for name, config in (("dense", DENSE), ("experts", EXPERTS)):
        weights = test_load.random_weights(config)
        test_load.write(place / name, config, weights)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (place / name / file).write_bytes((place / "tiny" / file).read_bytes())
    export_orbax.convert(str(place / "dense"), str(place / "orbax"))
    (found,) = run(place, 1, {name: (name, ONE) for name in ("dense", "experts", "orbax")}, 1)
    return place, found


def run(place, n_processes, jobs, devices=2):
    """Runs jobs, name → (model, mesh), in processes; returns what each found.

    Each job has its own tree of hard links to its model, so that paths name the job.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    folder = place / f"of-{n_processes}"
    folder.mkdir(exist_ok=True)
    for name, (model, _) in jobs.items():
        shutil.copytree(place / model, folder / "models" / name, copy_function=os.link)
    work = {
        "address": address,
        "processes": n_processes,
        "devices": devices,
        "data": str(place / "data"),
        "jobs": {n: (str(folder / "models" / n), mesh) for n, (_, mesh) in jobs.items()},
    }
    (folder / "jobs.json").write_text(json.dumps(work))
    environment = os.environ | {"XLA_FLAGS": "", "JAXBPC_CACHE": str(place / "cache")}
    worker = pathlib.Path(__file__).with_name("layouts_worker.py")
    processes = [
        subprocess.Popen(
            [*trace(folder / f"trace.{k}"), sys.executable, worker, folder / "jobs.json", str(k)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(n_processes)
    ]
    for process in processes:
        _, err = process.communicate(timeout=1200)
        assert process.returncode == 0, err
    found = [json.loads((folder / f"jobs.{k}").read_text()) for k in range(n_processes)]
    for k in range(n_processes):
        for name, n_read in bytes_read(folder / f"trace.{k}", folder / "models").items():
            found[k][name]["n_read"] = n_read
    return found


def trace(path):
    """The command that writes what a process reads, and of which file, to `path`."""
    calls = "read,pread64,readv,preadv,preadv2"
    return ["strace", "-f", "--seccomp-bpf", "-y", "-s0", "-e", f"trace={calls}", "-o", str(path)]


def bytes_read(path, models):
    """Bytes read of each job's model, by the job's name, from a trace of system calls.

    Small files (config.json, the tokenizer) and headers are included.
    """
    found, begun = collections.Counter(), {}
    for line in path.read_text(errors="replace").splitlines():
        pid, call = line.split(None, 1)
        if at := re.search(rf"\d+<{re.escape(str(models))}/([^/>]+)/", call):
            begun[pid] = at[1]
        if end := re.search(r"= (\d+)$", call):
            if (name := begun.pop(pid, None)) is not None:
                found[name] += int(end[1])
        elif not call.endswith("<unfinished ...>"):
            begun.pop(pid, None)
    return found


def nll(place, n_processes, name):
    return Record.open(place / f"of-{n_processes}" / name / "text").read("nll")


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("strace"), reason="strace counts what is read")
@pytest.mark.parametrize("n_processes", LAYOUTS)
def test_layouts_over_processes(alone, n_processes):
    jobs = {
        f"{model}-{'-'.join(map(str, mesh))}": (model, mesh)
        for model, meshes in LAYOUTS[n_processes].items()
        for mesh in meshes
    }
    place, alone = alone
    found = run(place, n_processes, jobs, devices=1 if n_processes == 3 else 2)
    for name, (model, _) in jobs.items():
        n_bytes = load.n_bytes(load.open_checkpoint(place / model))
        assert n_bytes > 20e6
        assert alone[model]["n_read"] >= n_bytes  # the count sees what is read
        share = 1 if n_processes == 3 else 1 / n_processes
        for each in (process[name] for process in found):
            assert each["nats"] == pytest.approx(alone[model]["nats"], rel=1e-6), name
            assert each["fingerprint"] == alone[model]["fingerprint"], name
            assert each["n_read"] < 1.01 * n_bytes * share + (1 << 18), name
        np.testing.assert_allclose(
            nll(place, n_processes, name), nll(place, 1, model), rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("mesh_shape", [(2, 4, 1), (2, 2, 2), (4, 1, 2)], ids=str)
def test_no_whole_copy_on_the_way(mesh_shape, capfd):
    """From where processes read a tensor to where it is used: XLA tells where it finds no way."""
    mesh = sharding.make_mesh(mesh_shape)
    arch = FAMILIES["llama"].to_arch(DENSE, "config.json")
    model = load.placed(Decoder(arch, np.dtype("float32"), "xla"), mesh)
    for name, variable in parameters(model).items():
        target = variable.get_value()
        value = np.arange(np.prod(target.shape), dtype=np.float32).reshape(target.shape)
        layout = sharding.spread(target.shape, mesh, None, target.sharding)
        assert layout.shard_shape(target.shape)[0] * 8 == target.shape[0]
        fill = mapping.Fill((name,), Parts((name,)))
        made = assemble(arch, [fill], [target], [[jax.device_put(value, layout)]], [[]])
        assert made[0].sharding.is_equivalent_to(target.sharding, value.ndim)
        np.testing.assert_array_equal(made[0], value)
    assert "rematerialization" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "mesh", [(1, 2, 3), pytest.param((3, 1, 1), marks=pytest.mark.long)], ids=str
)
def test_sizes_that_the_mesh_does_not_divide(mesh, tmp_path):
    """Six heads and three for keys: some of the axes divide some of the sizes."""
    config = tiny.CONFIG | {
        "hidden_size": 50,
        "intermediate_size": 51,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 8,
        "vocab_size": 131,
    }
    test_load.write(tmp_path / "hf", config, test_load.random_weights(config))
    export_orbax.convert(str(tmp_path / "hf"), str(tmp_path / "ox"))
    want = scored(tmp_path / "hf", ONE)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(scored(tmp_path / "hf", mesh), want, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(
        test_load.loaded(tmp_path / "ox", mesh)[1], test_load.loaded(tmp_path / "hf")[1]
    )
