"""Real models on the demo's texts: BPC against torch to 5e-6, in float32; the page of both."""

import functools
import importlib.util
import math
import os
import pathlib
import subprocess
import sys

import browsers
import numpy as np
import pytest
import real_models

from jaxbpc import compare, results, runs
from jaxbpc.data.windows import Plan
from jaxbpc.page import render
from jaxbpc.record import Record
from jaxbpc.weights import wheel

pytestmark = pytest.mark.real
DEMO = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    folder = real_models.cache_folder(tmp_path_factory)
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


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """By a model's name and the cache: (its folder, the folder of its run over the demo's texts).

    Each model is scored once.
    """

    @functools.cache
    def run(name, cache):
        if name == "SmolLM2-135M":
            folder = wheel.resolve(demo_config().model.path, cache)
        else:
            folder = real_models.gemma_folder(cache)
        workdir = tmp_path_factory.mktemp(name)
        flags = [f"--config={DEMO}", f"--config.model.path={folder}", f"--workdir={workdir}"]
        environment = os.environ | {"XLA_FLAGS": ""}
        subprocess.run([sys.executable, "-m", "jaxbpc.main", *flags], env=environment, check=True)
        return folder, workdir

    return run


@pytest.mark.parametrize("name", ["SmolLM2-135M", "Gemma-3-270M"])
def test_bpc_of_the_demo(name, cache, scored):
    torch = pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
    import transformers

    folder, workdir = scored(name, cache)
    corpora = results.read(workdir / "results.json").corpora
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert corpora.keys() == {"prose", "python", "math"}
    for corpus, result in corpora.items():
        ids = Record.open(workdir / corpus).read("token_ids").astype(np.int64)
        assert result.bpc == pytest.approx(torch_bpc(model, ids, result), rel=5e-6), corpus


def test_the_page_of_both(cache, scored, tmp_path):
    """In Chromium: quiet, alone, accessible, at both sizes, light and dark; and small."""
    with browsers.chromium() as browser:
        folders = [str(scored(name, cache)[1]) for name in ("SmolLM2-135M", "Gemma-3-270M")]
        page = tmp_path / "page.html"
        page.write_text(render.html(compare.gather(runs.read(folders))), encoding="utf-8")
        assert page.stat().st_size < render.MAX_BYTES
        browsers.check(browser, page)
        visit = browsers.Visit(browser, page)
        assert visit.page.locator("details.doc").count() >= 12
