"""Sources → pieces: what a worker makes documents of, about a megabyte each.

A piece holds paths of small files, or the bytes of lines, or rows. However large a source is, as
much of it as one row is in memory: a row of more than `LIMIT` bytes is reported, and left out.
"""

import codecs
import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any

from jaxbpc.errors import InputError
from jaxbpc.prepare.readers import decode, inputs
from jaxbpc.prepare.readers.inputs import Source

SIZE = 1 << 20
LIMIT = 1 << 26  # bytes of one row or document: a file is read up to here
_FILES = 256  # of one piece
_SPACE = " \t\r\n"


@dataclasses.dataclass(frozen=True)
class Files:
    """Files that are a document each."""

    sources: list[Source]


@dataclasses.dataclass(frozen=True)
class Lines:
    """Whole lines of JSON; `first` is the number of the first, from 0.

    encoding: guessed, of those that are not UTF-8; None: they are in none that is known.
    transcoded: the guessed encoding of them all, which were in another than these bytes.
    """

    source: Source
    first: int
    data: bytes
    encoding: str | None = None
    transcoded: str | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows, None where one was too long to read; `first` is the number of the first, from 0.

    encoding: of the source, where it was guessed.
    """

    source: Source
    first: int
    rows: list[dict[str, Any] | None]
    encoding: str | None = None


Piece = Files | Lines | Rows


def pieces(sources: Iterable[Source], columns: Iterable[str] = ()) -> Iterator[Piece]:
    """Yields pieces in the order of the sources.

    Args:
      columns: of a parquet file, those that are read, where they are there; none: all.

    Raises:
      InputError: a source that cannot be read, or is not what its name says.
    """
    files: list[Source] = []
    n_bytes = 0
    for source in sources:
        if source.kind in inputs.DOCUMENTS:
            files.append(source)
            n_bytes += _size(source)
            if n_bytes >= SIZE or len(files) >= _FILES:
                yield Files(files)
                files, n_bytes = [], 0
            continue
        if files:
            yield Files(files)
            files, n_bytes = [], 0
        try:
            yield from _of_rows(source, tuple(columns))
        except inputs.damaged() as e:
            raise inputs.unreadable(source, e)
    if files:
        yield Files(files)


def _size(source: Source) -> int:
    try:
        return os.path.getsize(source.path)
    except OSError as e:
        raise inputs.unreadable(source, e)


def _of_rows(source: Source, columns: tuple[str, ...]) -> Iterator[Piece]:
    if source.kind == inputs.LINES:
        yield from _decodable_lines(source)
    elif source.kind == inputs.PARQUET:
        yield from _parquet(source, columns)
    elif source.kind is None:
        yield from _grouped(source, _hub(source))
    else:
        name = inputs.text_encoding(source)
        read = _json if source.kind == inputs.JSON else _csv
        guessed = name if decode.is_guess(name) else None
        yield from _grouped(source, read(source, name), guessed)


def _decodable_lines(source: Source) -> Iterator[Lines | Rows]:
    """Lines of bytes that are ASCII's, with one encoding for all that are not UTF-8."""
    guessed = None
    with source.open() as file:
        wide = decode.wide(file.read(1 << 16))
        file.seek(0)
        if wide is None:
            for piece in lines(source, file, LIMIT):
                if isinstance(piece, Lines):
                    guessed = guessed or decode.of_lines(piece.data)
                    piece = dataclasses.replace(piece, encoding=guessed)
                yield piece
            return
        name = wide if decode.is_guess(wide) else None
        try:
            for piece in lines(source, codecs.EncodedFile(file, "utf-8", wide), LIMIT):
                if isinstance(piece, Lines):
                    piece = dataclasses.replace(piece, transcoded=name)
                yield piece
        except UnicodeDecodeError as e:
            raise inputs.unreadable(source, e)


def lines(source: Source, file: IO[bytes], most_bytes: int) -> Iterator[Lines | Rows]:
    """Lines in blocks; one of more than `most_bytes` is a row of None."""
    first = 0
    rest = b""
    while block := file.read(SIZE):
        block = rest + block if rest else block
        end = block.rfind(b"\n") + 1
        if end:
            yield Lines(source, first, block[:end])
            first += block.count(b"\n", 0, end)
        rest = block[end:]
        if len(rest) > most_bytes:
            yield Rows(source, first, [None])
            first += 1
            rest = _after_line(file)
    if rest:
        yield Lines(source, first, rest)


def _after_line(file: IO[bytes]) -> bytes:
    """Reads to the end of the line; what was read of the next."""
    while block := file.read(SIZE):
        if b"\n" in block:
            return block[block.index(b"\n") + 1 :]
    return b""


