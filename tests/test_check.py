"""`prepare check`, counted again by plain loops."""

import datetime
import gzip
import json
import random

import pytest
import tiny
import warm
from tokenizers import AddedToken

from jaxbpc.data import compressors, corpora, tokens
from jaxbpc.errors import InputError
from jaxbpc.prepare import check, filters, overlap
from jaxbpc.prepare.readers import inputs, pieces


def text(seed, n):
    """Letters, spaces and line ends at random."""
    draw = random.Random(seed)
    return "".join(draw.choice("abcdefgh é𝑥 \n\t") for _ in range(n))


def windows(of):
    """The set of a text's 50 characters on end."""
    of = " ".join(of.split())
    return [of[i : i + 50] for i in range(max(1, len(of) - 49))] if of else []


def test_counts(tmp_path):
    texts = [text(i, 1 + (37 * i) % 900) for i in range(100)]
    rows = [
        json.dumps({"content": t, "date": f"2024-01-{1 + i % 9:02}"}) for i, t in enumerate(texts)
    ]
    rows += [json.dumps({"content": texts[3]}), json.dumps({"content": ""})]
    data = b"\xef\xbb\xbf" + "\r\n".join(rows).encode() + b"\n\n"
    data += (
        b'{"content": "\xff"}\n{"text": "a"}\n[1]\n"a"\n{"content": "\\ud800"}\n{"content": 1}\n{'
    )
    path = tmp_path / "mine.jsonl"
    path.write_bytes(data)
    found = check.check(str(path))
    want = [*texts, texts[3]]
    assert found["documents"] == 101
    assert found["empty_documents"] == 1
    assert found["duplicates"] == 1
    assert found["characters"] == sum(map(len, want))
    assert found["bytes"] == sum(len(t.encode()) for t in want)
    assert found["rows"] == 109
    assert found["refused"] == {"no_text": 2, "not_json": 3, "not_unicode": 1, "not_utf8": 1}
    assert found["first_refused"] == {
        "no_text": 103,
        "not_json": 104,
        "not_unicode": 106,
        "not_utf8": 102,
    }
    assert found["dates"] == ["2024-01-01", "2024-01-09"]
    assert found["dated_documents"] == 100
    assert sum(n for _, _, n in found["lengths"]) == 101
    for low, high, n in found["lengths"]:
        assert n == sum(low <= len(t) <= high for t in want)
    told = check.table(found)
    assert "rows that are not UTF-8                              1, refused, row 102 first" in told
    zipped = tmp_path / "mine.jsonl.gz"
    zipped.write_bytes(gzip.compress(data))
    assert check.check(str(zipped)) == found | {"corpus": str(zipped)}


ROW = b'{"content": "a"}'
BIG = 10_000_001
CORPORA = {
    "lines": (b"\n".join([ROW] * 3), {}),
    "an array on a line": (b"[%s, %s]\n" % (ROW, ROW), {}),
    "an array over lines": (b"[\n %s,\n %s\n]\n" % (ROW, ROW), {}),
    "an empty array": (b"[]", {}),
    "a broken array": (b"[%s, %s, {" % (ROW, ROW), {"not_json": 2}),
    "an array that is not closed": (b"[%s, " % ROW, {"not_json": 1}),
    "more after an array": (b"[%s] %s" % (ROW, ROW), {"not_json": 1}),
    "an array of arrays": (b"[%s, [1], null]" % ROW, {"not_json": 1}),
    "a key twice": (b'%s\n{"content": "a", "content": "b"}' % ROW, {"not_json": 1}),
    "a long document": (b'%s\n{"content": "%s"}' % (ROW, b"a" * BIG), {"too_long": 1}),
    "half a surrogate in subset": (
        b'%s\n{"content": "a", "subset": "\\ud800"}' % ROW,
        {"not_unicode": 1},
    ),
    "Latin-1": (b'%s\n{"content": "\xe9"}' % ROW, {"not_utf8": 1}),
    "an array in Latin-1": (b'[{"content": "\xe9"}]', {"not_utf8": 0}),
    "UTF-16": ('{"content": "a"}'.encode("utf-16"), {"not_utf8": 0}),
    "an object over lines": (b'{\n "content": "a"\n}', {"not_json": 0}),
    "a form feed": (b"%s\n\x0c\n" % ROW, {"not_json": 1}),
    "blank lines": (b"\n \t\r\n%s\n\n[1]\n" % ROW, {"not_json": 1}),
    "no column": (b'%s\n\n{"text": "a"}' % ROW, {"no_text": 1}),
}


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize("name", CORPORA)
def test_it_takes_and_refuses_what_the_evaluator_does(tmp_path, name, suffix):
    data, first_refused = CORPORA[name]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    taken, refused = 0, False
    try:
        for _ in corpora.documents(path):
            taken += 1
    except InputError:
        refused = True
    for block in (20, 1 << 20)[len(data) > 1000 :]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "SIZE", block)
            found = check.check(str(path))
        assert found["first_refused"] == first_refused
        assert refused == bool(first_refused)
        if refused:
            assert min(first_refused.values()) == taken
        else:
            assert found["documents"] == found["rows"] == taken


