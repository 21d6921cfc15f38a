"""From files to results: uniform model, resume, batch sizes, meshes, bad input."""

import itertools
import json
import math
import types

import huggingface_hub
import numpy as np
import numpy_step
import pytest
import safetensors.numpy
import tiny

from jaxbpc import config as config_lib
from jaxbpc.data import windows
from jaxbpc.errors import InputError, NumberError, Stopped
from jaxbpc.evaluation import loop
from jaxbpc.parallel import preemption
from jaxbpc.run import attempts, results
from jaxbpc.run.record import Record


@pytest.fixture
def run(tmp_path):
    model = tiny.make_model(tmp_path / "model")
    data = tmp_path / "data"
    tiny.write_corpus(data / "text.jsonl", tiny.TEXTS)

    def call(workdir="run", **fields):
        config = config_lib.default()
        config.model.path = str(model)
        config.data.dir = str(data)
        config.data.corpora = ("text",)
        config.window.block_size, config.window.stride = 100, 40
        config.batch_per_device = 1
        config.model.dtype = "float32"
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
        return loop.run(config, tmp_path / workdir)

    call.path = tmp_path
    return call


@pytest.mark.usefixtures("without_a_model")
def test_ledger(run):
    result = run()
    text = result.corpora["text"]
    assert text.characters == sum(map(len, tiny.TEXTS))
    assert text.bytes == text.tokens == sum(len(t.encode()) for t in tiny.TEXTS)
    assert (text.documents, text.empty_documents) == (2, 1)
    assert text.scored_tokens + text.unscored_tokens == text.tokens
    assert text.bpc == text.nats / (text.characters * math.log(2))
    assert result.average_bpc == text.bpc
    assert set(text.baselines) == {"gzip", "xz", "zstd"}
    assert text.audit["documents_not_restored"] == text.audit["unknown_tokens"] == 0


@pytest.mark.smoke
def test_uniform(run):
    safetensors_path = run.path / "model" / "model.safetensors"
    zeros = {k: 0 * v for k, v in safetensors.numpy.load_file(safetensors_path).items()}
    safetensors.numpy.save_file(zeros, safetensors_path)
    text = run().corpora["text"]
    assert text.nats == pytest.approx(text.scored_tokens * math.log(tiny.VOCAB), rel=1e-6)
    assert text.nats_full == pytest.approx((text.tokens - 1) * math.log(tiny.VOCAB), rel=1e-6)
    assert "a model's that knows nothing" in text.note
    assert text.min_k["mean_log_prob"] == pytest.approx(-math.log(tiny.VOCAB), rel=1e-6)
    assert (text.min_k["k_percent"], text.min_k["documents"]) == (20, 2)


def test_batches_and_meshes_agree(run):
    """One device, and eight in several layouts."""
    process = tiny.start(run.path, "one")
    assert process.communicate(timeout=120)
    want = results.read(run.path / "one" / "results.json")
    assert want.runs[0]["devices"] == 1
    want = want.corpora["text"]
    for k, (batch, mesh) in enumerate([(2, (8, 1, 1)), (3, (1, 8, 1)), (1, (2, 2, 2))]):
        fields = dict(zip(("mesh__data", "mesh__fsdp", "mesh__tensor"), mesh, strict=True))
        got = run(f"run{k}", batch_per_device=batch, **fields).corpora["text"]
        assert got.bpc == pytest.approx(want.bpc, rel=1e-6)
        assert got.bpc_full == pytest.approx(want.bpc_full, rel=1e-6)


@pytest.mark.smoke
@pytest.mark.usefixtures("without_a_model")
def test_resume_is_identical(run):
    want = run("whole").corpora["text"]
    first = run("stopped")
    record = Record.open(run.path / "stopped" / "text")
    record.write(500, np.full(600, np.nan, np.float32))
    record.flush()
    again = run("stopped")
    assert again.corpora["text"].nats == want.nats
    assert again.corpora["text"].nats_full == want.nats_full
    assert 0 < again.runs[-1]["windows_scored"] < first.runs[-1]["windows_scored"]
    assert run("stopped").runs[-1]["windows_scored"] == 0


