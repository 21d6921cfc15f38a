"""Plans: what is counted against the step itself, and what the TPU compiler says of small models.

Compiling for a TPU needs its compiler (the `tpu` extra), not a TPU.
"""

import functools
import importlib.util
import json
import math
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxbpc.evaluation import step as step_lib
from jaxbpc.models import costs
from jaxbpc.models.decoder import Decoder
from jaxbpc.models.families import FAMILIES
from jaxbpc.plan import estimate

LLAMA = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
    "max_position_embeddings": 2048,
}
QWEN3_MOE = {
    "model_type": "qwen3_moe",
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "vocab_size": 256,
    "max_position_embeddings": 2048,
}
pytestmark = pytest.mark.optimized  # the programs that would run
needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
needs_gpu_compiler = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda12_plugin") is None, reason="jax-cuda12-plugin is not there"
)


def counted(jaxpr) -> float:
    """FLOPs of all products of a program; its loops are of known length."""
    total = 0.0
    for eqn in jaxpr.eqns:
        shapes = [getattr(v.aval, "shape", ()) for v in eqn.invars]
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            out = math.prod(eqn.outvars[0].aval.shape)
            total += 2 * out * math.prod(shapes[0][axis] for axis in contracted)
        elif eqn.primitive.name.startswith("ragged_dot"):
            total += 2 * math.prod(shapes[0]) * shapes[1][-1]
        elif eqn.primitive.name == "cond":  # one way or another by platform, of the same work
            flops = {counted(branch.jaxpr) for branch in eqn.params["branches"]}
            assert len(flops) == 1
            total += flops.pop()
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                assert eqn.primitive.name != "while"
                total += eqn.params.get("length", 1) * counted(inner)
    return total


@pytest.mark.parametrize("config", [LLAMA, QWEN3_MOE], ids=["llama", "qwen3_moe"])
def test_flops_are_those_of_the_step(config):
    """All but attention's: scores are computed whole here, counted where a query may see."""
    length, rows = 256, 128
    arch = FAMILIES[config["model_type"]].to_arch(config, "config.json")
    model = Decoder(arch, jnp.float32, "xla")

    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
    targets = jax.ShapeDtypeStruct((1, rows), jnp.int32)
    nll = functools.partial(step_lib.nll, platform="cpu")
    program = jax.make_jaxpr(lambda m, t, y: nll(m.hidden(t, rows), m.output(), y))(
        model, tokens, targets
    )
    useful = costs.flops(arch, length, rows)
    a = arch.attention
    whole = 4 * a.n_heads * a.head_size * length * (length * (arch.n_layers - 1) + rows)
    assert counted(program.jaxpr) == pytest.approx(useful.matmul + useful.head + whole, rel=1e-9)
    assert useful.attention < whole


