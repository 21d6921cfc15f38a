"""The record on disk: what is done, what is damaged, what belongs to another run."""

import dataclasses
import json
import os
import sys

import numpy as np
import pytest
from damages import damages

from jaxbpc.data.tokens import TokenStream
from jaxbpc.data.windows import Plan
from jaxbpc.errors import InputError
from jaxbpc.run.record import Record
from jaxbpc.utils.files import read_checked, write_checked, write_json

N = 70_000  # more than one chunk
PLAN = Plan(N, 100, 40)
SETTINGS = {"stride": 40, "corpora": {"text": "1f"}}


def stream(n=N):
    ids = np.arange(n, dtype=np.uint32)
    documents = np.array([[0, n, n + 5, 0, -1, 0]])
    return TokenStream(ids, ids.astype(np.int64), documents, ["a"], n, n + 5, 0, n - 1, ids, "")


@pytest.fixture
def record(tmp_path):
    return Record.open_or_create(tmp_path / "text", SETTINGS, stream())


def loss(first, end):
    """The nats of tokens [first, end): each token has its own."""
    return (1 + np.arange(first, end, dtype=np.float32)) / 1000


def score(record, indices):
    for i in indices:
        window = PLAN.window(i)
        record.write(window.first_scored, loss(window.first_scored, window.end))
    record.flush()


def score_all(record):
    record.write(1, loss(1, N))
    record.flush()
    assert not record.undone(PLAN)


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
    np.testing.assert_array_equal(record.read("documents"), [[0, N, N + 5, 0, -1, 0]])
    assert np.isnan(record.read("nll")).all()
    assert Record.open(record.folder).meta["subsets"] == ["a"]


def test_damage_of_every_file_is_mended_scored_again_or_named(record):
    score_all(record)
    want = {name: record.read(name) for name in ("nll", "token_ids", "token_char_end", "documents")}
    files = [p for p in sorted(record.folder.rglob("*")) if p.is_file() and "lock" not in p.name]
    names = {str(p.relative_to(record.folder)) for p in files}
    chunks = {f"{name}/c/{i}" for name in ("nll", "token_ids", "token_char_end") for i in range(2)}
    arrays = {f"{name}/zarr.json" for name in want}
    assert names == {"record.json", "documents/c/0/0"} | chunks | arrays
    for path in files:
        good = path.read_bytes()
        for what, damaged in damages(good):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            where = f"{path.relative_to(record.folder)} {what}"
            if path.name == "record.json" and damaged is not None:
                with pytest.raises(InputError, match=str(path)):
                    Record.open_or_create(record.folder, SETTINGS, stream())
                path.write_bytes(good)
                continue
            again = Record.open_or_create(record.folder, SETTINGS, stream())
            for name in ("token_ids", "token_char_end", "documents"):
                np.testing.assert_array_equal(again.read(name), want[name], where)
            done = np.isfinite(again.read("nll"))
            np.testing.assert_array_equal(again.read("nll")[done], want["nll"][done], where)
            if not path.is_relative_to(record.folder / "nll" / "c") and path.name != "record.json":
                assert done.sum() == N - 1, where
            score_all(again)
            np.testing.assert_array_equal(again.read("nll"), want["nll"], where)


@pytest.mark.parametrize("name", ["nll", "token_ids", "documents"])
def test_a_terabyte_is_not_read(record, name):
    score_all(record)
    want = record.read("nll")
    chunk = next(p for p in sorted((record.folder / name / "c").rglob("*")) if p.is_file())
    os.truncate(chunk, 1 << 40)
    with pytest.raises(InputError, match=f"{name} is damaged"):
        Record.open(record.folder).read(name)
    again = Record.open_or_create(record.folder, SETTINGS, stream())
    score_all(again)
    np.testing.assert_array_equal(again.read("nll"), want)


def test_a_length_that_lies_is_not_asked_for(record):
    score_all(record)
    path = record.folder / "record.json"
    meta = read_checked(path, "")
    write_checked(path, meta | {"n_tokens": 1 << 40})
    for name in ("nll", "token_ids", "token_char_end"):
        array = record.folder / name / "zarr.json"
        array.write_text(json.dumps(json.loads(array.read_text()) | {"shape": [1 << 40]}))
        with pytest.raises(InputError, match="is damaged"):
            Record.open(record.folder).read(name)


