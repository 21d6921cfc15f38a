"""arXiv's source archives → papers, dated.

Read are the bulk archives `arXiv_src_YYMM_NNN.tar`, whose members are papers, and single e-prints:
each a gzipped tar of the paper's files, or one gzipped TeX file. Archives are streams: nothing is
unpacked to disk, names and links in them lead nowhere, and sizes are bounded, for what a member
holds is anyone's. A paper's date is the first version's where arXiv's metadata is at hand, else the
month of its id. With metadata, papers of other categories are left out; the paper's corpus is of
those whose primary category is in `math`.
Source: info.arxiv.org/help/bulk_data_s3.html and arxiv_identifier.html; POSIX pax(1) for tar.
"""

import collections
import datetime
import email.utils
import gzip
import io
import json
import pathlib
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.prepare import parts, writer
from jaxbpc.prepare.readers import latex
from jaxbpc.utils import progress

MIN_CHARACTERS = 1000  # covers, notices of withdrawal
MAX_PAPER_BYTES = 1 << 29  # of a paper's archive unpacked: figures are most of it
_MAX_FILE_BYTES = 1 << 23  # of one TeX file
_MAX_FILES = 10_000
_BLOCK = 512
_TEX = (".tex", ".ltx", ".latex", ".bbl", ".txt", ".inc", ".tikz")
_ID = re.compile(r"(?<!\d)(\d{2})(0[1-9]|1[0-2])\.(\d{4,5})(?!\d)")
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile, tarfile.HeaderError)