@pytest.mark.usefixtures("without_a_model")
def test_a_finished_run_is_not_loaded_again(run, monkeypatch):
    """Unless the checkpoint's files are others, or something is left to score."""
    want = run()
    loaded = []
    real = numpy_step.fingerprint
    monkeypatch.setattr(numpy_step, "fingerprint", lambda path: loaded.append(1) or real(path))
    again = run()
    assert not loaded
    told = ("corpora", "model", "window", "fingerprint", "average_bpc", "config", "environment")
    assert [getattr(again, name) for name in told] == [getattr(want, name) for name in told]
    assert [attempt["windows_scored"] for attempt in again.runs] == [34, 0]
    assert results.read(run.path / "run" / "results.json") == again

    weights = run.path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes())  # the same, but no one knows before reading it
    assert run().corpora == want.corpora
    assert len(loaded) == 1
    record = Record.open(run.path / "run" / "text")
    record.write(500, np.full(1, np.nan, np.float32))
    record.flush()
    assert run().corpora == want.corpora
    assert len(loaded) == 2
    with pytest.raises(InputError, match="stride differs"):
        run(window__stride=50)
    assert len(loaded) == 3
    assert run().corpora == want.corpora
    assert len(loaded) == 3


@pytest.mark.usefixtures("without_a_model")
def test_nor_is_one_from_a_hub(run, monkeypatch):
    """Its revision may come to have other files: they lie elsewhere in the hub's cache."""
    folder = run.path / "model"
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    want = run(model__path="owner/name")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "load_job", None)
        again = run(model__path="owner/name")
    assert again.corpora == want.corpora
    assert again.model == want.model
    assert again.runs[-1]["windows_scored"] == 0
    folder = tiny.make_model(run.path / "other", scale=0.2)
    with pytest.raises(InputError, match="weights differ"):
        run(model__path="owner/name")


@pytest.mark.usefixtures("without_a_model")
def test_short_corpus(run):
    tiny.write_corpus(run.path / "data" / "text.jsonl", tiny.TEXTS[2:])
    text = run(window__block_size=1000).corpora["text"]
    assert text.bpc is None
    assert text.bpc_full > 0
    assert "shorter than one window" in text.note


@pytest.mark.usefixtures("without_a_model")
def test_a_second_run_does_not_tokenise_again(run, monkeypatch):
    from jaxbpc.data import tokens

    want = run()
    monkeypatch.setattr(tokens, "load_tokenizer", None)
    got = run("again")
    assert got.corpora == want.corpora
    assert got.fingerprint == want.fingerprint


