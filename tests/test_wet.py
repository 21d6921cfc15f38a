"""Common Crawl's WET files, written by the tests as ISO 28500 and Common Crawl's headers say."""

import collections
import datetime
import gzip
import subprocess
import sys
import zlib

import pytest

from jaxbpc.prepare import parts
from jaxbpc.prepare.readers import wet

PROSE = [
    "The first sentence of this page tells the reader what it is about.",
    "A second one goes on in 12 words, to fill the line a little.",
    "Who would have thought that a third sentence is needed as well?",
    '"Nobody counts the words of a sentence like this one," he said at last, "but we."',
    "Then there is more to say, until the page has three hundred characters in all.",
]


def record(content, kind="conversion", language="eng", date="2024-05-01T10:20:30Z", **other):
    """A record as Common Crawl writes it: a gzip member of its own."""
    data = content.encode() if isinstance(content, str) else content
    headers = {
        "WARC-Type": kind,
        "WARC-Target-URI": "https://example.org/a?b=ü",
        "WARC-Date": date,
        "WARC-Record-ID": "<urn:uuid:7ba0f7b2-2a5c-4d5c-8a0c-000000000000>",
        "WARC-Refers-To": "<urn:uuid:7ba0f7b2-2a5c-4d5c-8a0c-000000000001>",
        "WARC-Block-Digest": "sha1:JROHLCS5SKMBR6XY46WXREW7RXM64EJC",
        "WARC-Identified-Content-Language": language,
        "Content-Type": "text/plain",
        "Content-Length": str(len(data)),
    }
    headers |= {name.replace("_", "-"): value for name, value in other.items()}
    lines = ["WARC/1.0", *(f"{n}: {v}" for n, v in headers.items() if v is not None), "", ""]
    return gzip.compress("\r\n".join(lines).encode() + data + b"\r\n\r\n")


INFO = record("Software-Info: x\r\n", kind="warcinfo", language=None)


def collect(path, *records):
    path.write_bytes(b"".join(records))
    counts = collections.Counter()
    after = datetime.date(2024, 3, 31)
    return list(wet.rows(path, lambda date: date > after, "eng", counts)), counts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "CC-MAIN-x-00000.warc.wet.gz"


