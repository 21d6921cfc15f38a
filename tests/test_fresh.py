"""Fresh corpora end to end: dates, duplicates, samples, a command that was stopped."""

import dataclasses
import datetime
import functools
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time

import pytest
from test_git import Repository, code
from test_wet import pages, record

from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.prepare import fresh
from jaxbpc.utils import dates

OPTIONS = fresh.Options("wet", datetime.date(2024, 3, 31))
make = functools.partial(fresh.fresh, workers=1)


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.fixture
def crawl(tmp_path):
    """Three files of 4 pages; two pages are there twice."""
    text = pages(10)
    folder = tmp_path / "crawl"
    folder.mkdir()
    for n, own in enumerate([text[:4], text[3:7], [text[7], text[0], text[8], text[9]]]):
        data = b"".join(record(page) for page in own)
        (folder / f"CC-MAIN-{n}.warc.wet.gz").write_bytes(data)
    (folder / "readme.txt").write_text("no WET file")
    return folder


def test_days():
    assert dates.day("--after", "2024-02", last=True) == datetime.date(2024, 2, 29)
    assert dates.day("--after", "2023-12", last=True) == datetime.date(2023, 12, 31)
    assert dates.day("--before", "2024-02") == datetime.date(2024, 2, 1)
    assert dates.day("--before", "2024-02-03") == datetime.date(2024, 2, 3)
    for text in ("2024", "2024-13", "2024-02-30", "soon", "2024-1", "9999-12"):
        with pytest.raises(InputError, match=r"--after .*give a date"):
            dates.day("--after", text, last=True)
    both = dataclasses.replace(OPTIONS, before=datetime.date(2024, 7, 1))
    wanted = {"2024-03-31": False, "2024-04-01": True, "2024-06-30": True, "2024-07-01": False}
    for text, value in wanted.items():
        assert both.wanted(datetime.date.fromisoformat(text)) is value


def test_a_corpus(crawl, tmp_path):
    manifest = make([str(crawl)], OPTIONS, tmp_path / "out", "new")
    path = tmp_path / "out" / "new.jsonl"
    assert [row["content"] for row in rows(path)] == pages(10)
    assert sorted(p.name for p in path.parent.iterdir()) == ["new.jsonl", "new.manifest.json"]
    assert json.loads((path.parent / "new.manifest.json").read_text()) == manifest
    assert manifest["seen"] == 12
    assert manifest["dropped"] == {"duplicate": 2}
    assert manifest["documents"] == 10
    assert manifest["characters"] == sum(map(len, pages(10)))
    assert manifest["sha256"] == corpora.file_sha256(path)
    assert manifest["options"]["after"] == "2024-03-31"
    # As the evaluator reads it.
    documents = list(corpora.documents(path))
    assert {d.date for d in documents} == {datetime.date(2024, 5, 1).toordinal()}
    assert {d.subset for d in documents} == {"commoncrawl"}
    with pytest.raises(InputError, match="is there already"):
        make([str(crawl)], OPTIONS, tmp_path / "out", "new")