@pytest.mark.long
def test_an_array_and_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "SIZE", 20_000)
    texts = [text(i, 2000) for i in range(300)]
    tiny.write_corpus(tmp_path / "a.jsonl", texts)
    (tmp_path / "b.json").write_text(json.dumps([{"content": t} for t in texts]))
    want = check.check(str(tmp_path / "a.jsonl"), against=str(tmp_path / "b.json"))
    assert want["against"]["shared_documents"] == 300
    for workers in (1, 2):
        got = check.check(
            str(tmp_path / "b.json"), against=str(tmp_path / "a.jsonl"), workers=workers
        )
        assert got["lengths"] == want["lengths"]
        assert got["against"] == want["against"] | {"corpus": str(tmp_path / "a.jsonl")}


@pytest.mark.parametrize("most", [1 << 22, 20_000])
def test_overlap(tmp_path, monkeypatch, most):
    """All of the windows where the corpora are small, and of a sample what statistics allow."""
    other = [text(i, 700) for i in range(60)]
    this = [text(1000 + i, 700) for i in range(40)]
    this += [other[5], other[6], other[7] + text(5000, 300), text(5001, 900) + other[8][:400]]
    this += ["  ".join(other[9].split()), "short", "ab"]
    other += ["short"]
    tiny.write_corpus(tmp_path / "this.jsonl", this)
    tiny.write_corpus(tmp_path / "other.jsonl", other)
    monkeypatch.setattr(overlap, "MOST", most)
    found = check.check(str(tmp_path / "this.jsonl"), against=str(tmp_path / "other.jsonl"))
    known = {w for t in other for w in windows(t)}
    each = [[w in known for w in windows(t)] for t in this]
    share = sum(map(sum, each)) / sum(map(len, each))
    got = found["against"]
    assert got["shared_documents"] == 3
    if most == 1 << 22:
        assert got["windows_looked_at"] == sum(map(len, each))
        assert got["shared_windows"] == share
        assert got["documents_half_shared"] == sum(2 * sum(e) >= len(e) for e in each) == 5
    else:
        n = got["windows_looked_at"]
        assert 0.2 < n / sum(map(len, each)) < 0.7
        assert got["shared_windows"] == pytest.approx(share, abs=5 * (share / n) ** 0.5)


def test_tokens_and_baselines(tmp_path):
    folder = tiny.make_model(tmp_path / "model")
    tokenizer = tokens.load_tokenizer(folder)
    tokenizer.backend_tokenizer.add_special_tokens([AddedToken("<s>", special=True)])
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    texts = ["Grüße", "", "a<s>b", "<s>" * 3]
    tiny.write_corpus(tmp_path / "a.jsonl", texts)
    found = check.check(str(tmp_path / "a.jsonl"), str(folder), with_baselines=True)
    assert found["tokens"]["tokens"] == len("Grüße".encode()) + 3 + 3
    assert found["tokens"]["special_tokens_in_text"] == 4
    assert found["tokens"]["first_row_special"] == 2
    assert found["tokens"]["documents_not_restored"] == 0
    assert found["baselines"] == compressors.measure(corpora.documents(tmp_path / "a.jsonl"))
    assert "special tokens in text                               4, row 2 first" in check.table(
        found
    )
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"content": "a"}'))
    with pytest.raises(InputError, match="decompress"):
        check.check(str(tmp_path / "a.jsonl.gz"), str(folder))