def command(*arguments, env=None):
    return subprocess.run(
        [sys.executable, "-m", "jaxbpc.plan", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
    )


@pytest.fixture
def model(tmp_path):
    """A function config → the arguments that plan for it, of a folder with config.json alone."""

    def make(config):
        (tmp_path / "config.json").write_text(json.dumps(config))
        return ["--config", "configs/llama.py", f"--config.model.path={tmp_path}"]

    return make


@needs_compiler
def test_fits(model, tmp_path):
    out, dump = tmp_path / "plan.json", tmp_path / "dump"
    made = command(
        *model(LLAMA),
        "--topology=v5e:2x2",
        "--config.mesh.fsdp=4",
        f"--json={out}",
        "--config.batch_per_device=2",
        f"--dump={dump}",
    )
    assert made.returncode == 0, made.stderr
    assert "windows/s" in made.stdout
    result = json.loads(out.read_text())
    assert result["fits"]
    assert result["layout"] == {"mesh": {"data": 1, "fsdp": 4, "tensor": 1}, "batch_per_device": 2}
    n = 2 * 1024 * 512 + 4 * (512 * 512 * 2 + 512 * 256 * 2 + 3 * 512 * 1024) + 9 * 512
    assert result["parameter_bytes_per_device"] == pytest.approx(2 * n / 4, rel=0.01)
    assert result["peak_bytes_per_device"] > result["parameter_bytes_per_device"]
    assert result["windows_per_s"] > 0
    assert 0 < result["flop_per_cycle"] < 131072
    assert any(c["kind"] == "all-gather" and c["axis"] == "fsdp" for c in result["collectives"])
    assert "estimated_cycles" in (dump / "step.hlo.txt").read_text()


@needs_compiler
def test_does_not_fit(model):
    large = LLAMA | {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
    made = command(*model(large | {"num_attention_heads": 64}), "--topology=v5e:2x4")
    assert made.returncode == 0, made.stderr
    assert re.search(r"does not fit, by [\d.]+ GiB a device: .* want 16 v5e or more", made.stdout)


@needs_compiler
def test_slices(model, tmp_path):
    out = tmp_path / "plan.json"
    made = command(
        *model(LLAMA), "--topology=v5e:2x2", "--slices=2", "--config.mesh.fsdp=4", f"--json={out}"
    )
    assert made.returncode == 0, made.stderr
    result = json.loads(out.read_text())
    assert result["mesh"] == {"data": 2, "fsdp": 4, "tensor": 1}
    assert (result["n_devices"], result["fits"]) == (8, True)
    # No parameter crosses the network between slices.
    assert {c["axis"] for c in result["collectives"] if c["n_bytes"] > 2**18} == {"fsdp"}


@needs_gpu_compiler
def test_gpus(model, tmp_path):
    out = tmp_path / "plan.json"
    arguments = ("--topology=h100:2x8", "--config.mesh.fsdp=8", f"--json={out}")
    made = command(*model(LLAMA), *arguments, "--config.batch_per_device=2")
    assert made.returncode == 0, made.stderr
    assert "analytic" in made.stdout
    result = json.loads(out.read_text())
    assert (result["chip"], result["n_devices"], result["attention"]) == ("h100", 16, "cudnn")
    parts = result["step_s"]
    assert set(parts) == {"products", "memory", "exchanges"}
    assert result["windows_per_s"] == pytest.approx(32 / max(parts.values()))
    n = 2 * 1024 * 512 + 4 * (512 * 512 * 2 + 512 * 256 * 2 + 3 * 512 * 1024) + 9 * 512
    # Inside a host a device gets 7 of 8 parts of all parameters by NVLink, layer by layer.
    gathered = [c for c in result["collectives"] if c["kind"] == "all-gather"]
    moved = sum(c["count"] * c["n_bytes"] for c in gathered if c["axis"] == "fsdp")
    assert 2 * (n - 1024 * 512) < moved < 2 * 2 * n
    assert result["peak_bytes_per_device"] > result["parameter_bytes_per_device"]


@needs_gpu_compiler
def test_gpus_that_are_too_small(model):
    large = LLAMA | {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
    made = command(*model(large | {"num_attention_heads": 64}), "--topology=a100:1")
    assert made.returncode == 0, made.stderr
    assert re.search(r"does not fit, by [\d.]+ GiB a device: .* want 4 a100 or more", made.stdout)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("RESOURCE_EXHAUSTED: ... Exceeded hbm capacity by 1.14G. Total hbm", "1.1 GiB"),
        ("total memory required for X (4.00T) exceeds available HBM (31.25G).", "4064.8 GiB"),
        ("Exceeded hbm capacity by 512.0M.", "0.5 GiB"),
        ("RESOURCE_EXHAUSTED: something else", ""),
    ],
)
def test_by_how_much(message, told):
    assert estimate._over(message) == told


@pytest.mark.long
@needs_compiler
def test_search(model, tmp_path):
    out = tmp_path / "plan.json"
    made = command(
        *model(LLAMA | {"num_hidden_layers": 2}), "--topology=v5e:1x1", "--search", f"--json={out}"
    )
    assert made.returncode == 0, made.stderr
    found = json.loads(out.read_text())["searched"]
    rates = [p["windows_per_s"] for p in found]
    assert [p["layout"]["batch_per_device"] for p in found].count(2) == 1
    assert len(found) == 3
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("topology", "told"),
    [
        (None, "--topology is missing"),
        ("v5e", "give generation:shape"),
        ("v9z:2x2", "give one of v4, v5e"),
    ],
)
def test_no_such_topology(model, topology, told):
    made = command(*model(LLAMA), *([f"--topology={topology}"] if topology else []))
    assert made.returncode == 2
    errors = [line for line in made.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert told in errors[0]


def test_collectives_are_named_by_axes():
    from jaxbpc.parallel.sharding import make_mesh
    from jaxbpc.plan.hlo_cost import Collective

    mesh = make_mesh((1, 4, 2))
    for group, axis in ((4, "fsdp"), (2, "tensor"), (8, "fsdp+tensor"), (3, None)):
        assert estimate._named(Collective("all-gather", 8, group, 1), mesh)["axis"] == axis
    # Two axes of one size: the text does not tell which.
    assert estimate._named(Collective("all-gather", 8, 2, 1), make_mesh((2, 2, 2)))["axis"] is None
