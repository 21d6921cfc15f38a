"""A run that an earlier version began goes on: its record, its log of attempts, its tokens.

`stored/begun-VERSION.tar.xz` holds `begun`, the workdir of the run below after 17 of 34 windows,
when a signal ended it, and `tokens`, of the cache beside it.
"""

import pathlib
import tarfile

import numpy as np
import pytest
import tiny

from jaxbpc import config as config_lib
from jaxbpc.data import tokens
from jaxbpc.evaluation import loop
from jaxbpc.run.record import Record

STORED = sorted((pathlib.Path(__file__).parent / "stored").glob("begun-*.tar.xz"))


@pytest.mark.parametrize("archive", STORED, ids=lambda path: path.name)
def test_it_goes_on(archive, tmp_path, monkeypatch):
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    monkeypatch.setenv("JAXBPC_CACHE", str(tmp_path))
    monkeypatch.setattr(tokens, "load_tokenizer", None)  # nothing is tokenised again
    config = config_lib.default()
    config.model.path = str(tiny.make_model(tmp_path / "model"))
    tiny.write_corpus(tmp_path / "data" / "text.jsonl", tiny.TEXTS)
    config.data.dir, config.data.corpora = str(tmp_path / "data"), ("text",)
    config.window.block_size, config.window.stride = 100, 40
    config.batch_per_device, config.model.dtype = 1, "float32"
    kept = Record.open(tmp_path / "begun" / "text").read("nll").copy()
    result = loop.run(config, tmp_path / "begun")
    assert [attempt["windows_scored"] for attempt in result.runs] == [17, 17]
    nll = Record.open(tmp_path / "begun" / "text").read("nll")
    on_disk = np.isfinite(kept)
    assert (nll[on_disk] == kept[on_disk]).all()
    want = loop.run(config, tmp_path / "whole")
    assert result.fingerprint == want.fingerprint
    assert result.corpora["text"].nats == pytest.approx(want.corpora["text"].nats, rel=1e-6)
