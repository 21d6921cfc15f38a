"""Real models on the demo's texts: nats against torch to 5e-6, in float32; the page of both."""

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys

import browsers
import numpy as np
import pytest
import real_models

from jaxbpc.analysis import compare, runs
from jaxbpc.checkpoint import pip_model
from jaxbpc.data.windows import Plan
from jaxbpc.report.html import render
from jaxbpc.run import results
from jaxbpc.run.record import Record

pytestmark = [pytest.mark.real, pytest.mark.optimized]
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


def torch_nats(model, ids, window) -> float:
    """A window through torch: its float32 logits, the loss in float64."""
    import torch

    nats, piece = 0.0, torch.tensor(ids[window.begin : window.end])
    with torch.no_grad():
        out = model(piece[None, :-1], logits_to_keep=window.n_scored)
    targets = piece[-window.n_scored :, None]
    for rows in range(0, window.n_scored, 128):  # a vocabulary of 262,144 in float64 is large
        log_p = torch.log_softmax(out.logits[0, rows : rows + 128].double(), -1)
        nats -= log_p.gather(-1, targets[rows : rows + 128]).sum().item()
    return nats


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """By a model's name and the cache: (its folder, the folder of its run over the demo's texts).

    Each model is scored once.
    """

    @functools.cache
    def run(name, cache):
        if name == "SmolLM2-135M":
            folder = pip_model.resolve(demo_config().model.path, cache)
        else:
            folder = real_models.gemma_folder(cache)
        workdir = tmp_path_factory.mktemp(name)
        flags = [f"--config={DEMO}", f"--config.model.path={folder}", f"--workdir={workdir}"]
        environment = os.environ | {"XLA_FLAGS": ""}
        subprocess.run([sys.executable, "-m", "jaxbpc.main", *flags], env=environment, check=True)
        return folder, workdir

    return run


@pytest.mark.parametrize("name", ["SmolLM2-135M", "Gemma-3-270M"])
def test_nats_of_the_demo(name, cache, scored):
    """Every second window: what all of them sum up to is arithmetic."""
    torch = pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
    import transformers

    folder, workdir = scored(name, cache)
    corpora = results.read(workdir / "results.json").corpora
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert corpora.keys() == {"prose", "python", "math"}
    for corpus, result in corpora.items():
        record = Record.open(workdir / corpus)
        ids, nll = record.read("token_ids").astype(np.int64), record.read("nll").astype(np.float64)
        plan = Plan(len(ids), 1900, 512)
        assert result.nats == pytest.approx(nll[1 : 1 + plan.n_scored].sum(), rel=1e-12)
        windows = [plan.window(i) for i in range(0, plan.n_windows, 2)]
        want = sum(torch_nats(model, ids, window) for window in windows)
        got = sum(nll[window.first_scored : window.end].sum() for window in windows)
        assert got == pytest.approx(want, rel=5e-6), corpus


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
