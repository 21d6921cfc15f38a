"""The record on disk: what is done, what is damaged, what belongs to another run."""

import types

import numpy as np
import pytest

from jaxbpc.data.tokens import TokenStream
from jaxbpc.data.windows import Plan
from jaxbpc.errors import InputError
from jaxbpc.record import Record, write_json

N = 70_000  # more than one chunk
PLAN = Plan(N, 100, 40)
SETTINGS = {"stride": 40, "corpora": {"text": "1f"}}


@pytest.fixture
def record(tmp_path):
    ids = np.arange(N, dtype=np.uint32)
    documents = np.array([[0, N, N + 5, 0, -1, -1]])
    return Record.create(tmp_path / "text", SETTINGS, ids, ids.astype(np.int64), documents, ["a"])


def score(record, indices):
    for i in indices:
        window = PLAN.window(i)
        record.write(window.first_scored, np.full(window.n_scored, 0.5, np.float32))
    record.flush()


def test_undone(record):
    assert record.undone(PLAN) == list(range(PLAN.n_all_windows))
    score(record, [0, 7, PLAN.n_all_windows - 1])
    again = Record.open(record.folder)
    done = set(range(PLAN.n_all_windows)) - set(again.undone(PLAN))
    assert done == {0, 7, PLAN.n_all_windows - 1}


def test_a_window_half_written_is_not_done(record):
    window = PLAN.window(3)
    record.write(window.first_scored, np.zeros(window.n_scored - 1, np.float32))
    record.flush()
    assert 3 in record.undone(PLAN)


def test_arrays_come_back(record):
    np.testing.assert_array_equal(record.read("token_ids"), np.arange(N))
    np.testing.assert_array_equal(record.read("documents"), [[0, N, N + 5, 0, -1, -1]])
    assert np.isnan(record.read("nll")).all()
    assert Record.open(record.folder).meta["subsets"] == ["a"]


@pytest.mark.parametrize("name", ["nll", "token_ids"])
def test_a_flipped_bit_is_noticed(record, name):
    score(record, range(PLAN.n_all_windows))
    chunk = next(p for p in sorted((record.folder / name / "c").rglob("*")) if p.is_file())
    data = bytearray(chunk.read_bytes())
    data[1000] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(InputError, match=f"{name} is damaged"):
        Record.open(record.folder).read(name)


def test_a_short_chunk_is_noticed(record):
    score(record, range(PLAN.n_all_windows))
    chunk = next(p for p in sorted((record.folder / "nll" / "c").rglob("*")) if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-10])
    with pytest.raises(InputError, match="nll is damaged"):
        Record.open(record.folder).undone(PLAN)


def test_other_settings_are_named(record):
    other = {"stride": 41, "corpora": {"text": "1f"}, "samples": 3}
    with pytest.raises(InputError, match=r"other settings \(samples, stride differ\)"):
        Record.open_or_create(record.folder, other, None)
    ids = record.read("token_ids")
    same, another = (types.SimpleNamespace(token_ids=x) for x in (ids, ids[::-1]))
    assert Record.open_or_create(record.folder, SETTINGS, same).meta == record.meta
    with pytest.raises(InputError, match="other tokens"):
        Record.open_or_create(record.folder, SETTINGS, another)


def test_an_unfinished_record_is_made_anew(record):
    (record.folder / "record.json").unlink()
    ids = np.arange(50, dtype=np.uint32)
    stream = TokenStream(ids, ids.astype(np.int64), np.zeros((1, 6)), [], 50, 50, 0, 49, ids, "")
    again = Record.open_or_create(record.folder, SETTINGS, stream)
    assert len(again.read("nll")) == 50


@pytest.mark.parametrize("content", ["", "[]", '{"version": 99}', '{"version": 1'])
def test_what_is_no_record(record, content):
    (record.folder / "record.json").write_text(content)
    with pytest.raises(InputError, match=str(record.folder)):
        Record.open(record.folder)


def test_json_is_written_whole(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert (tmp_path / "x.json").read_text() == '{\n "a": 1\n}\n'