@pytest.mark.parametrize("name", ["nll", "token_ids", "documents"])
def test_a_reader_names_what_is_damaged(record, name):
    score_all(record)
    chunk = next(p for p in sorted((record.folder / name / "c").rglob("*")) if p.is_file())
    data = bytearray(chunk.read_bytes())
    data[20] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(InputError, match=rf"{name} is damaged .*{chunk}"):
        Record.open(record.folder).read(name)
    if name != "nll":
        chunk.unlink()
        with pytest.raises(InputError, match=f"{name} is damaged .a chunk is missing"):
            Record.open(record.folder).read(name)


def test_chunks_of_a_record_at_rest_that_changed_places(record):
    """Each has its own checksum: only their digests tell."""
    n = 3 * 65_536
    record = Record.open_or_create(record.folder.with_name("long"), SETTINGS, stream(n))
    record.write(1, loss(1, 2 * 65_536 + 100))
    record.seal()
    chunks = [record.folder / "nll" / "c" / str(i) for i in range(2)]
    data = [chunk.read_bytes() for chunk in chunks]
    for chunk, other in zip(chunks, data[::-1], strict=True):
        chunk.write_bytes(other)
    with pytest.raises(InputError, match=r"nll is damaged .a chunk is missing, or is"):
        Record.open(record.folder).read("nll")
    again = Record.open_or_create(record.folder, SETTINGS, stream(n))
    done = np.isfinite(again.read("nll"))
    assert done.nonzero()[0].tolist() == list(range(2 * 65_536, 2 * 65_536 + 100))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has files that fail as a bad disk does")
def test_what_cannot_be_read_is_kept(record):
    """A disk that fails for a while is no reason to throw away what it holds."""
    score_all(record)
    chunk = record.folder / "nll" / "c" / "0"
    chunk.unlink()
    chunk.symlink_to("/proc/self/mem")
    with pytest.raises(InputError, match=rf"{record.folder}: .*Errno 5\] Input/output error.*fix"):
        Record.open_or_create(record.folder, SETTINGS, stream())
    assert chunk.is_symlink()


def test_a_record_that_vanishes(record):
    record.folder.rename(record.folder.with_name("away"))
    with pytest.raises(InputError, match=f"{record.folder} has vanished"):
        record.write(1, np.zeros(5, np.float32))
    assert not record.folder.exists()


def test_other_settings_are_named(record):
    other = {"stride": 41, "corpora": {"text": "1f"}, "samples": 3}
    with pytest.raises(InputError, match=r"other settings \(samples, stride differ\)"):
        Record.open_or_create(record.folder, other, stream())
    assert Record.open_or_create(record.folder, SETTINGS, stream()).meta == record.meta
    ids = stream().token_ids[::-1]
    with pytest.raises(InputError, match="other tokens"):
        Record.open_or_create(record.folder, SETTINGS, dataclasses.replace(stream(), token_ids=ids))


def test_an_unfinished_record_is_made_anew(record):
    (record.folder / "record.json").unlink()
    again = Record.open_or_create(record.folder, SETTINGS, stream(50))
    assert len(again.read("nll")) == 50


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read"),
        ("[]", "no checksum"),
        ('{"version": 1}', "no checksum, as another version of jaxbpc"),
        ('{"version": 2', "cannot be read"),
        ('{"version": 2, "checksum": "1f"}', "wrong checksum"),
    ],
)
def test_what_is_no_record(record, content, words):
    (record.folder / "record.json").write_text(content)
    with pytest.raises(InputError, match=rf"{record.folder}/record.json: .*{words}"):
        Record.open(record.folder)
    with pytest.raises(InputError, match=f"{words}.*: remove {record.folder}"):
        Record.open_or_create(record.folder, SETTINGS, stream())


def test_a_record_of_another_version(record):
    meta = read_checked(record.folder / "record.json", "")
    write_checked(record.folder / "record.json", meta | {"version": 3})
    with pytest.raises(InputError, match=r"record\.json: version 3, this jaxbpc reads 2: give"):
        Record.open(record.folder)


def test_json_is_written_whole(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert (tmp_path / "x.json").read_text() == '{\n "a": 1\n}\n'
