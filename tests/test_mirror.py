"""A workdir in a bucket: tensorstore's own URLs, on this disk by file://, and an emulator's gs://."""

import json
import pathlib
import shutil
import signal
import threading

import numpy as np
import pytest
import run_folders
import tiny

from jaxbpc import config as config_lib
from jaxbpc.analysis import runs
from jaxbpc.errors import InputError
from jaxbpc.evaluation import loop
from jaxbpc.run import bucket
from jaxbpc.run.record import Record
from jaxbpc.utils import paths


@pytest.fixture
def run(tmp_path, without_a_model):
    tiny.make_model(tmp_path / "model")
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS)

    def call(workdir):
        config = config_lib.default()
        config.model.path, config.data.dir = str(tmp_path / "model"), str(tmp_path / "data")
        config.data.corpora = ("text",)
        config.window.block_size, config.window.stride = 100, 40
        config.batch_per_device, config.model.dtype = 1, "float32"
        return loop.run(config, workdir)

    return call


def another_machine():
    """Forgets every copy, as a machine that takes the place of a lost one has none."""
    shutil.rmtree(paths.cache_folder() / "runs", ignore_errors=True)


def same_digits_elsewhere(run, url, local):
    want = run(local)
    got = run(url)
    assert got.corpora == want.corpora
    folder = bucket.Mirror(url).folder
    erased = Record.open(folder / "text")
    erased.write(500, np.full(600, np.nan, np.float32))
    erased.flush()
    again = run(url)  # the copy of this machine is ahead of the bucket: it decides
    assert again.corpora == want.corpora
    assert again.runs[-1]["windows_scored"] > 0
    another_machine()
    once_more = run(url)
    assert once_more.corpora == want.corpora
    assert once_more.runs[-1]["windows_scored"] == 0
    assert len(once_more.runs) == 3
    found = runs.read([url])[0]
    assert found.results == once_more
    assert found.documents("text").nats.sum() == pytest.approx(want.corpora["text"].nats_full)


@pytest.mark.smoke
def test_same_digits(run, tmp_path):
    same_digits_elsewhere(run, f"file://{tmp_path}/bucket/run", tmp_path / "local")
    assert not list((tmp_path / "bucket").rglob(".*"))


@pytest.mark.long
def test_same_digits_in_a_bucket(run, bucket, tmp_path):
    same_digits_elsewhere(run, f"{bucket}/runs/one", tmp_path / "local")


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(bucket, "EVERY_S", 0.1)
    monkeypatch.setattr(bucket, "LOST_S", 1.5)


def bucket_of(url):
    return pathlib.Path(url.removeprefix("file://"))


def test_one_run_at_a_time(soon, monkeypatch, tmp_path):
    url = f"file://{tmp_path}/run"
    with bucket.worked_in(url) as folder:
        (folder / "numbers").write_text("1")
        # Another process of this machine that lives on, so that only its signs of life tell.
        monkeypatch.setattr(bucket.Mirror, "_is_dead", lambda *_: False)
        with pytest.raises(InputError, match="another run works in it"):
            bucket.Mirror(url).begin()
    assert json.loads((bucket_of(url) / bucket.INDEX).read_text())["owner"] is None
    with bucket.worked_in(url) as folder:
        assert (folder / "numbers").read_text() == "1"


def test_a_lost_run_is_taken_over(soon, monkeypatch, tmp_path):
    url = f"file://{tmp_path}/run"
    lost = bucket.Mirror(url)
    lost.begin()
    (lost.folder / "sub").mkdir()
    (lost.folder / "sub" / "numbers").write_text("1")
    lost.send()
    (lost.folder / "sub" / "numbers").write_text("22")  # never sent
    another_machine()
    monkeypatch.setattr(bucket.Mirror, "_is_dead", lambda *_: False)
    taker = bucket.Mirror(url)
    taker.begin()
    assert (taker.folder / "sub" / "numbers").read_text() == "1"
    # The one that was thought to be lost is not: it learns so, and writes no more.
    with pytest.raises(InputError, match="another run works in it too"):
        lost.send()
    (taker.folder / "sub" / "numbers").unlink()
    taker.send(ended=True)
    assert not (bucket_of(url) / "sub" / "numbers").exists()


def work_until(told, url):
    with bucket.worked_in(url):
        taken = {"token": "of another machine", "owner": None, "files": []}
        (bucket_of(url) / bucket.INDEX).write_text(json.dumps(taken))
        assert told.wait(60)


def test_who_lost_the_folder_is_told_to_stop(soon, tmp_path):
    url = f"file://{tmp_path}/run"
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        with pytest.raises(InputError, match="another run works in it too"):
            work_until(told, url)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_names_stay_inside(tmp_path):
    url = f"file://{tmp_path}/run"
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("1")
    index = {"token": "x", "owner": None, "files": ["../secret"]}
    (tmp_path / "run" / bucket.INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match="outside of it"):
        bucket.copy(url)
    (tmp_path / "run" / bucket.INDEX).write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        bucket.copy(url)
    with pytest.raises(InputError, match="no run in it"):
        bucket.copy(f"file://{tmp_path}/none")


def test_a_checkpoint_of_a_series(tmp_path):
    """It has no index of its own: the series' has its files."""
    url = f"file://{tmp_path}/bucket/series"
    with bucket.worked_in(url) as folder:
        run_folders.write_paper_run(folder / "step1000", {"python": 0.5})
        (folder / "series.json").write_text("{}")
    (run,) = runs.read([f"{url}/step1000/"])
    assert run.results.average_bpc == 0.5
    assert run.folder.name == "step1000"
    assert run.is_called(f"{url}/step1000")
    with pytest.raises(InputError, match=rf"^{url}/step1000/python/record.json"):
        run.documents("python")
    for absent in (f"{url}/step2000", f"{url}/series.json", "file:///none"):
        with pytest.raises(InputError, match="no run in it"):
            bucket.copy(absent)
