"""A piece → documents, filtered: what workers do, each document by itself.

What looks at several documents (duplicates, the sample) is not here.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.prepare import dedup, writer
from jaxbpc.prepare.readers import decode, inputs
from jaxbpc.prepare.readers.pieces import LIMIT, Files, Lines, Piece, Rows
from jaxbpc.utils import dates

_LANGUAGE_CHARACTERS = 1000  # of a document's middle, from which its language is detected


@dataclasses.dataclass(frozen=True)
class Options:
    """What becomes of a document. Columns None: the usual names. Characters are code points.

    since, until: ISO days, both included. near: whether signatures of near duplicates are made.
    """

    text_column: str | None = None
    date_column: str | None = None
    title_column: str | None = None
    subset_column: str | None = None
    min_characters: int = 1
    max_characters: int = 10_000_000
    languages: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    near: bool = False

    def columns(self) -> tuple[str, ...]:
        """Those that are read; () where any may be the text's."""
        texts = _TEXT_COLUMNS if self.text_column is None else (self.text_column,)
        return (*texts, *(given or name for name, given in self.others().items()))

    def others(self) -> dict[str, str | None]:
        """Of what is known beside the text the column that was given, by its usual name."""
        return {"date": self.date_column, "title": self.title_column, "subset": self.subset_column}


_TEXT_COLUMNS = ("content", "text")


@dataclasses.dataclass(slots=True)
class Made:
    """A document: its line in the corpus, or why it is dropped.

    key: where it came from, its own in this command. digest: of its text; signature: for near
    duplicates. encoding: of its text, where that was guessed.
    """

    key: str
    dropped: str | None = None
    line: bytes = b""
    n_characters: int = 0
    n_bytes: int = 0
    digest: bytes = b""
    signature: bytes = b""
    encoding: str | None = None


@dataclasses.dataclass(slots=True)
class _Document:
    """What was read: text or why there is none, and what is known of it."""

    source: inputs.Source
    row: int | None
    text: str | None
    why_not: str = ""
    date: str | None = None
    title: str | None = None
    encoding: str | None = None
    subset: str | None = None


def process(piece: Piece, options: Options) -> list[Made]:
    """All documents of a piece, in their order. Raises InputError."""
    made = []
    texts = []
    for document in _read(piece, options):
        one, text = _filtered(document, options)
        one.encoding = document.encoding
        made.append(one)
        if text is not None:
            texts.append((one, text))
    if options.near and texts:
        signatures = dedup.signatures([text for _, text in texts])
        for (one, _), signature in zip(texts, signatures, strict=True):
            one.signature = signature
    return made


def _filtered(document: _Document, options: Options) -> tuple[Made, str | None]:
    text = document.text
    source = document.source
    key = source.key if document.row is None else f"{source.key}:{document.row}"
    if text is None:
        return Made(key, document.why_not), None
    if len(text) < options.min_characters:
        return Made(key, "too_short" if text else "empty"), None
    if len(text) > options.max_characters:
        return Made(key, "too_long"), None
    if options.since or options.until:
        if document.date is None:
            return Made(key, "no_date"), None
        if not (options.since or "") <= document.date <= (options.until or "9999-12-31"):
            return Made(key, "out_of_dates"), None
    meta = {"source": source.name, "row": document.row, "title": document.title}
    meta = {name: value for name, value in meta.items() if value is not None}
    try:
        line = writer.encode(writer.row(text, document.date, document.subset, meta))
        data = text.encode()
    except UnicodeEncodeError:
        return Made(key, "not_unicode"), None
    if options.languages and _language(text) not in options.languages:
        return Made(key, "other_language"), None
    return Made(key, None, line, len(text), len(data), dedup.digest(data)), text


def _language(text: str) -> str:
    start = max(0, (len(text) - _LANGUAGE_CHARACTERS) // 2)
    return decode.needed("py3langid").classify(text[start : start + _LANGUAGE_CHARACTERS])[0]


def _read(piece: Piece, options: Options) -> Iterator[_Document]:
    if isinstance(piece, Files):
        for source in piece.sources:
            yield _file(source, options.max_characters)
        return
    source = piece.source
    read = list(_rows(piece))
    if not piece.first:
        _check_columns([row for row, _ in read if isinstance(row, dict)], options, source.name)
    for number, (row, encoding) in enumerate(read, start=piece.first):
        if row is None or isinstance(row, str):
            if row != "":
                yield _Document(source, number, None, row or "too_long")
            continue
        text = row.get(_text_column(row, options.text_column, source.name, number))
        if not isinstance(text, str):
            yield _Document(source, number, None, "no_text")
            continue
        known = {name: row.get(given or name) for name, given in options.others().items()}
        title, subset = (
            value if isinstance(value, str) and value else None
            for value in (known["title"], known["subset"])
        )
        day = dates.parsed(known["date"])
        date = None if day is None else day.isoformat()
        yield _Document(source, number, text, "", date, title, encoding, subset)


def _file(source: inputs.Source, max_characters: int) -> _Document:
    # A character has 4 bytes at most; of HTML's most are none of the text.
    limit = LIMIT if source.kind == inputs.HTML else min(LIMIT, 4 * max_characters + 4)
    try:
        with source.open() as file:
            data = file.read(limit + 1)
    except inputs.damaged() as e:
        raise inputs.unreadable(source, e)
    if len(data) > limit:
        return _Document(source, None, None, "too_long")
    if source.kind == inputs.HTML:
        found = decode.html(data)
        if found is None:
            return _Document(source, None, None, "no_text")
        return _Document(source, None, found[0], title=found[1], encoding=found[2])
    decoded = (decode.python if source.kind == inputs.PYTHON else decode.text)(data)
    if decoded is None:
        return _Document(source, None, None, "undecodable")
    return _Document(source, None, decoded[0], encoding=decoded[1])


def _rows(piece: Lines | Rows) -> Iterator[tuple[dict[str, Any] | str | None, str | None]]:
    """(row, why there is none, or '' for a line of spaces; its encoding where it was guessed)."""
    if isinstance(piece, Rows):
        yield from ((row, piece.encoding) for row in piece.rows)
        return
    lines = piece.data.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, start=piece.first):
        if not number:
            line = line.removeprefix(b"\xef\xbb\xbf")
        yield _row(line, piece) if line.strip() else ("", None)


def _row(line: bytes, piece: Lines) -> tuple[dict[str, Any] | str, str | None]:
    """As `_rows`, of a line."""
    encoding = piece.transcoded
    try:
        text = line.decode()
    except UnicodeDecodeError:
        encoding = piece.encoding
        try:
            text = line.decode(encoding or "utf-8")
        except UnicodeDecodeError:
            return "undecodable", None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "not_json", None
    return (value if isinstance(value, dict) else "not_json"), encoding


def _check_columns(rows: list[dict[str, Any]], options: Options, name: str) -> None:
    """Raises InputError where none of a source's first rows has a column that was given."""
    for usual, given in options.others().items():
        if given is not None and rows and not any(given in row for row in rows):
            raise InputError(
                f"{name}: has no column {given} but {', '.join(map(str, rows[0]))[:200]}: give one "
                f"as --{usual}_column"
            )


def _text_column(row: dict[str, Any], given: str | None, name: str, number: int) -> str:
    """Raises InputError where the first row has none; of later ones that is a row without text."""
    for column in _TEXT_COLUMNS if given is None else (given,):
        if column in row:
            return column
    if number:
        return ""
    raise InputError(
        f"{name}: has no column {' or '.join(_TEXT_COLUMNS) if given is None else given} but "
        f"{', '.join(map(str, row))[:200]}: give one as --text_column"
    )
