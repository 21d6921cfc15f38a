"""A real model: SmolLM2-135M against torch transformers on the demo's texts."""

import importlib.util
import math
import pathlib

import numpy as np
import pytest

from jaxbpc import evaluate
from jaxbpc.data.windows import Plan
from jaxbpc.record import Record
from jaxbpc.weights import wheel

torch = pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
pytestmark = pytest.mark.real
DEMO = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


def test_bpc_of_the_demo(tmp_path, tmp_path_factory, monkeypatch):
    import transformers

    monkeypatch.delenv("JAXBPC_CACHE")
    monkeypatch.setenv("JAXBPC_CACHE", str(tmp_path_factory.getbasetemp() / "real"))
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    config = demo.get_config()
    config.mesh.data, config.mesh.fsdp, config.mesh.tensor = 1, 1, 1
    config.mesh.data = 8  # all of the tests' devices
    results = evaluate.run(config, tmp_path)
    folder = wheel.resolve(config.model.path, tmp_path_factory.getbasetemp() / "real")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    assert tokenizer("x = 2026", add_special_tokens=False).tokens()[-4:] == list("2026")
    for name, result in results.corpora.items():
        ids = Record.open(tmp_path / name).read("token_ids").astype(np.int64)
        plan, nats = Plan(len(ids), 1900, 512), 0.0
        for i in range(plan.n_windows):
            window = plan.window(i)
            piece = torch.tensor(ids[window.begin : window.end])
            with torch.no_grad():
                logits = model(piece[None, :-1]).logits[0, -window.n_scored :].double()
            targets = piece[-window.n_scored :, None]
            nats -= torch.log_softmax(logits, -1).gather(-1, targets).sum().item()
        want = nats / (result.characters * math.log(2))
        assert result.bpc == pytest.approx(want, rel=5e-6), name
