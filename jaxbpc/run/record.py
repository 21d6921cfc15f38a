"""The run's one record on disk: everything that results are derived from, written as it goes.

`RUN/<corpus>/` holds, as TensorStore arrays (zarr3, crc32c in every chunk):

  nll             [N] float32   nats of each token; NaN: not scored (yet)
  token_ids       [N] uint32
  token_char_end  [N] int64     characters of the corpus up to the token's end; -1: unknown
  documents       [n, 6] int64  first token, characters, bytes, row in the file, date, subset
  record.json                   what was scored and how, digests, subsets' names; its own checksum

A window is done when ALL its targets are finite: a write over two chunks is not atomic, a write of
one chunk is. So a record that was killed at any moment holds right values or NaN, never others.
TensorStore writes a chunk to a file beside it, syncs that, renames it and syncs the folder before
it says that the write is done: what is done outlives a power cut. What is damaged later shows in a
chunk's checksum; of a sealed record also in its digest, which detects chunks that changed places. A
run that goes on repairs what it knows, and scores again what it does not.
Process 0 alone writes. This module never imports jax: reports read records on a laptop.
"""

import hashlib
import json
import logging
import math
import os
import pathlib
from typing import Any

import numpy as np
import tensorstore as ts

from jaxbpc.data.windows import DOCUMENT_COLUMNS, Plan
from jaxbpc.errors import InputError
from jaxbpc.utils.files import read_checked, reason, sync, write_checked

log = logging.getLogger(__name__)

VERSION = 2
_STRANGE = "a chunk is missing, or is another one"
_LARGE = "it is larger than a chunk"
_CHUNK_TOKENS = 65_536
_DTYPES = {"nll": "float32", "token_ids": "uint32", "token_char_end": "int64", "documents": "int64"}


