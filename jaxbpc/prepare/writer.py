"""Rows → a corpus: `<out>/<name>.jsonl` with a manifest beside it, there only when complete.

A row is a JSON object: the text in `content`; where known, `date` (ISO) and `subset`, which the
evaluator reads; whatever else is known of the text in `meta`.
"""

import datetime
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import jaxbpc
from jaxbpc.data import corpora
from jaxbpc.errors import InputError
from jaxbpc.utils.files import write_json


def row(
    text: str, date: str | None = None, subset: str | None = None, meta: dict | None = None
) -> dict[str, Any]:
    """A row without the fields that are not known. date: ISO, the day in its first 10 letters."""
    fields = {"content": text, "date": date, "subset": subset, "meta": meta}
    return {name: value for name, value in fields.items() if value is not None}


def encode(fields: dict[str, Any]) -> bytes:
    """A row as its line. Raises UnicodeEncodeError of half a surrogate pair."""
    return json.dumps(fields, ensure_ascii=False, default=str).encode() + b"\n"


def manifest_path(corpus: pathlib.Path) -> pathlib.Path:
    """Where the manifest of `<out>/<name>.jsonl` lies."""
    return corpus.with_name(f"{corpus.stem}.manifest.json")


class Writer:
    """Writes one corpus, row by row; a context manager that leaves nothing half-written.

    Nothing is at `path` before `finish`; what an earlier, killed run wrote is overwritten.

    Args:
      out: folder, made where it is not.
      name: of the corpus.

    Raises:
      InputError: the corpus is there already, or the folder cannot be written.
    """

    def __init__(self, out: pathlib.Path, name: str):
        if not re.fullmatch(r"[\w][\w.-]*", name) or name.endswith(".manifest"):
            raise InputError(f"--name {name!r}: letters, digits, _ . and - make a corpus's name")
        self.path = out / f"{name}.jsonl"
        self.part = out / f".{name}.jsonl.part"
        for extension in corpora.EXTENSIONS:
            if (there := out / f"{name}{extension}").exists():
                raise InputError(f"{there}: is there already: remove it, or give another --name")
        self.documents = self.characters = self.bytes = 0
        self._sha256 = hashlib.sha256()
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._file = open(self.part, "wb")  # noqa: SIM115 (closed by finish or __exit__)
        except OSError as e:
            raise self._unwritable(e)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self.part.unlink(missing_ok=True)

    def add(self, fields: dict[str, Any]) -> None:
        """Writes a row of `row`."""
        text = fields["content"]
        self.add_line(encode(fields), len(text), len(text.encode()))

    def add_line(self, line: bytes, n_characters: int, n_bytes: int) -> None:
        """Writes a row that is encoded already; characters and UTF-8 bytes are its text's."""
        try:
            self._file.write(line)
        except OSError as e:
            raise self._unwritable(e)
        self._sha256.update(line)
        self.documents += 1
        self.characters += n_characters
        self.bytes += n_bytes

    def finish(self, about: dict[str, Any], packages: Iterable[str] = ()) -> dict[str, Any]:
        """Makes the corpus appear, with its manifest; returns that.

        Args:
          about: what else the manifest has: options, sources, what was dropped.
          packages: distributions whose versions the text depends on.
        """
        manifest = {
            "name": self.path.stem,
            "documents": self.documents,
            "characters": self.characters,
            "bytes": self.bytes,
            "sha256": self._sha256.hexdigest(),
            **about,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {"jaxbpc": jaxbpc.__version__}
            | {name: importlib.metadata.version(name) for name in packages},
        }
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            # A manifest without its corpus misleads nobody; the reverse would.
            write_json(manifest_path(self.path), manifest)
            os.replace(self.part, self.path)
        except OSError as e:
            raise self._unwritable(e)
        return manifest

    def _unwritable(self, e: OSError) -> InputError:
        return InputError(
            f"{e.filename or self.part}: cannot be written ({e.strerror}): give another --out"
        )