@pytest.mark.smoke
@pytest.mark.usefixtures("without_a_model")
def test_results_file(run):
    result = run()
    assert results.read(run.path / "run" / "results.json") == result
    fields = json.loads((run.path / "run" / "results.json").read_text())
    assert list(fields)[:4] == ["schema", "model", "window", "corpora"]
    assert set(fields["speed"]) >= {"wall_s", "load_s", "compile_s", "tokenize_s"}
    assert "text" in results.table(result)
    fields["corpora"]["text"]["bpc"] += 0.001
    (run.path / "run" / "results.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"run/results\.json: .*wrong checksum"):
        results.read(run.path / "run" / "results.json")


@pytest.mark.usefixtures("without_a_model")
def test_what_results_tell_beside(run):
    rows = [{"content": t, "subset": "ab"[i > 0]} for i, t in enumerate(tiny.TEXTS)]
    lines = "\n".join(map(json.dumps, rows))
    (run.path / "data" / "text.jsonl").write_text(lines + "\n")
    tiny.write_corpus(run.path / "data" / "other.jsonl", tiny.TEXTS[2:])
    fields = {"model__revision": "step70", "training__tokens_per_step": 1e9}
    result = run(data__corpora=("text", "other"), **fields)
    text, other = result.corpora["text"], result.corpora["other"]
    assert {n: s["documents"] for n, s in text.subsets.items()} == {"a": 1, "b": 1}
    assert math.fsum(s["nats"] for s in text.subsets.values()) == pytest.approx(text.nats)
    assert text.subsets["b"]["characters"] == len(tiny.TEXTS[2])
    characters = text.characters + other.characters
    want = (text.nats + other.nats) / (characters * math.log(2))
    assert result.weighted_bpc == pytest.approx(want, rel=1e-14)
    assert result.training["step"] == 70
    assert result.training["tokens"] == 70e9
    table = results.table(result).splitlines()
    assert table[3].startswith(f"  b             {text.subsets['b']['bpc']:.4f}")
    assert f"weighted        {result.weighted_bpc:.4f}" in table
    assert not other.subsets


def test_bfloat16_is_close(run):
    want, got = run(), run("low", model__dtype="bfloat16")
    assert got.model["dtype"] == "bfloat16"
    assert got.corpora["text"].bpc == pytest.approx(want.corpora["text"].bpc, rel=2e-3)
    assert got.corpora["text"].bpc != want.corpora["text"].bpc


def test_a_loss_that_is_not_finite_is_no_number(run):
    path = run.path / "model" / "model.safetensors"
    weights = safetensors.numpy.load_file(path)
    weights["model.norm.weight"][3] = np.nan
    safetensors.numpy.save_file(weights, path)
    with pytest.raises(NumberError, match="text: the loss is not finite in window 0, token 1, row"):
        run()
    assert not (run.path / "run" / "results.json").exists()


@pytest.mark.parametrize(("value", "word"), [(-1.0, "below 0"), (np.inf, "not finite")])
def test_a_loss_that_cannot_be_is_no_number(value, word):
    plan = windows.Plan(50, 10, 4)
    documents = np.array([[0, 25, 25, 3, -1, -1], [25, 25, 25, 7, -1, -1]])
    job = types.SimpleNamespace(
        plans={"text": plan}, streams={"text": types.SimpleNamespace(documents=documents)}
    )
    values = np.full(4, -1e-6, np.float32)  # what rounding leaves of a sure token
    assert loop._keep_window(job, "text", None, 5, values) == 4
    values[1] = value
    with pytest.raises(NumberError, match=f"the loss is {word} in window 5, token 28, row 7"):
        loop._keep_window(job, "text", None, 5, values)


@pytest.mark.usefixtures("without_a_model")
def test_two_runs_in_one_workdir(run):
    with (
        attempts.locked(run.path / "run"),
        pytest.raises(InputError, match="another run works in it"),
    ):
        run()


@pytest.mark.usefixtures("without_a_model")
def test_a_signal_keeps_what_is_scored(run, monkeypatch):
    want = run("whole").corpora["text"]
    count = itertools.count()

    def told_to_stop(step):
        return next(count) == 2  # of 1 + 5 steps of 8 windows

    monkeypatch.setattr(preemption, "must_stop", told_to_stop)
    with pytest.raises(Stopped):
        run("stopped")
    monkeypatch.undo()
    result = run("stopped")
    assert [attempt["windows_scored"] for attempt in result.runs] == [17, 17]
    assert result.corpora["text"] == want


@pytest.mark.usefixtures("without_a_model")
def test_weights_that_are_links_without_a_suffix(run):
    """As the hub's cache keeps them: snapshots/…/model.safetensors → blobs/HASH."""
    want = run("plain").corpora
    path = run.path / "model" / "model.safetensors"
    blob = run.path / "3040f1"
    path.rename(blob)
    path.symlink_to(blob)
    assert run("linked").corpora == want