def _grouped(
    source: Source, rows: Iterator[tuple[dict | None, int]], encoding: str | None = None
) -> Iterator[Piece]:
    """(row, its size) in groups."""
    group: list[dict | None] = []
    first = size = 0
    for row, n in rows:
        group.append(row)
        size += n
        if size >= SIZE or len(group) >= 1000:
            yield Rows(source, first, group, encoding)
            first += len(group)
            group, size = [], 0
    if group:
        yield Rows(source, first, group, encoding)


def _json(source: Source, encoding: str) -> Iterator[tuple[dict | None, int]]:
    """The objects of an array, or one after another, parsed as they come."""
    decoder = json.JSONDecoder()
    decoded = codecs.getincrementaldecoder(encoding)(errors="strict").decode
    text, at, done = "", 0, False
    with source.open() as file:

        def more() -> None:
            nonlocal text, at, done
            text = text[at:]
            at = 0
            block = file.read(max(SIZE, len(text)))
            done = not block
            text += decoded(block, final=done)

        def peek() -> str:
            """The next character that is no space; '' at the end."""
            nonlocal at
            while True:
                while at < len(text) and text[at] in _SPACE:
                    at += 1
                if at < len(text) or done:
                    return text[at : at + 1]
                more()

        try:
            is_array = peek() == "["
            at += is_array
            while peek() not in ("", "]"):
                try:
                    value, end = decoder.raw_decode(text, at)
                except json.JSONDecodeError as e:
                    if done or len(text) - at > LIMIT:
                        raise _not_json(source, e.msg)
                    more()
                    continue
                except (RecursionError, ValueError) as e:  # too deep, or a number too long
                    raise _not_json(source, str(e)[:160])
                if not isinstance(value, dict):
                    raise InputError(f"{source.path}: its values are no objects: fix the file")
                yield value, end - at
                at = end
                if is_array and peek() == ",":
                    at += 1
                elif is_array:
                    break
            if is_array and peek() != "]":
                raise _not_json(source, "its array is not closed")
            at += is_array
            if peek():
                raise _not_json(source, "there is more after its end")
        except UnicodeDecodeError as e:
            raise inputs.unreadable(source, e)


def _not_json(source: Source, reason: str) -> InputError:
    return InputError(f"{source.path}: not JSON ({reason}): fix the file")


def _csv(source: Source, encoding: str) -> Iterator[tuple[dict | None, int]]:
    delimiter = "\t" if source.kind == inputs.TSV else ","
    csv.field_size_limit(LIMIT)
    with source.open() as file, io.TextIOWrapper(file, encoding, newline="") as text:
        try:
            reader = csv.DictReader(text, delimiter=delimiter, strict=True)
            for row in reader:
                if None in row:
                    raise csv.Error("more fields than columns")
                yield row, sum(len(value or "") for value in row.values())
        except (csv.Error, UnicodeDecodeError) as e:
            raise inputs.unreadable(source, ValueError(f"line {reader.line_num}: {e}"))


def _parquet(source: Source, columns: tuple[str, ...]) -> Iterator[Piece]:
    """Batches of about SIZE bytes, their pages read as they come."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = 0
    try:
        with pq.ParquetFile(source.path, buffer_size=SIZE, pre_buffer=False) as file:
            names = [c for c in file.schema_arrow.names if not columns or c in columns]
            n_bytes = sum(
                file.metadata.row_group(i).total_byte_size
                for i in range(file.metadata.num_row_groups)
            )
            a_row = n_bytes // max(1, file.metadata.num_rows) + 1
            size = min(1000, max(1, SIZE // a_row))
            # Without columns in common all are read, so that the error can name them.
            for batch in file.iter_batches(size, columns=names or None):
                yield Rows(source, first, batch.to_pylist())
                first += batch.num_rows
    except (pa.ArrowException, UnicodeDecodeError) as e:
        raise inputs.unreadable(source, e)


def _hub(source: Source) -> Iterator[tuple[dict | None, int]]:
    """Rows of `dataset[:config[:split]]`, streamed."""
    import datasets

    dataset, config, split = [*source.path.split(":"), "", ""][:3]
    try:
        rows = datasets.load_dataset(
            dataset, config or None, split=split or "train", streaming=True
        )
        for row in rows:
            yield dict(row), sum(len(v) for v in row.values() if isinstance(v, str))
    except Exception as e:  # the hub client raises errors of many libraries
        reason = " ".join(str(e).split())[:160]
        raise InputError(
            f"{source.name}: cannot be read ({type(e).__name__}: {reason}): check the name "
            "(hub:DATASET:CONFIG:SPLIT) and the network"
        )