class Part(io.RawIOBase):
    """The next `size` bytes of a stream, as a stream; more are an end, fewer an EOFError."""

    def __init__(self, stream: Any, size: int):
        super().__init__()
        self.stream, self.left = stream, size

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` as far as there is something."""
        data = self._next(min(len(buffer), self.left))
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)

    def skip(self) -> None:
        """Reads on to the part's end."""
        while self.left:
            self.left -= len(self._next(min(self.left, 1 << 20)))

    def _next(self, size: int) -> bytes:
        data = self.stream.read(size) if size else b""
        if size and not data:
            raise EOFError("cut off")
        return data


def paper_id(name: str) -> tuple[str, datetime.date] | None:
    """(arXiv id without version, first day of its month) from a file's name, if it has them.

    Ids of before April 2007 are others: no such paper is new to any model.
    """
    if found := _ID.search(name):
        date = datetime.date(2000 + int(found[1]), int(found[2]), 1)
        return f"{found[1]}{found[2]}.{found[3]}", date
    return None


def members(stream: Any) -> Iterator[tuple[str, Part]]:
    """(name, content) of a tar's regular files. Raises tarfile.HeaderError, EOFError.

    Links, devices and folders are passed over. Long names are read as pax and GNU tar write them.
    """
    long_name = None
    while True:
        header = stream.read(_BLOCK)
        if not header.strip(b"\0"):
            return  # two such blocks end a tar; some writers leave them out
        if len(header) < _BLOCK:
            raise EOFError("cut off")
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if info.size < 0:
            raise tarfile.HeaderError("a size below 0")
        part = Part(stream, info.size)
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            if info.size > 1 << 16:
                raise tarfile.HeaderError("a name beyond bounds")
            data = part.read(info.size) if info.size else b""
            long_name = _long_name(info.type, data) or long_name
        else:
            if info.isreg():
                yield long_name or info.name, part
            long_name = None
        part.skip()
        Part(stream, -info.size % _BLOCK).skip()


def _long_name(kind: bytes, data: bytes) -> str | None:
    if kind == tarfile.GNUTYPE_LONGNAME:
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    found = re.search(rb"(?:^|\n)\d+ path=([^\n]*)\n", data)
    return found[1].decode("utf-8", "surrogateescape") if found else None


def files(eprint: Any) -> dict[str, bytes]:
    """The TeX files of an e-print by name, from its stream, gzipped or not.

    Raises `latex.NotConverted`; where the stream is damaged, an error of DAMAGED.
    """
    start = io.BufferedReader(eprint)
    if start.peek(2)[:2] == b"\x1f\x8b":
        start = io.BufferedReader(gzip.GzipFile(fileobj=start))  # type: ignore[arg-type]
    stream = io.BufferedReader(_Bounded(start))
    if stream.peek(4)[:4] == b"%PDF":
        raise latex.NotConverted("pdf_alone")
    if not _is_tar(stream.peek(_BLOCK)[:_BLOCK]):
        data = stream.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise latex.NotConverted("too_large")
        return {"main.tex": data}
    found: dict[str, bytes] = {}
    for member, part in members(stream):
        if member.startswith(("00README", "./00README")) or member.lower().endswith(_TEX):
            if part.left > _MAX_FILE_BYTES or len(found) >= _MAX_FILES:
                raise latex.NotConverted("too_large")
            found[member.removeprefix("./")] = part.read() if part.left else b""
    return found


class _Bounded(io.RawIOBase):
    """A stream that ends a paper which unpacks to more than MAX_PAPER_BYTES."""

    def __init__(self, stream: Any):
        super().__init__()
        self.stream, self.left = stream, MAX_PAPER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer))
        self.left -= len(data)
        if self.left < 0:
            raise latex.NotConverted("too_large")
        buffer[: len(data)] = data
        return len(data)


def _is_tar(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        return True
    except tarfile.HeaderError:
        return False


def eprints(path: pathlib.Path) -> Iterator[tuple[str, Any]]:
    """(name, stream) of each e-print of a bulk archive, or of a file that is one."""
    with open(path, "rb") as file:
        is_bulk = _is_tar(file.read(_BLOCK)) and not paper_id(path.name)
        file.seek(0)
        if is_bulk:
            yield from members(file)
        else:
            yield path.name, file


def metadata(
    path: pathlib.Path, wanted: Callable[[datetime.date], bool], category: str
) -> dict[str, tuple[datetime.date, str]]:
    """Id → (date of the first version, title) of arXiv's metadata, as far as they are wanted.

    Args:
      path: `arxiv-metadata-oai-snapshot.json`: one JSON object a line with `id`, `title`,
        `categories` (the primary one first) and `versions`, or else `update_date`.
      wanted: which dates.
      category: of the primary category the archive, `math`, or the whole, `math.AG`.
    """
    found = {}
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    row = json.loads(line)
                    primary = row["categories"].split()[0]
                    date = email.utils.parsedate_to_datetime(row["versions"][0]["created"]).date()
                except (ValueError, KeyError, TypeError, IndexError):
                    raise InputError(
                        f"{path}:{number}: no line of arXiv's metadata with id, title, categories "
                        "and versions: give arxiv-metadata-oai-snapshot.json"
                    )
                if wanted(date) and category in (primary, primary.split(".")[0]):
                    found[row["id"]] = date, " ".join(row["title"].split())
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read ({e}): give arXiv's metadata file")
    return found


def rows(
    path: pathlib.Path,
    wanted: Callable[[datetime.date], bool],
    known: dict[str, tuple[datetime.date, str]] | None,
    counts: collections.Counter[str],
) -> Iterator[dict[str, Any]]:
    """The papers of an archive as rows; `counts` gets how many were left out, and why.

    Of a damaged archive the papers before the damage are read; its name is logged.

    Args:
      path: a bulk archive or an e-print.
      wanted: which dates.
      known: papers by `metadata`; others are left out. None: all, dated by their ids.
    """
    try:
        for name, stream in eprints(path):
            counts["seen"] += 1
            try:
                yield _row(name, stream, wanted, known)
            except latex.NotConverted as e:
                counts[str(e)] += 1
            except DAMAGED as e:
                progress.tell(f"{path}: {name} is damaged ({e}), left out")
                counts["damaged"] += 1
    except (*DAMAGED, OSError) as e:
        progress.tell(f"{path}: is damaged ({e}), what comes after is left out")
        counts[parts.CUT_SHORT] += 1


def _row(name: str, stream: Any, wanted, known) -> dict[str, Any]:
    parsed = paper_id(name)
    if parsed is None:
        raise latex.NotConverted("no_id")
    (number, date), title = parsed, None
    if known is not None:
        if number not in known:
            raise latex.NotConverted("other_category_or_date")
        date, title = known[number]
    if not wanted(date):
        raise latex.NotConverted("out_of_dates")
    if name.lower().endswith(".pdf"):
        raise latex.NotConverted("pdf_alone")
    found = files(stream)
    text, own_title = latex.to_markdown(latex.assemble(found, latex.main_file(found)))
    if len(text) < MIN_CHARACTERS:
        raise latex.NotConverted("too_short")
    meta = {"source": f"arXiv:{number}", "title": title or own_title}
    meta = {name: value for name, value in meta.items() if value}
    return writer.row(text, date.isoformat(), "arxiv", meta)
