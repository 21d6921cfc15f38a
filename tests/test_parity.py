"""Tiny random models of every family against torch transformers: nats a token, float32.

Against the values in `golden/` always, against torch itself where it is installed. Against numpy
where transformers has no class.
"""

import importlib.util
import json

import cases
import jax
import numpy as np
import numpy_models
import oracle
import pytest

from jaxbpc import sharding
from jaxbpc import step as step_lib
from jaxbpc.models import dense
from jaxbpc.models.decoder import Decoder
from jaxbpc.weights import load

HAS_TORCH = importlib.util.find_spec("torch") is not None
ONE, MESH = (1, 1, 1), (2, 2, 2)


def scored(
    folder, mesh_shape, attention="blocked", rows=cases.N_TOKENS - 1, stacked=False, spread=1
):
    """Nats of the last `rows` targets of each row, by the real step. spread: multiplies the ids."""
    n_devices = int(np.prod(mesh_shape))
    mesh = sharding.make_mesh(mesh_shape, jax.devices()[:n_devices])
    checkpoint = load.open_checkpoint(folder)
    model, _ = load.load(checkpoint, np.dtype("float32"), mesh, attention, stacked=stacked)
    step = step_lib.Step(Decoder.hidden, Decoder.output, mesh)
    ids = cases.ids() * spread
    layout = sharding.named(("batch", None), (len(ids), ids.shape[1] - 1), mesh)
    inputs, targets = (jax.device_put(a, layout) for a in (ids[:, :-1], ids[:, 1:]))
    return np.asarray(step(model, inputs, targets, rows))


@pytest.mark.parametrize("case", cases.CASES)
def test_parity(case, tmp_path):
    golden = json.loads((oracle.GOLDEN / f"{case}.json").read_text())
    cases.write_model(tmp_path / "golden", golden["config"], golden["shapes"])
    got = scored(tmp_path / "golden", ONE)
    np.testing.assert_allclose(oracle.thin(got), golden["nll"], rtol=0, atol=2e-5)
    if HAS_TORCH:
        oracle.make(case, tmp_path / "torch")
        want = oracle.nll(tmp_path / "torch", cases.ids())
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", cases.ON_A_MESH)
def test_parity_on_a_mesh_and_stacked(case, tmp_path):
    golden = json.loads((oracle.GOLDEN / f"{case}.json").read_text())
    cases.write_model(tmp_path, golden["config"], golden["shapes"])
    got = scored(tmp_path, MESH, "xla", stacked=True)
    np.testing.assert_allclose(oracle.thin(got), golden["nll"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", numpy_models.CASES)
def test_parity_with_numpy(case, tmp_path):
    """Families that transformers has no class for: their oracle is here always."""
    config = numpy_models.CASES[case]
    shapes = numpy_models.shapes(config)
    cases.write_model(tmp_path, config, shapes)
    tensors = {name: cases.weight(name, shape) for name, shape in shapes.items()}
    spread = config["vocab_size"] // cases.VOCAB  # over all parts of a split vocabulary
    want = numpy_models.nll(config, tensors, cases.ids() * spread)
    got = scored(tmp_path, ONE, spread=spread)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)
    if case in numpy_models.ON_A_MESH:
        got = scored(tmp_path, MESH, "xla", stacked=True, spread=spread)
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)


def test_fewer_rows_are_the_same_rows(tmp_path):
    golden = json.loads((oracle.GOLDEN / "llama-gqa.json").read_text())
    cases.write_model(tmp_path, golden["config"], golden["shapes"])
    whole, last = scored(tmp_path, ONE), scored(tmp_path, ONE, rows=100)
    np.testing.assert_allclose(last, whole[:, -100:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["llama-gqa", "gpt_neox", "deepseek_v2"])
@pytest.mark.parametrize("mesh", [ONE, MESH])
def test_blocks_of_rows(case, mesh, tmp_path, monkeypatch):
    """300 rows, in blocks that are not all of one size."""
    monkeypatch.setattr(dense, "_BLOCK_ROWS", 44)  # six of 43 and one of 42
    golden = json.loads((oracle.GOLDEN / f"{case}.json").read_text())
    cases.write_model(tmp_path, golden["config"], golden["shapes"])
    got = scored(tmp_path, mesh)
    np.testing.assert_allclose(oracle.thin(got), golden["nll"], rtol=0, atol=2e-5)


@pytest.mark.skipif(not HAS_TORCH, reason="the live oracle: pip install '.[parity]'")
def test_torch_is_the_oracle():
    """Says by a skip that the cases above were compared with `golden/` alone."""
