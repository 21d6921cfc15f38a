"""Folders, files, globs and hub datasets → sources, in an order that does not depend on the disk.

A source is a file that is one document (text, code, HTML) or holds one a row, or a hub dataset.
"""

import dataclasses
import fnmatch
import glob
import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO

from jaxbpc.errors import InputError
from jaxbpc.prepare.readers import decode

HUB = "hub:"
# Suffix → kind.
TEXT, PYTHON, HTML, LINES, JSON, CSV, TSV, PARQUET = range(8)
KINDS = {
    ".txt": TEXT,
    ".text": TEXT,
    ".md": TEXT,
    ".markdown": TEXT,
    ".rst": TEXT,
    ".tex": TEXT,
    ".py": PYTHON,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": JSON,
    ".csv": CSV,
    ".tsv": TSV,
    ".parquet": PARQUET,
}
DOCUMENTS = (TEXT, PYTHON, HTML)
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


@dataclasses.dataclass(frozen=True)
class Source:
    """A file, or a hub dataset where kind is None.

    name: as in the corpus: relative to the folder that was given. compression: its suffix.
    key: what no other source of the command has, and no folder above the inputs decides.
    """

    path: str
    name: str
    kind: int | None
    compression: str = ""
    key: str = ""

    def open(self) -> IO[bytes]:
        """The bytes, decompressed as they are read; `damaged` holds what reading may raise."""
        if not self.compression:
            return open(self.path, "rb")
        import bz2
        import gzip
        import lzma

        opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": zstd().open}
        return opened[self.compression](self.path, "rb")


def zstd():
    """The module of Zstandard: Python's own where it has it."""
    import importlib
    import sys

    return importlib.import_module(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    )


def damaged() -> tuple[type[Exception], ...]:
    """What reading a damaged or unreadable file raises."""
    import lzma
    import zlib

    return (OSError, EOFError, lzma.LZMAError, zlib.error, zstd().ZstdError)


def unreadable(source: Source, e: Exception) -> InputError:
    """The error for a file that cannot be read."""
    reason = getattr(e, "strerror", None) or " ".join(str(e).split())[:160] or type(e).__name__
    return InputError(
        f"{source.path}: cannot be read ({reason}): fix it, or leave it out with "
        f"--exclude={glob.escape(source.name)!r}"
    )


def find(
    inputs: Sequence[str],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    skipped: Counter | None = None,
) -> Iterator[Source]:
    """Yields the sources of `inputs`, each folder's in the order of their names.

    Hidden files and folders, and links to folders, are left out; of folders and globs also files
    of no known kind.

    Args:
      inputs: paths, globs or `hub:dataset[:config[:split]]`.
      include, exclude: patterns of names (`fnmatch`; `*` matches `/` too).
      skipped: counts the files left out of folders, by suffix or `by pattern`.

    Raises:
      InputError: an input is not there, or is a file of no known kind.
    """
    skipped = Counter() if skipped is None else skipped
    for place, entry in enumerate(inputs):
        for source in _find(entry, include, exclude, skipped):
            # Each input has its own README.md.
            yield dataclasses.replace(source, key=f"{place}\0{source.key}")


def _find(
    entry: str, include: Sequence[str], exclude: Sequence[str], skipped: Counter
) -> Iterator[Source]:
    """The sources of one input; their keys are unique within it."""
    if entry.startswith(HUB):
        yield Source(entry.removeprefix(HUB), entry, None, key=entry)
        return
    path = os.path.expanduser(entry)
    if os.path.isdir(path):
        yield from _walk(path, include, exclude, skipped)
    elif os.path.isfile(path):
        source = _source(path, os.path.basename(path))
        if source is None:
            raise InputError(
                f"{path}: of no known kind: give it one of {' '.join(KINDS)}, also with "
                f"{' '.join(_COMPRESSED)}"
            )
        yield source
    else:
        matches = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else []
        if not matches:
            raise InputError(f"{entry} does not exist: give files, folders, globs or {HUB}NAME")
        top = path
        while glob.has_magic(top):
            top = os.path.dirname(top)
        for match in matches:
            if os.path.isdir(match):
                continue
            if wanted := _wanted(match, match, include, exclude, skipped):
                yield dataclasses.replace(wanted, key=_key(os.path.relpath(match, top or ".")))


def _walk(
    top: str, include: Sequence[str], exclude: Sequence[str], skipped: Counter
) -> Iterator[Source]:
    def refuse(e: OSError) -> None:
        raise InputError(f"{e.filename}: cannot be read ({e.strerror}): check its permissions")

    for folder, folders, files in os.walk(top, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for file in sorted(files):
            path = os.path.join(folder, file)
            name = pathlib.PurePath(os.path.relpath(path, top)).as_posix()
            if source := _wanted(path, name, include, exclude, skipped):
                yield source


def _wanted(path: str, name: str, include, exclude, skipped: Counter) -> Source | None:
    """The source, unless it is hidden, of no known kind, or the patterns leave it out."""
    if os.path.basename(path).startswith(".") or not os.path.isfile(path):
        return None
    if include and not any(fnmatch.fnmatchcase(name, p) for p in include):
        skipped["by pattern"] += 1
        return None
    if any(fnmatch.fnmatchcase(name, p) for p in exclude):
        skipped["by pattern"] += 1
        return None
    source = _source(path, name)
    if source is None:
        skipped[os.path.splitext(path)[1].lower() or "no suffix"] += 1
    return source


def _source(path: str, name: str) -> Source | None:
    """A source by its suffixes; None where they are not known."""
    stem, suffix = os.path.splitext(path.lower())
    compression = suffix if suffix in _COMPRESSED else ""
    if compression:
        suffix = os.path.splitext(stem)[1]
    kind = KINDS.get(suffix)
    if kind is None or (kind == PARQUET and compression):
        return None
    # A file's name may be no Unicode text.
    readable = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return Source(path, readable, kind, compression, _key(name))


def _key(name: str) -> str:
    """A file's name as Unicode text, unlike that of any other name."""
    return name.encode("utf-8", "backslashreplace").decode()


def text_encoding(source: Source) -> str:
    """The encoding of a source's first block that is not all ASCII.

    Raises:
      InputError: it is no text.
    """
    with source.open() as file:
        block = file.read(1 << 20)
        name = decode.encoding(block, whole=False)
        while name == "utf-8" and block and block.isascii():
            block = file.read(1 << 20)
            name = decode.encoding(block, whole=False)
    if not name:
        raise unreadable(source, ValueError("in no encoding that is known"))
    return name
