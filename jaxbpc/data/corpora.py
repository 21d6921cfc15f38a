"""Corpora: files of rows → documents.

A corpus is `<dir>/<name>.jsonl` or `.json`: one JSON object a line (or one array of objects), as
the paper's evaluation and OpenCompass keep them, with the text in `content`. Nothing is stripped,
normalised or deduplicated, file order is kept; `samples` takes the first rows, and only then are
rows with empty `content` dropped. The template is filled in once: what looks like a placeholder
inside a document is text.
Source: `LLMCompressionDataset` of OpenCompass; `code/evaluation/main.py` of the paper's repository.
"""

import dataclasses
import datetime
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import string
from collections.abc import Iterator
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.weights import source

EXTENSIONS = (".jsonl", ".json")
# The paper's corpora, as its files are spelt → the hub dataset's config.
PAPER_DATASET = "hkust-nlp/llm-compression"
PAPER_CORPORA = {"commoncraw": "cc", "python": "python", "arxiv_math": "arxiv_math"}


@dataclasses.dataclass(frozen=True)
class Document:
    """A row of a corpus with the template filled in. `row` counts from 0; empty: text is ''."""

    text: str
    n_bytes: int
    row: int
    subset: str | None = None
    date: int = -1  # proleptic ordinal of the row's ISO `date`, -1 where it has none


def find(directory: str | pathlib.Path, name: str) -> pathlib.Path:
    """The file of corpus `name`; of a bucket, a copy in the cache.

    Raises:
      InputError: there is none, or more than one, or it cannot be read.
    """
    place = source.place(str(directory))
    try:
        paths = [p for ext in EXTENSIONS if (p := place / f"{name}{ext}").is_file()]
    except Exception as e:  # the system's, or whichever library opens this kind of bucket
        reason = getattr(e, "strerror", None) or " ".join(str(e).split())[:160]
        raise InputError(f"{directory}: cannot be read ({reason}): check its permissions")
    if len(paths) > 1:
        raise InputError(
            f"{paths[0]} and {paths[1].name} both exist: remove one, a corpus is one file"
        )
    if not paths:
        remedy = (
            f"download it with `python -m jaxbpc.prepare paper --out {directory}`"
            if name in PAPER_CORPORA
            else "give its folder as --config.data.dir, or bring the paper's corpora there with "
            f"`python -m jaxbpc.prepare paper --out {directory}`"
        )
        raise InputError(f"{place / name}.jsonl does not exist: {remedy}")
    return _copied(paths[0]) if source.is_remote(paths[0]) else paths[0]


def _copied(path: Any) -> pathlib.Path:
    """The copy of a bucket's file in the cache, made where there is none of this state of it."""
    try:
        state = path.stat()
        key = hashlib.sha256(f"{path} {state.length} {state.mtime}".encode()).hexdigest()[:32]
        copy = source.cache_folder() / "corpora" / key / path.name
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
        reason = " ".join(str(e).split())[:160]
        raise InputError(f"{path}: cannot be copied ({reason}): mend that, or bring it here")


def file_sha256(path: pathlib.Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def documents(
    path: pathlib.Path, samples: int | None = None, template: str = "{content}"
) -> Iterator[Document]:
    """Yields the first `samples` rows of `path`; rows that the reference drops have text ''.

    Raises:
      InputError: a row that is no JSON object, lacks a column of the template, or whose text is
        not Unicode; the line is named.
    """
    fill = Template(template)
    for row, (where, value) in enumerate(itertools.islice(_rows(path), samples)):
        if not isinstance(value, dict):
            raise InputError(f"{path}:{where}: a row is a JSON object with a `content` field")
        text = fill(value, f"{path}:{where}")
        subset = value.get("subset")
        subset = subset if isinstance(subset, str) else None
        try:
            (subset or "").encode()
            n_bytes = len(text.encode())
        except UnicodeEncodeError as e:
            raise InputError(
                f"{path}:{where}: the text has half a surrogate pair ({e.reason}): it is not "
                "Unicode text, mend or remove the row"
            )
        yield Document(text, n_bytes, row, subset, _ordinal(value))


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
                raise InputError(f"{where}: the row has no `{field}`: add it, or mend the template")
            value = row[field]
            if not isinstance(value, str):
                if field == self.key or not isinstance(value, int | float):
                    raise InputError(
                        f"{where}: `{field}` is {type(value).__name__}, not a string: mend the row"
                    )
                value = str(value)
            if field == self.key and not value:
                return ""
            texts.append(value)
        return "".join(texts)


def _rows(path: pathlib.Path) -> Iterator[tuple[int, Any]]:
    """(line or element number from 1, parsed value) of each row, in file order."""
    with _open(path) as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        file.seek(0)
        if start.startswith(b"["):
            value = _parse(file.read(), f"{path}")
            yield from enumerate(value, start=1)
            return
        # Binary lines end at \n alone: U+2028 inside a text is no line end.
        for number, line in enumerate(file, start=1):
            if line.strip(b" \t\r\n\xef\xbb\xbf" if number == 1 else b" \t\r\n"):
                yield number, _parse(line, f"{path}:{number}")


def _parse(data: bytes, where: str) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise InputError(
            f"{where}: not UTF-8 (byte {e.start}: {e.reason}): convert the file to UTF-8"
        )
    except json.JSONDecodeError as e:
        line = f"line {e.lineno}, " if e.lineno > 1 else ""
        raise InputError(f"{where}: not JSON ({line}column {e.colno}: {e.msg}): mend the line")
    except (RecursionError, ValueError) as e:
        raise InputError(f"{where}: cannot be read as JSON ({type(e).__name__}): mend the line")


def _open(path: pathlib.Path):
    try:
        return open(path, "rb")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): check the file")


def _ordinal(row: dict[str, Any]) -> int:
    """The row's `date` (ISO, day first ten characters) as a proleptic ordinal; -1: none."""
    date = row.get("date")
    try:
        return datetime.date.fromisoformat(date[:10]).toordinal() if isinstance(date, str) else -1
    except ValueError:
        return -1
