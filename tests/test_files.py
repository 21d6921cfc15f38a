"""One's own text to a corpus, counted again by other means."""

import bz2
import collections
import csv
import gzip
import io
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import sysconfig
import time
import tokenize

import pytest

from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.prepare import dedup, files, filters, sample
from jaxbpc.prepare.readers import inputs, pieces

WORDS = ["the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "are", "as"]


def prose(seed, n=60):
    """Words drawn at random."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) + str(draw.randrange(50)) for _ in range(n))


def rows(out, name="mine"):
    """A corpus's rows, read as plain JSON lines."""
    with open(out / f"{name}.jsonl", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def texts(out, name="mine"):
    """A corpus's texts."""
    return [row["content"] for row in rows(out, name)]


def make(given, out, workers=1, name="mine", **options):
    """Runs `files`; what is no option of the whole is one of the documents'."""
    whole = {f.name for f in files.dataclasses.fields(files.Options)}
    each = {k: options.pop(k) for k in list(options) if k not in whole}
    near = options.get("near") is not None
    settings = files.Options(documents=filters.Options(near=near, **each), **options)
    return files.files([str(g) for g in given], out, name, settings, workers)


def library(packages):
    """The texts of the interpreter's own modules, by os.walk and open, duplicates dropped."""
    found = {}
    for folder, folders, names in os.walk(packages):
        folders.sort()
        for name in sorted(names):
            if not name.endswith(".py") or name.startswith("."):
                continue
            with open(os.path.join(folder, name), "rb") as file:
                data = file.read()
            try:
                encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
                text = data.decode(encoding)
            except (SyntaxError, UnicodeDecodeError):
                continue
            if text:
                found.setdefault(text, os.path.relpath(os.path.join(folder, name), packages))
    return found


@pytest.mark.parametrize(
    ("package", "workers"),
    [
        ("json", 1),
        pytest.param("", 2, marks=pytest.mark.long),
    ],
)
def test_the_standard_library(tmp_path, package, workers):
    top = os.path.join(sysconfig.get_paths()["stdlib"], package)
    manifest = make([top], tmp_path, workers, include=("*.py",), exclude=("site-packages/*",))
    want = {t: n for t, n in library(top).items() if not n.startswith("site-packages")}
    got = rows(tmp_path)
    unsure = {row["content"] for row in got} - set(want)  # their encoding was detected
    assert len(unsure) <= 0.005 * len(got)
    got = [row for row in got if row["content"] not in unsure]
    assert [(r["content"], r["meta"]["source"]) for r in got] == list(want.items())
    assert manifest["characters"] == sum(map(len, [*want, *unsure]))
    assert manifest["bytes"] == sum(len(t.encode()) for t in [*want, *unsure])
    assert manifest["seen"] == manifest["documents"] + sum(manifest["dropped"].values())


def parquet(path, table, row_group_size=3):
    """Writes a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table(table), path, row_group_size=row_group_size)


@pytest.fixture
def tree(tmp_path):
    """A folder of every kind of file, and the texts that are in it, in order."""
    top = tmp_path / "tree"
    (top / "b").mkdir(parents=True)
    (top / ".git").mkdir()
    want = []

    def add(name, data, *its_texts):
        (top / name).write_bytes(data)
        want.extend(its_texts)

    add("a.txt", b"one\r\ntwo \n\n", "one\r\ntwo \n\n")
    add("a1.txt", "\ufeffmark \u2028 \U0001d465".encode(), "mark \u2028 \U0001d465")
    add("a2.md", "sixteen: Grüße".encode("utf-16"), "sixteen: Grüße")
    latin = "# -*- coding: latin-1 -*-\nname = 'Grüße'\n"
    add("a3.py", latin.encode("latin-1"), latin)
    russian = "Привет, как дела? Это русский текст о погоде. " * 20
    add("a4.rst", russian.encode("cp1251"), russian)
    add("a5.tex.gz", gzip.compress(b"\\alpha"), "\\alpha")
    add("a6.txt.xz", lzma.compress(b"xz"), "xz")
    add("a7.txt.bz2", bz2.compress(b"bz2"), "bz2")
    zstd = inputs.zstd().compress
    add("a8.txt.zst", zstd(b"two ") + zstd(b"frames"), "two frames")
    lines = [{"text": "first\u2028line"}, {"content": "second", "text": "other"}]
    data = b"\xef\xbb\xbf" + "\n \n".join(json.dumps(r, ensure_ascii=False) for r in lines).encode()
    add("c.jsonl", data, "first\u2028line", "second")
    add("d.json", json.dumps([{"content": "[,] in"}, {"content": "an array"}]).encode())
    want += ["[,] in", "an array"]
    add("d1.json", b'{"content":\n "pretty"}\n{"content": "and more"}', "pretty", "and more")
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerows([["n", "text"], [1, 'lines\nand "quotes"'], [2, "comma, comma"]])
    add(
        "e.csv.zst", zstd(out.getvalue().encode("utf-8-sig")), 'lines\nand "quotes"', "comma, comma"
    )
    add("e1.tsv", b"text\tn\ntab\t1\n", "tab")
    table = {"text": [f"row {i}" for i in range(7)], "n": list(range(7))}
    parquet(top / "f.parquet", table)
    want += table["text"]
    page = "<meta charset=latin-1><title>A  page</title><p>Grüße &amp; more words of it.</p>"
    add("g.html", page.encode("latin-1"), "Grüße & more words of it.")
    add("h.bin", bytes(range(256)))
    add(".hidden.txt", b"hidden")
    add(".git/x.txt", b"hidden")
    add(
        "b/z.txt",
        b"last, a folder after its parent's files",
        "last, a folder after its parent's files",
    )
    return top, want


def test_every_kind_of_file(tree, tmp_path):
    top, want = tree
    manifest = make([top], tmp_path / "out")
    assert texts(tmp_path / "out") == want
    assert manifest["files_skipped"] == {".bin": 1}
    assert manifest["documents"] == len(want)
    assert manifest["characters"] == sum(map(len, want))
    file = tmp_path / "out" / "mine.jsonl"
    assert manifest["sha256"] == corpora.file_sha256(file)
    assert [d.text for d in corpora.documents(file)] == want
    meta = {row["content"]: row["meta"] for row in rows(tmp_path / "out")}
    assert meta["Grüße & more words of it."] == {"source": "g.html", "title": "A page"}
    assert meta["row 5"] == {"source": "f.parquet", "row": 5}
    assert meta["second"] == {"source": "c.jsonl", "row": 2}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "mine.jsonl",
        "mine.manifest.json",
    ]


@pytest.mark.long
def test_processes_do_not_change_it(tree, tmp_path):
    for workers in (1, 2):
        make([tree[0]], tmp_path / str(workers), workers, sample=60, seed=3, near=0.9)
    assert texts(tmp_path / "1") == texts(tmp_path / "2")


def test_patterns_and_globs(tree, tmp_path):
    top, _ = tree
    make([top], tmp_path / "o", include=("*.txt", "b/*"), exclude=("a1*",))
    assert texts(tmp_path / "o")[0] == "one\r\ntwo \n\n"
    assert len(texts(tmp_path / "o")) == 2
    make([top / "**/z.*", top / "a8.txt.zst"], tmp_path / "p")
    assert [row["content"] for row in rows(tmp_path / "p")][1] == "two frames"


def test_filters(tmp_path):
    german = "Dies ist ein deutscher Satz über das Wetter von gestern und heute. "
    english = "This is an English sentence about the weather of yesterday and today. "
    lines = [
        {"text": english, "when": "2024-03-01T10:00:00Z", "title": "T"},
        {"text": english + "a", "when": 1709251200},
        {"text": english + "b", "when": "Fri, 01 Mar 2024 10:00:00 +0100"},
        {"text": english + "c", "when": "2024-02"},
        {"text": english + "d", "when": "2025"},
        {"text": english + "e"},
        {"text": german, "when": "2024-03-02"},
        {"text": "", "when": "2024-03-02"},
        {"text": "short", "when": "2024-03-02"},
        {"text": english * 30, "when": "2024-03-02"},
        {"text": "half \ud800" + english, "when": "2024-03-02"},
        {"text": None, "when": "2024-03-02"},
        ["no object"],
        {"when": "2024-03-02"},
        {"text": english, "when": "2024-03-03"},
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\nno json\n")
    limits = {"min_characters": 10, "max_characters": 1000}
    dates = {"since": "2024-03-01", "until": "2024-12-31", "date_column": "when"}
    manifest = make([path], tmp_path, languages=("en",), **limits, **dates)
    assert texts(tmp_path) == [english, english + "a", english + "b"]
    assert {row["date"] for row in rows(tmp_path)} == {"2024-03-01"}
    assert rows(tmp_path)[0]["meta"]["title"] == "T"
    assert manifest["seen"] == 16
    assert manifest["dropped"] == {
        "duplicate": 1,
        "empty": 1,
        "no_date": 1,
        "no_text": 2,
        "not_json": 2,
        "not_unicode": 1,
        "other_language": 1,
        "out_of_dates": 2,
        "too_long": 1,
        "too_short": 1,
    }


def jaccard(a, b):
    """Of sets of 5 words on end."""
    sets = []
    for text in (a, b):
        words = text.split()
        sets.append({tuple(words[i : i + 5]) for i in range(len(words) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_near_duplicates(tmp_path):
    """Those that are far from the threshold on either side are told apart without exception."""
    lines = []
    for i in range(40):
        words = prose(i, 400).split()
        near, far = list(words), list(words)
        near[200] = "changed"
        far[::20] = ["changed"] * len(far[::20])
        lines += [" ".join(words), " ".join(near), " ".join(far)]
        assert jaccard(lines[-3], lines[-2]) > 0.95
        assert jaccard(lines[-3], lines[-1]) < 0.65
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    manifest = make([path], tmp_path, near=0.8)
    assert texts(tmp_path) == [line for i, line in enumerate(lines) if i % 3 != 1]
    assert manifest["dropped"] == {"near_duplicate": 40}


def pair(name, similarity, n=240):
    """Two texts of `n` words or more that are exactly, or by less than 0.005, that similar."""
    n_own = round(n * (1 - similarity) / (2 * similarity))
    same = [f"{name}w{i}" for i in range(n + 4)]
    both = [" ".join(same + [f"{name}{side}{i}" for i in range(n_own)]) for side in "ab"]
    assert jaccard(*both) == pytest.approx(similarity, abs=0.005)
    return both


def n_found(folder, threshold, pairs, before=()):
    """How many pairs are told to be one, after other documents that are not."""
    with dedup.Near(folder / "near", threshold) as near:
        texts = [*before, *(text for both in pairs for text in both)]
        new = [near.is_new(one) for one in dedup.signatures(texts)]
    assert all(new[: len(before)])
    new = new[len(before) :]
    assert all(new[::2])
    return new[1::2].count(False)


@pytest.mark.parametrize("threshold", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_near_duplicates_are_found_as_promised(tmp_path, threshold):
    at, above, below = (
        n_found(tmp_path, threshold, [pair(f"p{i}", threshold + step) for i in range(200)])
        for step in (0.0, 0.0999, -0.0999)
    )
    assert above >= 190
    assert 60 <= at <= 160  # an estimate is as often below as above
    assert below <= 10


def test_near_duplicates_among_documents_that_have_something_in_common(tmp_path):
    """What all share, a third of each, hides none: only similarity counts."""
    common = " ".join(f"c{i}" for i in range(84))
    crowd = [f"{common} " + " ".join(f"x{k}w{i}" for i in range(160)) for k in range(400)]
    assert 0.15 < jaccard(*crowd[:2]) < 0.25
    pairs = [[f"{common} {text}" for text in pair(f"p{i}", 0.6)] for i in range(50)]
    assert n_found(tmp_path, 0.5, pairs, crowd) >= 48


@pytest.mark.parametrize("characters", [1, 1000, 40_000, 10**9])
def test_sample(tmp_path, characters):
    lines = [prose(i, 5 + i % 60) for i in range(500)]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    chosen = []
    for seed in (0, 1):
        make([path], tmp_path, name=f"s{seed}", sample=characters, seed=seed)
        got = texts(tmp_path, f"s{seed}")
        positions = [lines.index(text) for text in got]
        assert positions == sorted(positions)
        total = sum(map(len, got))
        assert total >= min(characters, sum(map(len, lines)))
        assert total - characters < max(map(len, lines))
        chosen.append(got)
    if 1 < characters < 10**9:
        assert chosen[0] != chosen[1]


def test_a_sample_is_that_of_the_smallest_numbers(tmp_path):
    lengths = [random.Random(i).randrange(1, 100) for i in range(2000)]
    with sample.Sample(tmp_path / "s", 20_000, 7) as chosen:
        for i, n in enumerate(lengths):
            chosen.add(f"k{i}", f"{i}\n".encode(), n, n)
        got = [int(line) for line, _, _ in chosen.lines()]

    def number(i):
        import hashlib

        return hashlib.blake2b(f"7\0k{i}".encode(), digest_size=8).digest()

    want, total = [], 0
    for i in sorted(range(2000), key=number):
        if total >= 20_000:
            break
        want.append(i)
        total += lengths[i]
    assert got == sorted(want)


def test_of_equal_numbers_the_first_are_taken(tmp_path):
    with sample.Sample(tmp_path / "s", 25, 7) as chosen:
        for i in range(20):
            chosen.add("the same", f"{i}\n".encode(), 10, 10)
        assert [int(line) for line, _, _ in chosen.lines()] == [0, 1, 2]


@pytest.mark.parametrize("form", ["folders", "files", "glob"])
def test_a_sample_of_inputs_with_equal_names(tmp_path, form):
    """No two documents are drawn together, and where the folders lie does not matter."""
    chosen = []
    for top in (tmp_path / "here", tmp_path / "there" / "below"):
        for i in range(40):
            folder = top / f"r{i}"
            folder.mkdir(parents=True)
            for name in ("README.md", f"only{i}.md"):
                (folder / name).write_text(f"{i} {name} ".ljust(1000, "."))
        given = {
            "folders": [top / f"r{i}" for i in range(40)],
            "files": [top / f"r{i}" / n for i in range(40) for n in ("README.md", f"only{i}.md")],
            "glob": [top / "*" / "*.md"],
        }[form]
        out = tmp_path / f"out {top.name}"
        for seed in range(6):
            make(given, out, name=f"s{seed}", sample=10_000, seed=seed)
        chosen.append([texts(out, f"s{seed}") for seed in range(6)])
    assert chosen[0] == chosen[1]
    assert {len(drawn) for drawn in chosen[0]} == {10}
    # Half of them, with a standard deviation of 3.7.
    assert 10 < sum("README" in text for drawn in chosen[0] for text in drawn) < 50


def test_rows_of_equal_numbers_are_drawn_apart(tmp_path):
    for folder in "AB":
        (tmp_path / folder).mkdir()
        lines = [json.dumps({"text": f"{folder}{i} ".ljust(100, ".")}) for i in range(200)]
        (tmp_path / folder / "x.jsonl").write_text("\n".join(lines))
    make([tmp_path / "A" / "x.jsonl", tmp_path / "B" / "x.jsonl"], tmp_path, sample=10_000)
    drawn = {folder: {t[1:4] for t in texts(tmp_path) if t[0] == folder} for folder in "AB"}
    assert sum(map(len, drawn.values())) == 100
    # 50 of 200 twice have 12.5 in common, with a standard deviation of 2.7.
    assert len(drawn["A"] & drawn["B"]) < 30


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    compress = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
    compress[".zst"] = inputs.zstd().compress
    data = compress[suffix](prose(0, 5000).encode())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"cut.txt{suffix}").write_bytes(data[:-9])
    with pytest.raises(InputError, match=r"cut\.txt\.\w+: cannot be read .*--exclude"):
        make([tmp_path / "in"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b"[1, 2]", r"a\.json: its values are no objects"),
        ("a.json", b'[{"text": "a"}, {"text": ', r"a\.json: not JSON"),
        (
            "a.json",
            b'[{"text": "a"}, {"text": "b"},',
            r"a\.json: not JSON \(its array is not closed",
        ),
        ("a.json", b'[{"text": "a"}', r"a\.json: not JSON \(its array is not closed"),
        ("a.json", b'{"text": "a"}]', r"a\.json: not JSON \(there is more after"),
        ("a.json", b"[" * 100_000, r"a\.json: not JSON \(maximum recursion"),
        ("a.json", b'{"text": %s}' % (b"1" * 5000), r"a\.json: not JSON \(Exceeds the limit"),
        ("a.json", b'[{"text": "a"}] {"text": "b"}', r"a\.json: not JSON \(there is more after"),
        ("a.jsonl", b'{"body": "a"}', r"no column content or text but body.*--text_column"),
        ("a.csv", b"text,n\na,1,2\n", r"a\.csv: cannot be read \(line 2"),
        ("a.parquet", b"PAR1", r"a\.parquet: cannot be read"),
        ("a.pdf", b"%PDF", r"a\.pdf: of no known kind"),
        ("a.txt", b"", r"no document is left: 1 empty"),
    ],
)
def test_bad_input(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        make([tmp_path / name], tmp_path / "out")


def test_what_is_known_of_rows(tmp_path):
    """Subsets stay, by their own column or another; a column that no row has is an error."""
    lines = [{"text": prose(i), "subset": "ab"[i % 2], "kind": "xy"[i // 2]} for i in range(4)]
    del lines[0]["kind"]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    for column, want in ((None, ["a", "b", "a", "b"]), ("kind", [None, "x", "y", "y"])):
        make([path], tmp_path / str(column), subset_column=column)
        assert [row.get("subset") for row in rows(tmp_path / str(column))] == want
    for usual in ("date", "title", "subset"):
        with pytest.raises(InputError, match=f"no column nope but text, .*--{usual}_column"):
            make([path], tmp_path / "bad", **{f"{usual}_column": "nope"})


def test_rows_of_any_size(tmp_path, monkeypatch):
    """However blocks end within rows, the rows are the same; one that is too long is told."""
    lines = [{"content": prose(i, 1 + 7 * (i % 5)), "é": i} for i in range(200)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "a.json").write_text(json.dumps(lines, ensure_ascii=False, indent=1))
    for size in (7, 100, 1000):
        monkeypatch.setattr(pieces, "SIZE", size)
        for name in ("a.jsonl", "a.json"):
            out = tmp_path / f"{name}{size}"
            make([tmp_path / name], out, exact=False)
            assert texts(out) == [line["content"] for line in lines]
    monkeypatch.setattr(pieces, "SIZE", 64)
    monkeypatch.setattr(pieces, "LIMIT", 300)
    long = [{"content": "a"}, {"content": "b" * 500}, {"content": "c"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, long)))
    manifest = make([tmp_path / "b.jsonl"], tmp_path / "long")
    assert [(r["content"], r["meta"]["row"]) for r in rows(tmp_path / "long")] == [
        ("a", 0),
        ("c", 2),
    ]
    assert manifest["dropped"] == {"too_long": 1}


@pytest.mark.long
def test_a_hub_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    lines = [{"text": f"t{i}", "date": "2024-01-02"} for i in range(5)]
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    make([f"hub:{tmp_path / 'set'}"], tmp_path)
    assert texts(tmp_path) == [line["text"] for line in lines]
    assert rows(tmp_path)[0]["date"] == "2024-01-02"
    with pytest.raises(InputError, match=r"hub:.*absent: cannot be read"):
        make([f"hub:{tmp_path / 'absent'}"], tmp_path / "o")


def command(*flags, **kwargs):
    """The command as a process."""
    line = [sys.executable, "-m", "jaxbpc.prepare", "files", *map(str, flags)]
    return subprocess.run(line, capture_output=True, text=True, check=False, **kwargs)


def test_the_command(tree, tmp_path):
    done = command(tree[0], "--name=mine", f"--out={tmp_path / 'out'}", "--workers=2")
    assert done.returncode == 0, done.stderr
    assert texts(tmp_path / "out") == tree[1]
    counts = collections.ChainMap(dict(line.rsplit(None, 1) for line in done.stdout.splitlines()))
    assert counts["documents"] == str(len(tree[1]))
    again = command(tree[0], "--name=mine", f"--out={tmp_path / 'out'}")
    assert again.returncode == 2
    assert again.stderr.startswith("error: ")
    assert "is there already" in again.stderr


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again(tmp_path, number):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": prose(i, 500)}) + "\n" for i in range(20_000)))
    out = tmp_path / "out"
    flags = [path, "--name=mine", f"--out={out}", "--workers=2", "--sample=1000000"]
    line = [sys.executable, "-m", "jaxbpc.prepare", "files", *map(str, flags)]
    process = subprocess.Popen(line, stderr=subprocess.PIPE)
    part = out / ".mine.jsonl.part.sample"
    while process.poll() is None and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=30)  # to the end of stderr: no worker outlives it
    assert process.returncode == (-9 if number == signal.SIGKILL else 75)
    assert not (out / "mine.jsonl").exists()
    assert bool(list(out.iterdir())) == (number == signal.SIGKILL)
    assert command(*flags).returncode == 0
    make([path], tmp_path / "whole", sample=1_000_000)
    assert texts(out) == texts(tmp_path / "whole")
    assert len(list(out.iterdir())) == 2
