"""A corpus in pieces → what is in each, counted: the latter is what the workers of `check` do.

Rows are read, taken and refused by the evaluator's own functions.
"""

import dataclasses
import datetime
import io
import pathlib
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from jaxbpc.config import MAX_DOCUMENT_CHARACTERS
from jaxbpc.data import corpora, jsonl
from jaxbpc.prepare import dedup, overlap
from jaxbpc.prepare.readers import inputs, pieces

BINS = 64  # documents of 2^i … 2^(i+1) - 1 characters
_MOST_BYTES = corpora.most_bytes(MAX_DOCUMENT_CHARACTERS)
_FILL = corpora.Template("{content}")


@dataclasses.dataclass(slots=True)
class Tally:
    """Counts of rows. Faulty rows, which the evaluator refuses, are no documents.

    faults: name → (rows, the first of them). digests: 16 bytes a document that is not empty.
    windows: of each such document the hashes that are looked at. dates: (first, last) ISO day.
    undated: documents whose date is none that can be read.
    """

    rows: int = 0
    documents: int = 0
    empty: int = 0
    characters: int = 0
    n_bytes: int = 0
    dated: int = 0
    undated: int = 0
    dates: tuple[str, str] | None = None
    faults: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    lengths: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(BINS, np.int64))
    digests: list[bytes] = dataclasses.field(default_factory=list)
    windows: list[np.ndarray] = dataclasses.field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Takes the counts of a later piece in, not its digests and windows."""
        for name, (n, first) in other.faults.items():
            before = self.faults.get(name, (0, self.rows + first))
            self.faults[name] = (before[0] + n, before[1])
        for name in ("rows", "documents", "empty", "characters", "n_bytes", "dated", "undated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.lengths += other.lengths
        if self.dates is None or other.dates is None:
            self.dates = self.dates or other.dates
        else:
            (a, b), (c, d) = self.dates, other.dates
            self.dates = (min(a, c), max(b, d))


@dataclasses.dataclass(frozen=True)
class Elements:
    """Values of an array's rows. fault: of what follows them, which cannot be read."""

    values: list[Any]
    fault: str | None = None


Piece = pieces.Lines | pieces.Rows | Elements


def read(source: inputs.Source) -> Iterator[Piece]:
    """Yields a corpus in pieces: lines as they are, an array parsed.

    Raises:
      InputError: the file cannot be read.
    """
    try:
        with source.open() as file:
            if jsonl.begins_array(file):
                yield from _elements(file, pathlib.Path(source.path))
            else:
                yield from pieces.lines(source, file, _MOST_BYTES)
    except inputs.damaged() as e:
        raise inputs.unreadable(source, e)


def _elements(file: IO[bytes], path: pathlib.Path) -> Iterator[Elements]:
    values: list[Any] = []
    fault, start = None, 0
    try:
        for _, value in jsonl.elements(file, path, _MOST_BYTES):
            values.append(value)
            if file.tell() - start >= pieces.SIZE:
                yield Elements(values)
                values, start = [], file.tell()
    except jsonl.RowError as e:
        fault = e.fault
    yield Elements(values, fault)


def tally(piece: Piece, limit: int | None) -> Tally:
    """Counts a piece. limit: of the hashes of windows that are looked at; None: none is."""
    found = Tally()
    for value, fault in _values(piece):
        if fault is None:
            try:
                document = corpora.document(value, found.rows, "", _FILL)
                _count(found, document, value.get("date"), limit)
            except jsonl.RowError as e:
                fault = e.fault
        if fault is not None:
            n, first = found.faults.get(fault, (0, found.rows))
            found.faults[fault] = (n + 1, first)
        found.rows += 1
    return found


def _values(piece: Piece) -> Iterator[tuple[Any, str | None]]:
    """(value of a row, what is wrong with it where there is none)."""
    if isinstance(piece, Elements):
        yield from ((value, None) for value in piece.values)
        if piece.fault is not None:
            yield None, piece.fault
    elif isinstance(piece, pieces.Rows):
        yield None, "too_long"
    else:
        for line in io.BytesIO(piece.data):
            if len(line) <= _MOST_BYTES and jsonl.is_blank(line):
                continue
            try:
                yield jsonl.value(line, "", _MOST_BYTES), None
            except jsonl.RowError as e:
                yield None, e.fault


def _count(found: Tally, document: corpora.Document, date: Any, limit: int | None) -> None:
    """Counts a document in. date: as its row has it."""
    text = document.text
    if not text:
        found.empty += 1
        return
    found.documents += 1
    found.characters += len(text)
    found.n_bytes += document.n_bytes
    found.lengths[len(text).bit_length() - 1] += 1
    found.digests.append(dedup.digest(text.encode()))
    if limit is not None:
        found.windows.append(overlap.hashes(text, limit))
    if document.date < 0:
        found.undated += date not in (None, "")
    else:
        found.dated += 1
        day = datetime.date.fromordinal(document.date).isoformat()
        first, last = found.dates or (day, day)
        found.dates = (min(first, day), max(last, day))
