"""Tiny random models of every family against torch transformers: nats per token, float32.

Against the values that torch gave (`golden/`); `test_parity_torch.py` asks torch itself. Against
numpy where transformers has no class. Most programs are compiled with few optimizations: they are
compiled once to be right. One case for each mechanism is compiled as in use.
"""

import cases
import jax
import numpy as np
import numpy_models
import oracle
import pytest

from jaxbpc.checkpoint import load
from jaxbpc.evaluation import step as step_lib
from jaxbpc.models import layers
from jaxbpc.models.decoder import Decoder
from jaxbpc.parallel import sharding

ONE, MESH = (1, 1, 1), (2, 2, 2)


def scored(folder, mesh_shape, attention="blocked", n=cases.SHORT, rows=0, stacked=False, spread=1):
    """Nats of the last `rows` targets (0: all) of each row of `n` tokens, by the real step.

    spread: multiplies the ids.
    """
    n_devices = int(np.prod(mesh_shape))
    mesh = sharding.make_mesh(mesh_shape, jax.devices()[:n_devices])
    checkpoint = load.open_checkpoint(folder)
    model, _ = load.load(checkpoint, np.dtype("float32"), mesh, attention, stacked=stacked)
    step = step_lib.Step(Decoder.hidden, Decoder.output, mesh)
    ids = cases.ids(n) * spread
    layout = sharding.named(("batch", None), (len(ids), n - 1), mesh)
    inputs, targets = (jax.device_put(a, layout) for a in (ids[:, :-1], ids[:, 1:]))
    return np.asarray(step(model, inputs, targets, rows or n - 1))


def compare(case, folder, *how, **more):
    """A case on a mesh against its golden values."""
    golden = oracle.golden(case)
    cases.write_model(folder, golden["config"], golden["shapes"])
    got = scored(folder, *how, n=cases.n_tokens(case), **more)
    np.testing.assert_allclose(oracle.thin(got), golden["nll"], rtol=0, atol=2e-5)


def marked(names, which, *marks):
    """Parameters, those in `which` marked."""
    return [pytest.param(name, marks=marks if name in which else ()) for name in names]


AS_IN_USE = pytest.mark.optimized, pytest.mark.smoke


@pytest.mark.parametrize("case", marked(cases.CASES, cases.OPTIMIZED, *AS_IN_USE))
def test_parity(case, tmp_path):
    compare(case, tmp_path, ONE)


ON_A_MESH = {*cases.ON_A_MESH, *numpy_models.ON_A_MESH}
MESH_FEATURES = {*cases.MESH_FEATURES, *numpy_models.MESH_FEATURES}
assert MESH_FEATURES <= ON_A_MESH
MORE_ON_A_MESH = ON_A_MESH - MESH_FEATURES


@pytest.mark.parametrize("case", marked(cases.ON_A_MESH, MORE_ON_A_MESH, pytest.mark.long))
def test_parity_on_a_mesh_and_stacked(case, tmp_path):
    compare(case, tmp_path, MESH, "xla", stacked=True)


def compare_with_numpy(case, folder, *how, **more):
    """A case of a family that transformers has no class for, on a mesh."""
    config, n = numpy_models.CASES[case], cases.n_tokens(case)
    shapes = numpy_models.shapes(config)
    cases.write_model(folder, config, shapes)
    tensors = {name: cases.weight(name, shape) for name, shape in shapes.items()}
    spread = config["vocab_size"] // cases.VOCAB  # over all parts of a split vocabulary
    want = numpy_models.nll(config, tensors, cases.ids(n) * spread)
    got = scored(folder, *how, n=n, spread=spread, **more)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", numpy_models.CASES)
def test_parity_with_numpy(case, tmp_path):
    compare_with_numpy(case, tmp_path, ONE)


@pytest.mark.parametrize("case", marked(numpy_models.ON_A_MESH, MORE_ON_A_MESH, pytest.mark.long))
def test_parity_with_numpy_on_a_mesh_and_stacked(case, tmp_path):
    compare_with_numpy(case, tmp_path, MESH, "xla", stacked=True)


def test_fewer_rows_are_the_same_rows(tmp_path):
    golden = oracle.golden("llama-gqa")
    cases.write_model(tmp_path, golden["config"], golden["shapes"])
    whole, last = scored(tmp_path, ONE), scored(tmp_path, ONE, rows=40)
    np.testing.assert_allclose(last, whole[:, -40:], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "mesh"), [("llama-gqa", ONE), ("gpt2", MESH), ("deepseek_v2", MESH)], ids=str
)
def test_blocks_of_rows(case, mesh, tmp_path, monkeypatch):
    """300 rows, in blocks that are not all of one size."""
    monkeypatch.setattr(layers, "_BLOCK_ROWS", 44)  # six of 43 and one of 42
    compare(case, tmp_path, mesh)