class Record:
    """A corpus's record, open. Made by `open` or `open_or_create`, never directly."""

    def __init__(self, folder: pathlib.Path, meta: dict[str, Any]):
        self.folder = folder
        self.meta = meta
        self._nll = _open_array(folder, "nll", self._shape("nll"))
        self._writes: list[ts.Future] = []

    @classmethod
    def open(cls, folder: pathlib.Path) -> "Record":
        """Opens a record. Raises InputError where there is none or it cannot be read."""
        meta = _read_meta(folder, "give a run's folder, or remove this one")
        try:
            return cls(folder, meta)
        except ValueError as e:
            raise _damaged(folder, "nll", reason(e))

    @classmethod
    def open_or_create(cls, folder: pathlib.Path, settings: dict[str, Any], tokens) -> "Record":
        """The record of a run that goes on, or a new one over `tokens` (a `TokenStream`).

        Raises:
          InputError: the folder holds a record of other settings; the message names them.
        """
        arrays = {name: getattr(tokens, name) for name in _DTYPES if name != "nll"}
        try:
            if not (folder / "record.json").exists():
                return cls._create(folder, settings, arrays, tokens.subsets)
            meta = _read_meta(folder, f"remove {folder}, it is scored again")
            _check_same(folder, meta, settings, arrays)
            _repair(folder, arrays, meta["nll_digests"])
            record = cls(folder, meta)
            record._set_digests([])
            return record
        except (OSError, ValueError) as e:
            raise InputError(
                f"{folder}: the record cannot be read or written ({reason(e)}): make space "
                "there, fix what that says, or give another --workdir"
            )

    @classmethod
    def _create(cls, folder: pathlib.Path, settings, arrays, subsets: list[str]) -> "Record":
        """Makes an empty record. `record.json` comes last: without it a folder is no record."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in arrays.items():
            array = _open_array(folder, name, values.shape, create=True, delete_existing=True)
            _write(array, values)
        shape = arrays["token_ids"].shape
        _open_array(folder, "nll", shape, create=True, delete_existing=True)
        (folder / "nll" / "c").mkdir(exist_ok=True)
        for path in [*folder.rglob("c"), *folder.iterdir(), folder, folder.parent]:
            sync(path)
        meta = {
            "version": VERSION,
            "settings": settings,
            "n_tokens": len(arrays["token_ids"]),
            "n_documents": len(arrays["documents"]),
            "document_columns": list(DOCUMENT_COLUMNS),
            "digests": _digests(arrays),
            "nll_digests": [],
            "subsets": subsets,
        }
        write_checked(folder / "record.json", meta)
        return cls(folder, meta)

    def read(self, name: str) -> np.ndarray:
        """One array, whole: `nll`, `token_ids`, `token_char_end` or `documents`."""
        for each in ("token_ids", name):
            _check_files(self.folder, each, self._shape(each))
        try:
            array = self._nll
            if name != "nll":
                array = _open_array(self.folder, name, self._shape(name))
            values = array.read().result()
        except ValueError as e:
            raise _damaged(self.folder, name, reason(e))
        if name == "nll":
            same = not _strangers(values, self.meta["nll_digests"])
        else:
            same = _digest(name, values) == self.meta["digests"][name]
        if not same:
            raise _damaged(self.folder, name, _STRANGE)
        return values

    def _shape(self, name: str) -> tuple[int, ...]:
        if name == "documents":
            return (self.meta["n_documents"], len(DOCUMENT_COLUMNS))
        return (self.meta["n_tokens"],)

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
        """Starts to write the nats of tokens [first, first + len(nll)); `flush` waits for it.

        Raises:
          InputError: the record cannot be written, or is gone.
        """
        if self.meta["nll_digests"]:
            self._set_digests([])
        # TensorStore would make the folders again and write into what is no record.
        _check_there(self.folder)
        self._writes = [f for f in self._writes if not _finished(f, self.folder)]
        self._writes.append(self._nll[first : first + len(nll)].write(np.array(nll, np.float32)))

    def flush(self) -> None:
        """Returns when all that was given to `write` is on disk."""
        writes, self._writes = self._writes, []
        for future in writes:
            _wait(future, self.folder)

    def seal(self) -> None:
        """Flushes, and writes digests of the chunks that are scored whole.

        They hold until the next write.
        """
        self.flush()
        self._set_digests(_chunk_digests(self.read("nll")))

    def _set_digests(self, digests: list[str | None]) -> None:
        self.meta["nll_digests"] = digests
        write_checked(self.folder / "record.json", self.meta)


def _read_meta(folder: pathlib.Path, remedy: str) -> dict[str, Any]:
    """What `record.json` says. Raises InputError."""
    meta = read_checked(folder / "record.json", remedy)
    if meta.get("version") != VERSION:
        raise InputError(
            f"{folder}/record.json: version {meta.get('version')}, this jaxbpc reads {VERSION}: "
            "give another --workdir"
        )
    return meta


def _damaged(folder: pathlib.Path, name: str, why: str) -> InputError:
    return InputError(
        f"{folder}/{name} is damaged ({why}): start the run's command again, it repairs what it "
        "can and scores the rest again"
    )


def _check_same(folder: pathlib.Path, meta: dict[str, Any], settings, arrays) -> None:
    """Raises InputError where a record is of other settings or tokens."""
    have = meta["settings"]
    # Through JSON, so that both sides are of the same types.
    want = json.loads(json.dumps(settings))
    if have != want:
        names = sorted(k for k in have.keys() | want.keys() if have.get(k) != want.get(k))
        if "dtype" in names and "weights" in names:  # theirs is of the weights in that dtype
            names.remove("weights")
        verb = "differs" if len(names) == 1 and names != ["weights"] else "differ"
        raise InputError(
            f"{folder} belongs to a run with other settings ({', '.join(names)} {verb}): "
            "give another --workdir, or remove this one"
        )
    if meta["digests"] != _digests(arrays):
        raise InputError(
            f"{folder} has other tokens than this run: another version of the tokenizer's library "
            "made them: give another --workdir, or remove this one"
        )


def _repair(folder: pathlib.Path, arrays: dict[str, np.ndarray], nll_digests: list) -> None:
    """Repairs what is damaged: all but `nll` is known, and that is scored again."""
    empty = np.broadcast_to(np.float32(np.nan), arrays["token_ids"].shape)  # takes no memory
    for name, values in {"nll": empty, **arrays}.items():
        try:
            array = _open_array(folder, name, values.shape)
        except ValueError as e:
            log.warning("%s/%s is made again: %s", folder, name, reason(e))
            (folder / name / "zarr.json").unlink(missing_ok=True)
            array = _open_array(folder, name, values.shape, create=True)
        for i in range(0, len(values), _CHUNK_TOKENS):
            good = values[i : i + _CHUNK_TOKENS]
            piece = array[i : i + len(good)]
            number = i // _CHUNK_TOKENS
            path = folder.joinpath(name, "c", str(number), *["0"] * (values.ndim - 1))
            try:
                if path.exists() and path.stat().st_size > _chunk_bytes(name, values.shape):
                    raise ValueError(_LARGE)
                read, why = piece.read().result(), _STRANGE
                if name == "nll" and not _strangers(read, nll_digests[number : number + 1]):
                    continue
                if name != "nll" and np.array_equal(read, good):
                    continue
            except ValueError as e:
                why = reason(e)
            if why != _LARGE and path.exists():
                path.read_bytes()  # what cannot be read at all may be good: an error, not repaired
            log.warning("%s is repaired: %s", path, why)
            path.unlink(missing_ok=True)  # or it would be read again, for what is beyond the end
            piece.write(np.array(good)).result()


def _check_files(folder: pathlib.Path, name: str, shape: tuple[int, ...]) -> None:
    """Raises InputError where files cannot be such an array's, which is then not asked for."""
    sizes = [path.stat().st_size for path in (folder / name / "c").rglob("*") if path.is_file()]
    too_few = name != "nll" and len(sizes) * _CHUNK_TOKENS < shape[0]
    if too_few or max(sizes, default=0) > _chunk_bytes(name, shape):
        raise _damaged(folder, name, _STRANGE)


