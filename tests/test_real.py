"""Real models against torch transformers on the demo's texts: BPC to 5e-6, in float32."""

import importlib.util
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import real_models

from jaxbpc import results
from jaxbpc.data.windows import Plan
from jaxbpc.record import Record
from jaxbpc.weights import wheel

pytestmark = pytest.mark.real
DEMO = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """One cache for all tests of real models: they are fetched once."""
    folder = tmp_path_factory.getbasetemp() / "real"
    monkeypatch.setenv("JAXBPC_CACHE", str(folder))
    return folder


def demo_config():
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    return demo.get_config()


def torch_bpc(model, ids, result) -> float:
    """The same windows through torch: its float32 logits, the loss in float64."""
    import torch

    plan, nats = Plan(len(ids), 1900, 512), 0.0
    for i in range(plan.n_windows):
        window = plan.window(i)
        piece = torch.tensor(ids[window.begin : window.end])
        with torch.no_grad():
            out = model(piece[None, :-1], logits_to_keep=window.n_scored)
        targets = piece[-window.n_scored :, None]
        for rows in range(0, window.n_scored, 128):  # a vocabulary of 262,144 in float64 is large
            log_p = torch.log_softmax(out.logits[0, rows : rows + 128].double(), -1)
            nats -= log_p.gather(-1, targets[rows : rows + 128]).sum().item()
    return nats / (result.characters * math.log(2))


@pytest.mark.parametrize("name", ["SmolLM2-135M", "Gemma-3-270M"])
def test_bpc_of_the_demo(name, cache, tmp_path):
    torch = pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
    import transformers

    config = demo_config()
    if name == "SmolLM2-135M":
        folder = wheel.resolve(config.model.path, cache)
    else:
        folder = real_models.gemma_folder(cache)
    flags = [f"--config={DEMO}", f"--config.model.path={folder}", f"--workdir={tmp_path}"]
    environment = os.environ | {"XLA_FLAGS": ""}
    subprocess.run([sys.executable, "-m", "jaxbpc.main", *flags], env=environment, check=True)
    corpora = results.read(tmp_path / "results.json").corpora
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert corpora.keys() == {"prose", "python", "math"}
    for corpus, result in corpora.items():
        ids = Record.open(tmp_path / corpus).read("token_ids").astype(np.int64)
        assert result.bpc == pytest.approx(torch_bpc(model, ids, result), rel=5e-6), corpus
