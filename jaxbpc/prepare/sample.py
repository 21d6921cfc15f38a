"""A seeded sample of documents by characters, without their number being known before.

Each document has a number that its source and the seed decide; the documents with the smallest are
taken (of equal ones the first), until there are enough characters, and come in the order of the
sources. As they come, those that cannot be among them any more are left out, so that the disk holds
little more than the sample; the memory holds a histogram of the numbers.
"""

import hashlib
import pathlib
from collections.abc import Iterator

import numpy as np

from jaxbpc.errors import InputError

_BUCKETS = 1 << 16
_CHUNK = 1 << 16
_ENTRY = np.dtype(
    [("number", np.uint64), ("line", np.int64), ("n_ch", np.int64), ("n_b", np.int64)]
)


class Sample:
    """Takes lines, then gives those of the sample; a context manager over its two files.

    Args:
      path: where they lie; another one beside it has their lengths.
      characters: the sample ends with the document that reaches as many.
    """

    def __init__(self, path: pathlib.Path, characters: int, seed: int):
        self._characters, self._seed = characters, seed
        self._paths = (path, path.with_name(path.name + ".index"))
        self._histogram = np.zeros(_BUCKETS, np.int64)
        self._last = _BUCKETS - 1  # the last bucket that the sample may reach
        self._up_to_last = 0
        try:
            self._files = [open(p, "wb") for p in self._paths]  # noqa: SIM115
        except OSError as e:
            raise _unwritable(e, path)

    def __enter__(self) -> "Sample":
        return self

    def __exit__(self, *exception: object) -> None:
        for file, path in zip(self._files, self._paths, strict=True):
            file.close()
            path.unlink(missing_ok=True)

    def add(self, key: str, line: bytes, n_characters: int, n_bytes: int) -> None:
        """A document; `key` says where it came from."""
        eight = hashlib.blake2b(f"{self._seed}\0{key}".encode(), digest_size=8).digest()
        number = int.from_bytes(eight, "big")
        bucket = number >> 48
        if bucket > self._last:
            return
        try:
            self._files[0].write(line)
            entry = np.array([(number, len(line), n_characters, n_bytes)], _ENTRY)
            self._files[1].write(entry.tobytes())
        except OSError as e:
            raise _unwritable(e, self._paths[0])
        self._histogram[bucket] += n_characters
        self._up_to_last += n_characters
        while self._up_to_last - self._histogram[self._last] >= self._characters:
            self._up_to_last -= int(self._histogram[self._last])
            self._last -= 1

    def lines(self) -> Iterator[tuple[bytes, int, int]]:
        """(line, characters, bytes) of the sample's documents."""
        for file in self._files:
            file.flush()
        last = self._last_taken()
        with open(self._paths[0], "rb") as lines:
            for i, entry in enumerate(self._entries()):
                line = lines.read(int(entry["line"]))
                if (int(entry["number"]), i) <= last:
                    yield line, int(entry["n_ch"]), int(entry["n_b"])

    def _last_taken(self) -> tuple[int, int]:
        """The sample's largest (number, place): only the last bucket's are sorted."""
        left = self._characters - (self._up_to_last - int(self._histogram[self._last]))
        inside = [
            (int(e["number"]), i, int(e["n_ch"]))
            for i, e in enumerate(self._entries())
            if int(e["number"]) >> 48 == self._last
        ]
        last = (self._last << 48, -1)
        for number, i, n_characters in sorted(inside):
            if left <= 0:
                break
            last = (number, i)
            left -= n_characters
        return last

    def _entries(self) -> Iterator[np.void]:
        with open(self._paths[1], "rb") as file:
            while len(entries := np.fromfile(file, _ENTRY, _CHUNK)):
                yield from entries


def _unwritable(e: OSError, path: pathlib.Path) -> InputError:
    return InputError(f"{e.filename or path}: cannot be written ({e.strerror}): make room there")
