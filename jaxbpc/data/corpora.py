"""Corpora: files of rows → documents.

A corpus is `<dir>/<name>.jsonl` or `.json`: one JSON object a line (or one array of objects), as
the paper's evaluation and OpenCompass keep them, with the text in `content`. Nothing is stripped,
normalised or deduplicated, file order is kept; `samples` takes the first rows, and only then are
rows with empty `content` dropped. The template is filled in once: what looks like a placeholder
inside a document is text.
Source: `LLMCompressionDataset` of OpenCompass; `code/evaluation/main.py` of the paper's repository.
"""

import dataclasses
import hashlib
import itertools
import os
import pathlib
import shutil
import string
from collections.abc import Iterator
from typing import Any

from jaxbpc.config import MAX_DOCUMENT_CHARACTERS
from jaxbpc.data import jsonl
from jaxbpc.errors import InputError, short
from jaxbpc.utils import dates
from jaxbpc.utils import paths as paths_lib

EXTENSIONS = (".jsonl", ".json")
# The paper's corpora, as its files are spelt → the hub dataset's config.
PAPER_DATASET = "hkust-nlp/llm-compression"
PAPER_CORPORA = {"commoncraw": "cc", "python": "python", "arxiv_math": "arxiv_math"}
_CHARACTER_BYTES = 12  # the most that one takes in JSON: two escapes
_COLUMNS_BYTES = 1 << 20  # of a row's other columns


@dataclasses.dataclass(frozen=True)
class Document:
    """A row of a corpus with the template filled in. `row` counts from 0; empty: text is ''."""

    text: str
    n_bytes: int
    row: int
    subset: str | None = None
    date: int = -1  # proleptic ordinal of the row's `date`, -1 where it has none


def find(directory: str | pathlib.Path, name: str) -> pathlib.Path:
    """The file of corpus `name`; of a bucket, a copy in the cache.

    Raises:
      InputError: there is none, or more than one, or it cannot be read.
    """
    place = paths_lib.place(str(directory))
    try:
        paths = [p for ext in EXTENSIONS if (p := place / f"{name}{ext}").is_file()]
    except Exception as e:  # the system's, or whichever library opens this kind of bucket
        reason = getattr(e, "strerror", None) or short(e)
        raise InputError(f"{directory}: cannot be read ({reason}): check its permissions")
    if len(paths) > 1:
        raise InputError(
            f"{paths[0]} and {paths[1].name} both exist: remove one, a corpus is one file"
        )
    if not paths:
        remedy = (
            f"download it with `python -m jaxbpc.prepare paper --out {directory}`"
            if name in PAPER_CORPORA
            else "leave the ending off its name"
            if name.endswith(EXTENSIONS)
            else "give its folder as --config.data.dir, or bring the paper's corpora there with "
            f"`python -m jaxbpc.prepare paper --out {directory}`"
        )
        raise InputError(f"{place / name}.jsonl does not exist: {remedy}")
    return _copied(paths[0]) if paths_lib.is_remote(paths[0]) else paths[0]


def _copied(path: Any) -> pathlib.Path:
    """The copy of a bucket's file in the cache, made where there is none of this state of it."""
    try:
        state = path.stat()
        key = hashlib.sha256(f"{path} {state.length} {state.mtime}".encode()).hexdigest()[:32]
        copy = paths_lib.cache_folder() / "corpora" / key / path.name
        if copy.exists():
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        if state.length > shutil.disk_usage(copy.parent).free:
            raise OSError(f"{state.length / 1e9:.3g} GB are needed in {copy.parent}")
        unfinished = copy.with_name(f".{copy.name}.{os.getpid()}")
        with path.open("rb") as remote, open(unfinished, "wb") as local:
            shutil.copyfileobj(remote, local, 1 << 24)
        os.replace(unfinished, copy)
        return copy
    except Exception as e:  # as above
        raise InputError(f"{path}: cannot be copied ({short(e)}): fix that, or bring it here")


def file_sha256(path: pathlib.Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): check the file")


