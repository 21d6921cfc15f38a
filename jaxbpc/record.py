"""The run's one record on disk: everything that results are derived from, written as it goes.

`RUN/<corpus>/` holds, as TensorStore arrays (zarr3, crc32c in every chunk):

  nll             [N] float32   nats of each token; NaN: not scored (yet)
  token_ids       [N] uint32
  token_char_end  [N] int64     characters of the corpus up to the token's end; -1: unknown
  documents       [n, 6] int64  first token, characters, bytes, row in the file, date, subset
  record.json                   what was scored and how (its fingerprint), subsets' names

A window is done when ALL its targets are finite: a write over two chunks is not atomic, a write of
one chunk is. So a record that was killed at any moment holds right values or NaN, never others.
Process 0 alone writes. This module never imports jax: reports read records on a laptop.
"""

import json
import os
import pathlib
from typing import Any

import numpy as np
import tensorstore as ts

from jaxbpc.data.windows import Plan
from jaxbpc.errors import InputError

VERSION = 1
DOCUMENT_COLUMNS = ("first_token", "characters", "bytes", "row", "date", "subset")
_CHUNK_TOKENS = 65_536
_DTYPES = {"nll": "float32", "token_ids": "uint32", "token_char_end": "int64", "documents": "int64"}


class Record:
    """A corpus's record, open. Made by `create` or `open`, never directly."""

    def __init__(self, folder: pathlib.Path, meta: dict[str, Any]):
        self.folder = folder
        self.meta = meta
        self._nll = _open_array(folder, "nll")
        self._writes: list[ts.Future] = []

    @classmethod
    def create(
        cls,
        folder: pathlib.Path,
        settings: dict[str, Any],
        token_ids: np.ndarray,
        token_char_end: np.ndarray,
        documents: np.ndarray,
        subsets: list[str],
    ) -> "Record":
        """Makes an empty record. `record.json` comes last: without it a folder is no record."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, values in (
                ("token_ids", token_ids),
                ("token_char_end", token_char_end),
                ("documents", documents),
            ):
                array = _open_array(folder, name, shape=values.shape)
                for i in range(0, len(values), 16 * _CHUNK_TOKENS):
                    piece = np.asarray(values[i : i + 16 * _CHUNK_TOKENS], _DTYPES[name])
                    array[i : i + len(piece)].write(piece).result()
            _open_array(folder, "nll", shape=token_ids.shape)
            meta = {
                "version": VERSION,
                "settings": settings,
                "n_tokens": len(token_ids),
                "n_documents": len(documents),
                "document_columns": list(DOCUMENT_COLUMNS),
                "subsets": subsets,
            }
            write_json(folder / "record.json", meta)
        except (OSError, ValueError) as e:
            raise InputError(
                f"{folder}: cannot write the record ({_one_line(e)}): make space there, or "
                "give another --workdir"
            )
        return cls(folder, meta)

    @classmethod
    def open(cls, folder: pathlib.Path) -> "Record":
        """Opens a record. Raises InputError where there is none or it cannot be read."""
        try:
            meta = json.loads((folder / "record.json").read_text())
            if meta["version"] != VERSION:
                raise InputError(
                    f"{folder}/record.json: version {meta['version']}, this jaxbpc reads "
                    f"{VERSION}: give another --workdir"
                )
            return cls(folder, meta)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise InputError(
                f"{folder}: no readable record ({_one_line(e)}): give a run's folder, or "
                "remove this one"
            )

    @classmethod
    def open_or_create(cls, folder: pathlib.Path, settings: dict[str, Any], tokens) -> "Record":
        """The record of a run that goes on, or a new one over `tokens` (a `TokenStream`).

        Raises:
          InputError: the folder holds a record of other settings; their names are told.
        """
        if not (folder / "record.json").exists():
            return cls.create(
                folder,
                settings,
                tokens.token_ids,
                tokens.token_char_end,
                tokens.documents,
                tokens.subsets,
            )
        record = cls.open(folder)
        have = record.meta.get("settings")
        if not isinstance(have, dict):
            raise InputError(f"{folder}/record.json has no settings: remove {folder}")
        # Through JSON, so that both sides are of the same types.
        want = json.loads(json.dumps(settings))
        if have != want:
            names = sorted(k for k in have.keys() | want.keys() if have.get(k) != want.get(k))
            raise InputError(
                f"{folder} belongs to a run with other settings ({', '.join(names)} differ): "
                "give another --workdir, or remove this one"
            )
        # Another version of the tokenizer's library may give other ids of equal files.
        same = np.array_equal(record.read("token_ids"), tokens.token_ids)
        if not same or record._nll.shape != tokens.token_ids.shape:
            raise InputError(
                f"{folder} has other tokens than this run: it is damaged, or another version of "
                "the tokenizer made them: give another --workdir, or remove this one"
            )
        return record

    def read(self, name: str) -> np.ndarray:
        """One array, whole: `nll`, `token_ids`, `token_char_end` or `documents`."""
        try:
            array = self._nll if name == "nll" else _open_array(self.folder, name)
            return array.read().result()
        except ValueError as e:
            remedy = f"remove {self.folder}, it is scored again"
            if name == "nll":
                remedy = "remove that file of it, what it held is scored again"
            raise InputError(f"{self.folder}/{name} is damaged ({_one_line(e)}): {remedy}")

    def undone(self, plan: Plan) -> list[int]:
        """Indices of the plan's windows that are not yet scored whole."""
        done = np.isfinite(self.read("nll"))
        # done_before[t]: scored tokens among [0, t); a window is done where the difference is full.
        done_before = np.concatenate([[0], np.cumsum(done)])
        windows = [plan.window(i) for i in range(plan.n_all_windows)]
        return [
            i
            for i, w in enumerate(windows)
            if done_before[w.end] - done_before[w.first_scored] < w.n_scored
        ]

    def write(self, first: int, nll: np.ndarray) -> None:
        """Starts to write the nats of tokens [first, first + len(nll)); `flush` waits for it."""
        self._writes = [f for f in self._writes if not _finished(f, self.folder)]
        self._writes.append(self._nll[first : first + len(nll)].write(np.array(nll, np.float32)))

    def flush(self) -> None:
        """Returns when all that was given to `write` is on disk."""
        writes, self._writes = self._writes, []
        for future in writes:
            _wait(future, self.folder)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON so that a reader, or a crash, sees the old file or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path}: cannot be written ({e.strerror}): mend that and start the same command "
            "again, what is scored is kept"
        )


def _open_array(folder: pathlib.Path, name: str, shape: tuple[int, ...] | None = None):
    """Opens array `name`; with a shape, makes it anew in place of an unfinished one."""
    spec: dict[str, Any] = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{folder.resolve()}/{name}/"},
    }
    if shape is None:
        return ts.open(spec, open=True).result()
    dtype = _DTYPES[name]
    spec["metadata"] = {
        "shape": list(shape),
        "data_type": dtype,
        "fill_value": "NaN" if dtype == "float32" else 0,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [_CHUNK_TOKENS, *shape[1:]]},
        },
        "codecs": [{"name": "bytes"}, {"name": "crc32c"}],
    }
    return ts.open(spec, create=True, delete_existing=True).result()


def _finished(future: ts.Future, folder: pathlib.Path) -> bool:
    """Whether a write is on disk; raises where it failed."""
    if not future.done():
        return False
    _wait(future, folder)
    return True


def _wait(future: ts.Future, folder: pathlib.Path) -> None:
    try:
        future.result()
    except ValueError as e:
        raise InputError(
            f"{folder}/nll: cannot write ({_one_line(e)}): make space there and start the same "
            "command again, what is scored is kept"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
