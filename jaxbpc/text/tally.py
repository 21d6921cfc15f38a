"""A piece of a corpus → what is in it, counted: what the workers of `prepare check` do.

A row is as the evaluator takes it: a JSON object in UTF-8 with a string in `content`.
"""

import dataclasses
import json
from collections.abc import Iterator

import numpy as np

from jaxbpc import dates
from jaxbpc.text import duplicates, overlap
from jaxbpc.text.pieces import Lines, Piece, Rows

BINS = 64  # documents of 2^i … 2^(i+1) - 1 characters


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
        for name in ("rows", "documents", "empty", "characters", "n_bytes", "dated", "undated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, (n, first) in other.faults.items():
            before = self.faults.get(name, (0, first))
            self.faults[name] = (before[0] + n, before[1])
        self.lengths += other.lengths
        if self.dates is None or other.dates is None:
            self.dates = self.dates or other.dates
        else:
            (a, b), (c, d) = self.dates, other.dates
            self.dates = (min(a, c), max(b, d))


def tally(piece: Piece, limit: int | None) -> Tally:
    """Counts a piece. limit: of the hashes of windows that are looked at; None: none is."""
    found = Tally()
    assert isinstance(piece, Lines | Rows)
    for number, row in _rows(piece):
        found.rows += 1
        fault = row if isinstance(row, str) else _count(found, row, limit)
        if fault is not None:
            n, first = found.faults.get(fault, (0, number))
            found.faults[fault] = (n + 1, first)
    return found


def _count(found: Tally, row: dict, limit: int | None) -> str | None:
    """Counts a row in; what is wrong with it."""
    text = row.get("content")
    if not isinstance(text, str):
        return "no_text"
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return "not_unicode"
    if not text:
        found.empty += 1
        return None
    found.documents += 1
    found.characters += len(text)
    found.n_bytes += len(data)
    found.lengths[len(text).bit_length() - 1] += 1
    found.digests.append(duplicates.digest(data))
    if limit is not None:
        found.windows.append(overlap.hashes(text, limit))
    date = row.get("date")
    if (parsed := dates.parsed(date)) is None:
        found.undated += date not in (None, "")
    else:
        found.dated += 1
        day = parsed.isoformat()
        first, last = found.dates or (day, day)
        found.dates = (min(first, day), max(last, day))
    return None


def _rows(piece: Lines | Rows) -> Iterator[tuple[int, dict | str]]:
    """(number of the line or row from 0, row or what is wrong with it)."""
    if isinstance(piece, Rows):
        for number, row in enumerate(piece.rows, start=piece.first):
            yield number, "too_long" if row is None else row
        return
    for number, line in enumerate(piece.data.removesuffix(b"\n").split(b"\n"), start=piece.first):
        if not number:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode())
        except UnicodeDecodeError:
            yield number, "not_utf8"
            continue
        except (ValueError, RecursionError):
            value = None
        yield number, value if isinstance(value, dict) else "not_json"