def _chunk_bytes(name: str, shape: tuple[int, ...]) -> int:
    """Bytes of a chunk's file, its crc32c included."""
    rows = min(_CHUNK_TOKENS, max(shape[0], 1))
    return rows * math.prod(shape[1:]) * np.dtype(_DTYPES[name]).itemsize + 4


def _open_array(folder: pathlib.Path, name: str, shape: tuple[int, ...], **how):
    """Opens array `name`, which must be of this shape and as we write it. Raises ValueError."""
    dtype, chunk = _DTYPES[name], min(_CHUNK_TOKENS, max(shape[0], 1))
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{folder.resolve()}/{name}/"},
        "metadata": {
            "shape": list(shape),
            "data_type": dtype,
            "fill_value": "NaN" if dtype == "float32" else 0,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [chunk, *shape[1:]]},
            },
            "chunk_key_encoding": {"name": "default"},
            "codecs": [{"name": "bytes"}, {"name": "crc32c"}],
        },
    }
    return ts.open(spec, **(how or {"open": True})).result()


def _write(array, values: np.ndarray) -> None:
    for i in range(0, len(values), 16 * _CHUNK_TOKENS):
        piece = np.asarray(values[i : i + 16 * _CHUNK_TOKENS], array.dtype.numpy_dtype)
        array[i : i + len(piece)].write(piece).result()


def _digests(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """SHA-256 of each array's values."""
    return {name: _digest(name, values) for name, values in arrays.items()}


def _digest(name: str, values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, _DTYPES[name])).hexdigest()


def _chunk_digests(nll: np.ndarray) -> list[str | None]:
    """SHA-256 of each chunk that is scored whole, but for token 0 of the stream; else None."""
    digests: list[str | None] = []
    for i in range(0, len(nll), _CHUNK_TOKENS):
        chunk = nll[i : i + _CHUNK_TOKENS]
        whole = np.isfinite(chunk[1 if i == 0 else 0 :]).all()
        digests.append(_digest("nll", chunk) if whole else None)
    return digests


def _strangers(nll: np.ndarray, digests: list[str | None]) -> bool:
    """Whether chunks of `nll` are not those that `digests` were taken of."""
    pairs = zip(_chunk_digests(nll), digests, strict=False)
    return any(want is not None and have != want for have, want in pairs)


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
        _check_there(folder)
        raise InputError(
            f"{folder}/nll: cannot write ({reason(e)}): make space, or fix what that says, and "
            "start the same command again, what is scored is kept"
        )


def _check_there(folder: pathlib.Path) -> None:
    """Raises InputError where a record is gone, as a disk is that was unplugged."""
    try:
        os.stat(folder / "record.json")
    except OSError as e:
        raise InputError(
            f"{folder} has vanished under this run ({e.strerror}): bring it back and start the "
            "same command again, what is gone is scored again"
        )