def pages(n):
    """Pages without a line in common."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["\n".join(f"{letters[i]} {line}" for line in PROSE) for i in range(n)]


def test_pages(path):
    text = "\n".join(PROSE)
    records = [
        record("Home\nAbout\n" + text.replace("\n", "\nShare this!\n") + "\n© 2024"),
        record(pages(1)[0], language="eng,fra"),
        record(pages(2)[1], language="fra,eng"),
        record(pages(3)[2], language=None),
        record(pages(4)[3], date="2024-03-31T23:59:59Z"),
        record(pages(5)[4], date="yesterday"),
        record(pages(6)[5].encode("utf-16")),
        record(text, kind="metadata"),
        record("Too short.\n" + PROSE[0]),
    ]
    rows, counts = collect(path, INFO, *records)
    assert [row["content"] for row in rows] == [text, pages(1)[0]]
    assert rows[0]["date"] == "2024-05-01"
    assert rows[0]["meta"] == {"source": "https://example.org/a?b=ü"}
    reasons = {"other_language": 2, "out_of_dates": 1, "no_date": 1}
    assert counts == {"seen": 8, "undecodable": 1, "too_short": 1, **reasons}


def test_lines():
    long = "The page goes on with a sentence for each line so that it is long enough, number %s."
    body = [long % word for word in ("one", "two", "three", "four", "five")]

    def cleaned(*lines):
        return wet.clean("\n".join(lines), set())[0].split("\n")

    assert cleaned(*body) == body
    dropped = [
        "A line of navigation without an end",
        "Only four words here.",
        "Please enable JavaScript to see all of this page.",
        "This page uses cookies for all that you do here.",
        "By signing up you agree to our Privacy Policy and more.",
        "",
        "THE PAGE goes on with a sentence, for each line so that it is long énough number ONE!",
    ]
    assert cleaned(*body, *dropped) == body
    numbered = [long % 1, long % 2, long % 33]
    assert cleaned(*body, *numbered) == [*body, numbered[0], numbered[2]]
    # U+2028 and a form feed end no line.
    strange = "The page goes on\x0c with one line\u2028 of two letters that end lines elsewhere."
    assert cleaned(*body, strange) == [*body, strange]
    for word in ("Lorem ipsum dolor sit amet at last.", "Then { comes a bracket of code."):
        assert wet.clean("\n".join([*body, word]), set()) == ("", "no_prose")
    assert wet.clean("\n".join(body[:2] * 1), set())[1] == "too_short"
    long_line = "word " * 100 + "end."
    assert wet.clean(long_line, set())[1] == "too_short"  # of fewer than 3 sentences


def test_lines_of_earlier_pages(path):
    first, second = pages(2)
    rows, counts = collect(path, record(first), record(f"{first}\n{second}"), record(second))
    assert [row["content"] for row in rows] == [first, second]
    assert counts == {"seen": 3, "too_short": 1}


@pytest.mark.parametrize("kept", [1, 2])
def test_a_file_cut_off(path, kept):
    """Wherever it is cut, the whole pages before are there, and the cut is told."""
    records = [record(page) for page in pages(3)]
    last = records[kept]
    for n in (1, 9, 40, len(last) // 2, len(last) - 9, len(last) - 1):
        rows, counts = collect(path, *records[:kept], last[:n])
        assert [row["content"] for row in rows] in (pages(kept), pages(kept + 1))
        assert counts[parts.CUT_SHORT] == 1
    rows, counts = collect(path, *records)
    assert len(rows) == 3
    assert parts.CUT_SHORT not in counts


def test_damage(path, capsys):
    good, other, last = (record(page) for page in pages(3))
    flipped = bytearray(other)
    flipped[-6] ^= 1  # of the sum of the text
    wrong = [
        bytes(flipped),
        other[:100] + b"\0" * 40 + other[140:],
        gzip.compress(b"no record\r\n\r\n"),
        gzip.compress(b"WARC/1.0\r\nWARC-Type: conversion\r\n\r\ntext"),
        record(pages(2)[1], Content_Length="99999"),
        record(pages(2)[1], Content_Length="-1"),
        record(pages(2)[1], Content_Length="many"),
        gzip.compress(b"WARC/1.0\r\n" + b"x: y\r\n" * 99_999),
        gzip.compress(b"WARC/1.0\r\n" + b"x" * 999_999),
        b"no gzip member",
    ]
    for data in wrong:
        rows, counts = collect(path, good, data, last)
        assert [row["content"] for row in rows][:1] == pages(1)
        assert counts[parts.CUT_SHORT] == 1
        assert f"{path}: is damaged" in capsys.readouterr().err
    assert collect(path) == ([], {})


def test_headers(path):
    """Names in any case, a continued value, uncompressed lines' ends."""
    data = gzip.decompress(record(pages(1)[0])).replace(b"WARC-Date: ", b"warc-date:\t")
    rows, _ = collect(path, gzip.compress(data.replace(b"Content-Type", b"x: y\r\n z\r\nC-Type")))
    assert len(rows) == 1


def test_a_huge_record_is_passed_over(path, monkeypatch):
    monkeypatch.setattr(wet, "MAX_RECORD_BYTES", 9_999)
    rows, counts = collect(path, record("word " * 2_000 + "."), record(pages(1)[0]))
    assert len(rows) == 1
    assert counts == {"seen": 2, "too_large": 1}


@pytest.mark.long
def test_a_bomb_takes_little_memory(path):
    """A record of 512 MiB of zeros in 2 MiB."""
    n = 512 << 20
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: {n}\r\n\r\n".encode()
    packer = zlib.compressobj(1, wbits=31)
    with open(path, "wb") as file:
        file.write(packer.compress(head))
        for _ in range(n >> 24):
            file.write(packer.compress(bytes(1 << 24)))
        file.write(packer.compress(b"\r\n\r\n") + packer.flush() + record(pages(1)[0]))
    program = (
        "import sys, collections, pathlib, resource\nfrom jaxbpc.prepare.readers import wet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "counts = collections.Counter()\n"
        "rows = list(wet.rows(pathlib.Path(sys.argv[1]), lambda d: True, 'eng', counts))\n"
        "assert len(rows) == 1 and counts == {'seen': 2, 'too_large': 1}, counts\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 16_000  # KiB
