"""arXiv's archives, written by the tests as arXiv and tar's definition say, honest and hostile."""

import collections
import datetime
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile

import pytest

from jaxbpc.errors import InputError
from jaxbpc.prepare import parts
from jaxbpc.prepare.readers import arxiv, latex

WORDS = "words " * 170
TEX = f"\\documentclass{{article}}\\begin{{document}}\n{WORDS}%s: $x_{{%s}}$.\n\\end{{document}}\n"


def tar(files, form=tarfile.USTAR_FORMAT):
    """A tar of {name: bytes}, or of (TarInfo, bytes)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tex(name):
    return (TEX % (name, name)).encode()


def collect(path, known=None, after=datetime.date(2024, 3, 31)):
    counts = collections.Counter()
    rows = list(arxiv.rows(path, lambda date: date > after, known, counts))
    return rows, counts


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_ids():
    """Of arXiv's own description of identifiers."""
    told = {
        "2404/2404.09937.gz": ("2404.09937", datetime.date(2024, 4, 1)),
        "arXiv-1501.00001v2.tar.gz": ("1501.00001", datetime.date(2015, 1, 1)),
        "0706.0001": ("0706.0001", datetime.date(2007, 6, 1)),
        "2412.12345v11.gz": ("2412.12345", datetime.date(2024, 12, 1)),
    }
    for name, value in told.items():
        assert arxiv.paper_id(name) == value
    for name in ("arXiv_src_2404_001.tar", "0309/math0309136.gz", "2413.00001.gz", "2400.00001"):
        assert arxiv.paper_id(name) is None
    assert arxiv.paper_id("12404.09937.gz") is None
    assert arxiv.paper_id("2404.099371.gz") is None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members(form):
    long = "d/" * 60 + "é.tex" if form != tarfile.USTAR_FORMAT else "d/" * 40 + "x.tex"
    files = {"a.tex": b"1", long: b"x" * 512, "empty.tex": b"", "b.tex": b"y" * 513}
    found = {}
    for name, part in arxiv.members(io.BytesIO(tar(files, form))):
        found[name] = part.read(300) if name == "b.tex" else part.read()
    assert found == files | {"b.tex": b"y" * 300}
    # Without the blocks of zeros at its end.
    bare = tar({"a.tex": b"1"}, form)[:1024]
    assert [name for name, _ in arxiv.members(io.BytesIO(bare))] == ["a.tex"]


def test_a_bulk_archive(tmp_path):
    pytest.importorskip("pypandoc")
    folder = tarfile.TarInfo("2404")
    folder.type = tarfile.DIRTYPE
    parts_of_one = {"fig.pdf": b"%PDF" * 999, "main.tex": tex("2") + b"% x", "s.tex": b"no"}
    bulk = [
        (folder, b""),
        ("2404/2404.00001.gz", gzip.compress(tex("1"))),
        ("2404/2404.00002.gz", gzip.compress(tar(parts_of_one))),
        ("2404/2404.00003.pdf", b"%PDF-1.4"),
        ("2404/2404.00004.gz", gzip.compress(b"%PDF-1.4")),
        ("2404/2404.00005.gz", gzip.compress(tex("5"))[:-9]),
        ("2404/2404.00006.gz", gzip.compress(tar(parts_of_one)[:2000])),
        ("2404/2404.00007.gz", gzip.compress(tar({"a.ps": b"%!PS"}))),
        ("2404/2403.00008.gz", gzip.compress(tex("8"))),
        ("2404/notes.gz", gzip.compress(tex("9"))),
        ("2404/2404.00009.gz", b"\x1f\x8b" + bytes(90)),
        ("2404/2404.00010.gz", gzip.compress(tex("10"))),
        ("2404/2404.00011.gz", gzip.compress(tex("11").replace(b"words ", b""))),
    ]
    path = tmp_path / "arXiv_src_2404_001.tar"
    path.write_bytes(tar(bulk))
    rows, counts = collect(path)
    assert [row["meta"] for row in rows] == [
        {"source": f"arXiv:2404.000{n}"} for n in ("01", "02", "10")
    ]
    assert rows[1]["content"] == WORDS + "2: $x_{2}$.\n"
    assert {row["date"] for row in rows} == {"2024-04-01"}
    assert counts == {
        "seen": 12,
        "too_short": 1,
        "pdf_alone": 2,
        "damaged": 3,
        "no_latex": 1,
        "out_of_dates": 1,
        "no_id": 1,
    }
    # Cut off in the middle of a paper: what comes before it is there.
    cut = tmp_path / "cut.tar"
    cut.write_bytes(tar(bulk)[: 512 * 4 + 100])
    rows, counts = collect(cut)
    assert len(rows) == 1
    assert counts == {"seen": 2, "damaged": 1, parts.CUT_SHORT: 1}
    cut.write_bytes(tar(bulk)[: 512 * 5 + 100])
    rows, counts = collect(cut)
    assert len(rows) == 2
    assert counts == {"seen": 2, parts.CUT_SHORT: 1}