def test_a_wrong_tokenizer_is_told_before_the_text_is_read(tmp_path, monkeypatch):
    tiny.write_corpus(tmp_path / "a.jsonl", ["text"])
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(check, "_tallies", lambda *_: pytest.fail("the text was read"))
    for name, message in (("absent", "does not exist"), ("empty", "cannot be loaded")):
        with pytest.raises(InputError, match=message):
            check.check(str(tmp_path / "a.jsonl"), str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.jsonl", "does not exist"),
        ("a.txt", "a corpus is a .jsonl or .json"),
        ("", "corpus is"),
    ],
)
def test_what_is_no_corpus(tmp_path, name, message):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.md").write_text("text")
    with pytest.raises(InputError, match=message):
        check.check(str(tmp_path / name))


def test_an_empty_corpus(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    found = check.check(str(tmp_path / "a.jsonl"), against=str(tmp_path / "a.jsonl"))
    assert found["documents"] == found["rows"] == 0
    assert found["against"]["shared_windows"] is None
    assert "documents" in check.table(found)


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2024-03-31", "2024-03-31"),
        ("2024-03-31T23:59:59Z", "2024-03-31"),
        ("2024-06", "2024-06-01"),
        ("2024", "2024-01-01"),
        (2024, "2024-01-01"),
        ("2024/06/07", "2024-06-07"),
        ("Mon, 20 Nov 1995 19:12:08 -0500", "1995-11-20"),
        ("20240105", "2024-01-05"),
        (20240105, "2024-01-05"),
        (20240105.0, "2024-01-05"),
        (20241305, None),  # no such month
        (20240230, None),
        (12345678, None),
        (202403, "2024-03-01"),
        (202403.0, "2024-03-01"),
        (195001, "1950-01-01"),
        (202413, None),
        (240105, None),  # YYMMDD
        (202403.5, None),
        (17, None),
        (0, None),
        (631151999, None),  # the last second of 1989
        (631152000, "1990-01-01"),
        (631151999000, None),
        (202403051230, None),  # YYYYMMDDHHMM, 1976 as milliseconds
        (-86400, "1969-12-31"),
        (1704067200, "2024-01-01"),
        (1704067200000, "2024-01-01"),
        ("yesterday", None),
        ("1 Jan 99999999999999999999 00:00:00", None),
        ("", None),
        (True, None),
        ([2024], None),
        (float("inf"), None),
        (10**400, None),
        (None, None),
    ],
)
def test_dates_are_the_same_everywhere(tmp_path, value, day):
    """To `check`, to `files`, and to the evaluator."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"content": "text", "date": value}) + "\n")
    found = check.check(str(path))
    assert found["dates"] == (None if day is None else [day, day])
    assert found["dated_documents"] == (day is not None)
    is_fault = day is None and value not in (None, "")
    assert found["unreadable_dates"] == is_fault
    assert ("unreadable date" in check.table(found)) == is_fault
    (piece,) = pieces.pieces([next(inputs.find([str(path)]))])
    (made,) = filters.process(piece, filters.Options())
    assert json.loads(made.line).get("date") == day
    (document,) = corpora.documents(path)
    want = -1 if day is None else datetime.date.fromisoformat(day).toordinal()
    assert document.date == want


def test_compressors_are_of_the_corpus_itself(tmp_path):
    tiny.write_corpus(tmp_path / "a.jsonl", tiny.TEXTS)
    tiny.write_corpus(tmp_path / "b.jsonl", tiny.TEXTS[:1])
    found = check.check(str(tmp_path / "a.jsonl"), against=str(tmp_path / "b.jsonl"))
    own, _, other = check.table(found | {"baselines": {"gzip": 2.5}}).partition("\nin ")
    assert "gzip, bits per character" in own
    assert "gzip" not in other


@pytest.mark.smoke
def test_the_command(tmp_path):
    tiny.write_corpus(tmp_path / "a.jsonl", tiny.TEXTS)
    line = ["check", tmp_path / "a.jsonl", f"--json={tmp_path / 'out.json'}", "--workers=1"]
    done = warm.run("jaxbpc.prepare", *line)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert check.table(found) == done.stdout.rstrip("\n")
    assert found["characters"] == sum(map(len, tiny.TEXTS))