def test_a_sample(crawl, tmp_path):
    wanted = 5 * len(pages(1)[0]) - 9
    found = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = dataclasses.replace(OPTIONS, seed=seed)
        manifest = make([str(crawl)], options, tmp_path, name, wanted)
        assert manifest["documents"] == 5
        assert manifest["dropped"] == {"duplicate": 2, "not_sampled": 5}
        found[name] = [row["content"] for row in rows(tmp_path / f"{name}.jsonl")]
    assert found["a"] == found["b"] != found["c"]
    assert found["a"] == sorted(found["a"], key=pages(10).index)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_command_that_was_stopped(crawl, tmp_path, workers):
    """What was collected is not collected again, and the corpus is that of a command not stopped.

    A pipe that nobody writes to holds the first command at its second source.
    """
    second = crawl / "CC-MAIN-1.warc.wet.gz"
    data = second.read_bytes()
    second.unlink()
    os.mkfifo(second)
    sources = [str(crawl / f"CC-MAIN-{n}.warc.wet.gz") for n in range(3)]
    command = [sys.executable, "-m", "jaxbpc.prepare", "fresh", "wet", *sources]
    command += [f"--workers={workers}"]
    command += ["--after=2024-03", f"--out={tmp_path}", "--name=new"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    done = tmp_path / ".new.parts"
    deadline = time.monotonic() + 60
    while len(list(done.glob("*.json"))) < 1 + (workers > 1) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert b"start the same command again" in process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert not (tmp_path / "new.jsonl").exists()
    second.unlink()
    second.write_bytes(data)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0
    assert f"{1 + (workers > 1)} of 3 sources were done before" in again.stderr
    assert re.search(r"^documents +10$", again.stdout, re.MULTILINE)
    assert [row["content"] for row in rows(tmp_path / "new.jsonl")] == pages(10)
    assert not done.exists()


def test_a_source_that_changed_is_read_again(crawl, tmp_path, capsys):
    one = dataclasses.replace(OPTIONS, after=datetime.date(2024, 6, 1))
    with pytest.raises(InputError, match=r"nothing new among 12 documents .12 out_of_dates"):
        make([str(crawl)], one, tmp_path, "new")
    first = crawl / "CC-MAIN-0.warc.wet.gz"
    first.write_bytes(record(pages(1)[0], date="2024-07-01T00:00:00Z"))
    capsys.readouterr()
    assert make([str(crawl)], one, tmp_path, "new")["seen"] == 9
    assert "2 of 3 sources were done before" in capsys.readouterr().err


def test_faults(crawl, tmp_path):
    for source, kind, message in (
        (tmp_path / "absent", "wet", "cannot be read .*No such"),
        (tmp_path / "absent", "git", "cannot be read .*No such"),
        (crawl, "git", "there is no clone"),
    ):
        with pytest.raises(InputError, match=message):
            make([str(source)], dataclasses.replace(OPTIONS, kind=kind), tmp_path, "x")
    for arguments in ([], ["svn", "x"], ["git"]):
        with pytest.raises(InputError, match="give one of git, arxiv, wet, and sources"):
            fresh.main(arguments)
    given = ["prepare", "--name=a", "--after=2024-03"]
    for kind, flag, message in (
        ("git", "--language=eng", "--language is of wet, not of git"),
        ("wet", "--metadata=x", "--metadata is of arxiv, not of wet"),
        ("arxiv", "--category=math", "--category needs --metadata"),
    ):
        fresh.FLAGS([*given, flag])
        with pytest.raises(InputError, match=message):
            fresh.main([kind, "x"])
        fresh.FLAGS[flag[2:].partition("=")[0]].unparse()
    command = [sys.executable, "-m", "jaxbpc.prepare", "fresh", "git", "x", "--name=a"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: give --after DATE, the model's cutoff, and --name NAME\n"


def test_clones(tmp_path):
    """Two clones that share a file but for its licence, and one without its history."""
    folder = tmp_path / "clones"
    folder.mkdir()
    for name in ("a", "b"):
        repository = Repository(folder / name)
        repository.commit("2024-01-01", {"old.py": code(1)})
        repository.commit("2024-05-01", {"new.py": f"# Licence {name}\n{code(2)}"})
        repository.commit("2024-06-01", {f"{name}.py": code(ord(name))})
    shallow = str(folder / "c")
    repository("clone", "-q", "--depth=1", f"file://{repository.path}", shallow)
    options = dataclasses.replace(OPTIONS, kind="git")
    manifest = make([str(folder)], options, tmp_path, "code")
    sources = [row["meta"]["source"].partition(":")[2] for row in rows(tmp_path / "code.jsonl")]
    assert sources == ["a.py", "new.py", "b.py"]
    assert manifest["dropped"] == {"duplicate": 1, "out_of_dates": 2}
    assert list(manifest["failed"]) == [f"{shallow}/.git"]
    with pytest.raises(InputError, match="--unshallow"):
        make([shallow], options, tmp_path, "none")


@pytest.mark.long
def test_processes(crawl, tmp_path):
    """Three processes give what one gives; arXiv's metadata reaches them all."""
    make([str(crawl)], OPTIONS, tmp_path, "one")
    make([str(crawl)], OPTIONS, tmp_path, "three", workers=3)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "three.jsonl").read_bytes()
    pytest.importorskip("pypandoc")
    metadata = tmp_path / "metadata.json"
    lines, names = [], []
    for n in range(1, 4):
        number = f"2405.0000{n}"
        created = f"Thu, 0{n} May 2024 08:00:00 GMT"
        about = {"id": number, "title": f"T{n}", "categories": "math.AG"}
        lines.append(json.dumps(about | {"versions": [{"created": created}]}) + "\n")
        text = f"\\documentclass{{article}}\\begin{{document}}{'word ' * 300} $x_{n}$"
        names.append(tmp_path / f"arXiv_src_2405_00{n}.tar")
        (tmp_path / f"{number}.gz").write_bytes(gzip.compress(f"{text}\\end{{document}}".encode()))
        with tarfile.open(names[-1], "w") as archive:
            archive.add(tmp_path / f"{number}.gz", f"2405/{number}.gz")
    metadata.write_text("".join(lines))
    options = dataclasses.replace(OPTIONS, kind="arxiv", metadata=str(metadata))
    manifest = make([str(n) for n in names], options, tmp_path, "papers", workers=2)
    found = [(row["date"], row["meta"]["title"]) for row in rows(tmp_path / "papers.jsonl")]
    assert found == [(f"2024-05-0{n}", f"T{n}") for n in range(1, 4)]
    assert manifest["pandoc"].startswith("pandoc ")
