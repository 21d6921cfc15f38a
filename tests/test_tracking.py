"""Numbers that are followed: read back by TensorBoard's own reader, and from W&B's own file."""

import importlib.util
import logging
import struct
import time

import pytest
import run_folders
import test_series

from jaxbpc import config as config_lib
from jaxbpc.errors import InputError
from jaxbpc.evaluation import sweep, tracking
from jaxbpc.run import results

HAS = {name: importlib.util.find_spec(name) is not None for name in ("tensorboard", "wandb")}


def settings(**fields):
    config = config_lib.default()
    config.model.path = "owner/model"
    config.log.update(fields)
    return config_lib.validate(config)


def given(folder, bpc, training):
    """Results with a BPC of one corpus."""
    run_folders.write_paper_run(folder, {"python": bpc})
    found = results.read(folder / "results.json").to_json()
    return results.Results.from_json(found | {"training": training})


def scalars(folder):
    """{tag: [(step, value), …]} by TensorBoard's reader."""
    from tensorboard.backend.event_processing import event_accumulator

    reader = event_accumulator.EventAccumulator(str(folder), {"tensors": 0})
    reader.Reload()
    return {
        tag: [(e.step, e.tensor_proto.float_val[0]) for e in reader.Tensors(tag)]
        for tag in reader.Tags()["tensors"]
    }


def history(folder):
    """What was logged, of W&B's file: LevelDB's log format, a protobuf `Record` each."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data = file.read_bytes()
    assert data[:4] == b":W&B"
    rows, at, parts = [], 7, b""
    while at < len(data):
        if 32768 - at % 32768 < 7:  # a header does not cross a block's end
            at += 32768 - at % 32768
            continue
        if at + 7 > len(data):
            break
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        if at + 7 + size > len(data):
            break
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record, parts = wandb_internal_pb2.Record.FromString(parts), b""
            if record.HasField("history"):
                items = record.history.item
                rows.append({i.key or ".".join(i.nested_key): float(i.value_json) for i in items})
    return rows


@pytest.mark.skipif(not HAS["tensorboard"], reason="the extra tensorboard")
def test_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "_EVERY_S", 0.0)
    with tracking.opened(settings(tensorboard=str(tmp_path / "tb")), tmp_path) as tracker:
        for _ in range(3):
            tracker.scored()
        for step, bpc in ((2000, 0.5), (1000, 0.625)):
            training = {"step": step, "tokens": step * 2**21, "flops": None}
            tracker.results(given(tmp_path / str(step), bpc, training))
        found = scalars(tmp_path / "tb")  # while it is open
    assert found["bpc/python"] == found["bpc/average"] == [(2000, 0.5), (1000, 0.625)]
    assert found["training/tokens"] == [(2000, 2000 * 2**21), (1000, 1000 * 2**21)]
    assert [step for step, _ in found["progress/windows_per_s"]] == [2, 3]
    assert "training/flops" not in found


@pytest.mark.long
@pytest.mark.skipif(not HAS["wandb"], reason="the extra wandb")
def test_wandb_offline(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "_EVERY_S", 0.0)
    monkeypatch.setenv("WANDB_MODE", "offline")
    with tracking.opened(settings(wandb="project"), tmp_path) as tracker:
        tracker.scored()
        tracker.scored()
        for step, bpc in ((2000, 0.5), (1000, 0.625)):
            training = {"step": step, "tokens": None, "flops": None}
            tracker.results(given(tmp_path / str(step), bpc, training))
    deadline = time.monotonic() + 60
    while len(rows := history(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)  # its own process writes the file's end when the run has ended
    assert [(row["step"], row["bpc/python"]) for row in rows[1:]] == [(2000, 0.5), (1000, 0.625)]
    assert rows[0]["windows"] == 2
    assert rows[0]["progress/windows_per_s"] > 0


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_library_that_is_missing(name, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    tracking.check(settings())
    with (
        pytest.raises(InputError, match=rf"config\.log\.{name} needs {name}: pip install"),
        tracking.opened(settings(**{name: "x"}), tmp_path),
    ):
        pass


@pytest.mark.skipif(not HAS["tensorboard"], reason="the extra tensorboard")
def test_a_folder_that_cannot_be_made(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with tracking.opened(settings(tensorboard=str(tmp_path / "file" / "tb")), tmp_path) as tracker:
        tracker.results(given(tmp_path / "run", 0.5, None))
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "TensorBoard does not work" in caplog.text


def test_one_that_fails_is_dropped_and_the_other_goes_on(tmp_path, caplog):
    heard = []

    def fails(values, axis, at):
        raise OSError("the network is away")

    def hears(values, axis, at):
        heard.append((values["bpc/python"], axis, at))

    tracker = tracking.Tracker({"one": fails, "other": hears})
    for bpc in (0.5, 0.25):
        tracker.results(given(tmp_path / str(bpc), bpc, None))
    assert heard == [(0.5, "step", 0), (0.25, "step", 0)]
    assert caplog.text.count("one does not work (the network is away)") == 1


@pytest.mark.long
@pytest.mark.usefixtures("without_a_model")
@pytest.mark.skipif(not all(HAS.values()), reason="the extras tensorboard and wandb")
def test_a_series_is_one_curve(tmp_path, monkeypatch):
    """Also of its second attempt, which scores nothing."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    test_series.make_checkpoints(tmp_path / "model", ["step10", "step20"])
    test_series.tiny.write_corpus(tmp_path / "data" / "text.jsonl", test_series.tiny.TEXTS)
    for attempt in ("a", "b"):
        fields = {"log__tensorboard": str(tmp_path / attempt), "log__wandb": "project"}
        config = test_series.make_config(tmp_path, **fields)
        assert not sweep.run(config, sweep.find(config, "step*"), tmp_path / "run")
    bpc = [
        results.read(tmp_path / "run" / name / "results.json").corpora["text"].bpc
        for name in ("step10", "step20")
    ]
    want = [(10, pytest.approx(bpc[0], rel=1e-6)), (20, pytest.approx(bpc[1], rel=1e-6))]
    for attempt in ("a", "b"):
        found = scalars(tmp_path / attempt)
        assert found["bpc/text"] == want
        assert [step for step, _ in found["speed/windows_per_s"]] == [10, 20]
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 2