def test_hostile_members():
    """Links and names that lead outside are passed over or mere names; sizes are not believed."""
    inner = [
        (link("main.tex", "/etc/passwd"), b""),
        (link("hard.tex", "../../x", tarfile.LNKTYPE), b""),
        (link("dev.tex", "", tarfile.CHRTYPE), b""),
        (link("fifo.tex", "", tarfile.FIFOTYPE), b""),
        ("../../../evil.tex", b"E"),
        ("/abs.tex", b"A"),
        ("ok.tex", b"ok"),
    ]
    found = arxiv.files(io.BytesIO(gzip.compress(tar(inner))))
    assert found == {"../../../evil.tex": b"E", "/abs.tex": b"A", "ok.tex": b"ok"}
    # Nothing can input what is outside of the archive's root, even if a member is called so.
    main = {"m.tex": b"[\\input{evil}][\\input{abs}][\\input{ok}]"}
    assert latex.assemble(found | main, "m.tex") == "[][][ok\n]\n"
    for size in (b"77777777777\0", b"\xff" * 12, b"\x80" + b"\x7f" * 11):
        header = bytearray(tar({"a.tex": b""})[:512])
        header[124:136] = size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        with pytest.raises((*arxiv.DAMAGED, latex.NotConverted)):
            arxiv.files(io.BytesIO(bytes(header) + bytes(1024)))
    name = tarfile.TarInfo("x")
    name.type = tarfile.XHDTYPE
    with pytest.raises(tarfile.HeaderError, match="beyond bounds"):
        list(arxiv.members(io.BytesIO(tar([(name, bytes(1 << 17))]))))


def test_sizes_are_bounded(monkeypatch):
    monkeypatch.setattr(arxiv, "MAX_PAPER_BYTES", 1 << 20)
    for bomb in (tar({"zeros.pdf": bytes(3 << 20), "a.tex": b"x"}), b"x" * (3 << 20)):
        with pytest.raises(latex.NotConverted, match="too_large"):
            arxiv.files(io.BytesIO(gzip.compress(bomb)))
    monkeypatch.undo()
    with pytest.raises(latex.NotConverted, match="too_large"):
        arxiv.files(io.BytesIO(tar({"a.tex": bytes((8 << 20) + 1)})))


@pytest.mark.long
def test_a_bomb_takes_little_memory(tmp_path):
    """640 MiB of zeros in 3 MiB: read to the bound, not kept."""
    path = tmp_path / "2404.00001.gz"
    header = tarfile.TarInfo("zeros.pdf")
    header.size = 640 << 20
    with gzip.open(path, "wb", 1) as file:
        file.write(header.tobuf())
        for _ in range(40):
            file.write(bytes(16 << 20))
    program = (
        "import sys, collections, pathlib, resource\nfrom jaxbpc.prepare.readers import arxiv\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "counts = collections.Counter()\n"
        "assert not list(arxiv.rows(pathlib.Path(sys.argv[1]), lambda d: True, None, counts))\n"
        "assert counts == {'seen': 1, 'too_large': 1}, counts\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 16_000  # KiB


def test_single_eprints(tmp_path):
    pytest.importorskip("pypandoc")
    forms = {
        "2405.00001": tex("1"),
        "2405.00002v3.gz": gzip.compress(tex("2")),
        "arXiv-2405.00003v1.tar.gz": gzip.compress(tar({"./p.tex": tex("3")})),
        "2405.00004.tar": tar({"p.tex": tex("4")}),
    }
    for n, (name, data) in enumerate(forms.items(), start=1):
        (tmp_path / name).write_bytes(data)
        rows, counts = collect(tmp_path / name)
        assert [row["content"] for row in rows] == [f"{WORDS}{n}: $x_{{{n}}}$.\n"]
        assert rows[0]["meta"]["source"] == f"arXiv:2405.0000{n}"
        assert counts == {"seen": 1}
    (tmp_path / "paper.tar.gz").write_bytes(forms["arXiv-2405.00003v1.tar.gz"])
    assert collect(tmp_path / "paper.tar.gz")[1] == {"seen": 1, "no_id": 1}
    (tmp_path / "empty.tar").write_bytes(b"")
    assert collect(tmp_path / "empty.tar")[0] == []


def test_metadata(tmp_path):
    pytest.importorskip("pypandoc")
    rows = [
        ("2404.00001", "math.AG hep-th", "Mon, 15 Apr 2024 18:00:00 GMT", "A title\n  in two"),
        ("2404.00002", "hep-th math.AG", "Tue, 16 Apr 2024 18:00:00 GMT", "Physics"),
        ("2404.00003", "math.NT", "Sun, 31 Mar 2024 23:59:59 GMT", "Too early"),
        ("2404.00004", "math-ph", "Tue, 16 Apr 2024 18:00:00 GMT", "No math"),
    ]
    lines = [
        {"id": i, "categories": c, "title": t, "versions": [{"version": "v1", "created": d}]}
        for i, c, d, t in rows
    ]
    path = tmp_path / "arxiv-metadata-oai-snapshot.json"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def wanted(date):
        return date > datetime.date(2024, 3, 31)

    known = arxiv.metadata(path, wanted, "math")
    assert known == {"2404.00001": (datetime.date(2024, 4, 15), "A title in two")}
    assert arxiv.metadata(path, wanted, "math.AG") == known
    assert list(arxiv.metadata(path, wanted, "hep-th")) == ["2404.00002"]
    bulk = {f"{line['id']}.gz": gzip.compress(tex("x")) for line in lines}
    (tmp_path / "bulk.tar").write_bytes(tar(bulk))
    rows, counts = collect(tmp_path / "bulk.tar", known)
    assert [(r["date"], r["meta"]["title"]) for r in rows] == [("2024-04-15", "A title in two")]
    assert counts == {"seen": 4, "other_category_or_date": 3}
    with open(path, "a") as file:
        file.write("{}\n")
    with pytest.raises(InputError, match=f"{path.name}:5: no line"):
        arxiv.metadata(path, wanted, "math")
    with pytest.raises(InputError, match="cannot be read"):
        arxiv.metadata(tmp_path / "absent", wanted, "math")
    os.remove(path)