def documents(
    path: pathlib.Path,
    samples: int | None = None,
    template: str = "{content}",
    most_characters: int = MAX_DOCUMENT_CHARACTERS,
) -> Iterator[Document]:
    """Yields the first `samples` rows of `path`; rows that the reference drops have text ''.

    Args:
      most_characters: of a document.

    Raises:
      InputError: as `document`, or the file cannot be read; the line is named.
    """
    fill = Template(template)
    read = jsonl.rows(path, most_bytes(most_characters))
    for row, (number, value) in enumerate(itertools.islice(read, samples)):
        yield document(value, row, f"{path}:{number}", fill, most_characters)


def most_bytes(most_characters: int) -> int:
    """Of a row whose document has up to so many characters."""
    return _CHARACTER_BYTES * most_characters + _COLUMNS_BYTES


def document(
    value: Any,
    row: int,
    where: str,
    fill: "Template",
    most_characters: int = MAX_DOCUMENT_CHARACTERS,
) -> Document:
    """The document of a row's value.

    Args:
      where: file and line, for the error.

    Raises:
      rows.RowError: it is no JSON object, lacks a column of the template, or its text is not
        Unicode or longer.
    """
    if not isinstance(value, dict):
        message = f"{where}: a row is a JSON object with a `content` field"
        raise jsonl.RowError(message, "not_json")
    text = fill(value, where)
    if len(text) > most_characters:
        raise jsonl.RowError(
            f"{where}: the document has {len(text):,} characters, more than "
            f"config.data.max_document_characters, {most_characters:,}: split it, or give more "
            "(tokenising takes 100 to 400 bytes of memory for each)",
            "too_long",
        )
    subset = value.get("subset")
    subset = subset if isinstance(subset, str) else None
    try:
        (subset or "").encode()
        n_bytes = len(text.encode())
    except UnicodeEncodeError as e:
        raise jsonl.RowError(
            f"{where}: the text has half a surrogate pair ({e.reason}): it is not "
            "Unicode text, fix or remove the row",
            "not_unicode",
        )
    return Document(text, n_bytes, row, subset, _ordinal(value))


class Template:
    """A prompt template, parsed once: `'{content}'`, or text around `{column}` fields."""

    def __init__(self, template: str):
        try:
            pieces = list(string.Formatter().parse(template))
        except ValueError as e:
            raise InputError(f"config.data.template {template!r}: {e}; write {{{{ for a brace")
        self.pieces: list[tuple[str, str | None]] = []
        for literal, field, spec, conversion in pieces:
            if field is not None and (spec or conversion or not field.isidentifier()):
                raise InputError(
                    f"config.data.template {template!r}: {{{field}}} is no column name; "
                    "fields are {column} alone"
                )
            self.pieces.append((literal, field))
        fields = [field for _, field in self.pieces if field is not None]
        if not fields:
            raise InputError(
                f"config.data.template {template!r} has no {{column}}: add {{content}}"
            )
        # A row whose content is empty is dropped, whatever the template adds.
        self.key = "content" if "content" in fields else fields[0]

    def __call__(self, row: dict[str, Any], where: str) -> str:
        """The prompt of a row; '' where its content is empty. `where` names it in errors."""
        texts = []
        for literal, field in self.pieces:
            texts.append(literal)
            if field is None:
                continue
            if field not in row:
                message = f"{where}: the row has no `{field}`: add it, or fix the template"
                raise jsonl.RowError(message, "no_text")
            value = row[field]
            if not isinstance(value, str):
                if field == self.key or not isinstance(value, int | float):
                    raise jsonl.RowError(
                        f"{where}: `{field}` is {type(value).__name__}, not a string: fix the row",
                        "no_text",
                    )
                value = str(value)
            if field == self.key and not value:
                return ""
            texts.append(value)
        return "".join(texts)


def _ordinal(row: dict[str, Any]) -> int:
    """The row's `date` as a proleptic ordinal; -1: none that is one."""
    date = dates.parsed(row.get("date"))
    return -1 if date is None else date.toordinal()
