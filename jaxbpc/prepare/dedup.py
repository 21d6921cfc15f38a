"""Exact and near duplicates, on disk: the memory does not grow with the corpus.

Near: 112 MinHash values over 5 words on end, in bands so long that a pair at the threshold shares
one with a chance of 0.95 or more, and of those that share a band the estimate by all values (its
standard deviation is 0.05 at most). A document is dropped where one that was kept before it is as
similar as the threshold: of pairs at the threshold about half are found, of those 0.1 above it 95%
and more. On disk some 30 bytes a document for exact and 700 to 1,500 for near duplicates.
Source: Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3.
"""

import hashlib
import pathlib
import re
import sqlite3
import zlib
from collections.abc import Sequence

import numpy as np

from jaxbpc.errors import InputError
from jaxbpc.prepare.readers import decode

_VALUES = 112
_SHARED_AT_THRESHOLD = 0.95
_WORDS_ON_END = 5
_SEED = 1
# What many documents have in common fills some bands; a duplicate shares others, and more of them.
_MOST_CANDIDATES = 100
_MOST_OF_A_BAND = 1000
# Scripts without spaces: a letter is a word.
_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"
    "|[^\\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+"
)
_ODD = np.uint64(0x9E3779B97F4A7C15)


def digest(data: bytes) -> bytes:
    """16 bytes that equal texts alone share."""
    return hashlib.blake2b(data, digest_size=16).digest()


class _Table:
    """A database of one run in a file that goes when it is closed; a context manager."""

    def __init__(self, path: pathlib.Path):
        self._path = path
        path.unlink(missing_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
                self._db.execute(f"PRAGMA {setting}")
            self._create()
            self._db.execute("BEGIN")
        except sqlite3.Error as e:
            raise self._failed(e)

    def _create(self) -> None:
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        self._db.close()
        self._path.unlink(missing_ok=True)

    def _failed(self, e: sqlite3.Error) -> InputError:
        return InputError(f"{self._path}: cannot be written ({e}): make room on that disk")


class Exact(_Table):
    """The digests that have been seen."""

    def _create(self) -> None:
        self._db.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")

    def is_new(self, value: bytes) -> bool:
        """Whether a digest has not been seen; from now on it has."""
        try:
            return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (value,)).rowcount > 0
        except sqlite3.Error as e:
            raise self._failed(e)

    def has(self, value: bytes) -> bool:
        """Whether a digest has been seen."""
        found = self._db.execute("SELECT 1 FROM seen WHERE digest = ?", (value,)).fetchone()
        return found is not None


class Near(_Table):
    """The signatures of documents that were kept.

    Args:
      threshold: the Jaccard similarity from which a document is a duplicate.
    """

    def __init__(self, path: pathlib.Path, threshold: float):
        super().__init__(path)
        self._threshold = threshold
        self._n = 0
        self._rows = _rows_of_a_band(threshold)
        of_a_band = (
            f"SELECT * FROM (SELECT document FROM bands WHERE band = ? LIMIT {_MOST_OF_A_BAND})"
        )
        self._candidates = (
            "SELECT signature FROM documents JOIN (SELECT document FROM ("
            + " UNION ALL ".join([of_a_band] * (_VALUES // self._rows))
            + f") GROUP BY document ORDER BY COUNT(*) DESC LIMIT {_MOST_CANDIDATES})"
            " ON id = document"
        )

    def _create(self) -> None:
        self._db.execute(
            "CREATE TABLE bands (band INTEGER, document INTEGER, PRIMARY KEY (band, document)) "
            "WITHOUT ROWID"
        )
        self._db.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, signature BLOB)")

    def is_new(self, signature: bytes) -> bool:
        """Whether no kept document is that similar; if so, it is kept from now on."""
        values = np.frombuffer(signature, np.uint32)
        bands = _bands(values, self._rows)
        try:
            for (other,) in self._db.execute(self._candidates, bands):
                if (np.frombuffer(other, np.uint32) == values).mean() >= self._threshold:
                    return False
            self._n += 1
            rows = [(band, self._n) for band in bands]
            self._db.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", rows)
            self._db.execute("INSERT INTO documents VALUES (?, ?)", (self._n, signature))
        except sqlite3.Error as e:
            raise self._failed(e)
        return True


def _rows_of_a_band(threshold: float) -> int:
    """The most values a band may have so that a pair at the threshold is likely to share one.

    A pair of Jaccard similarity s shares one of b bands of r values with a chance of
    1 - (1 - s^r)^b; the longer the bands, the fewer pairs below the threshold are looked at.
    """
    return max(
        (
            r
            for r in range(1, _VALUES + 1)
            if 1 - (1 - threshold**r) ** (_VALUES // r) >= _SHARED_AT_THRESHOLD
        ),
        default=1,
    )


def _bands(values: np.ndarray, rows: int) -> list[int]:
    """A number a band, of the band's values and its index. values: [112] uint32."""
    numbers = []
    for i, band in enumerate(values[: len(values) // rows * rows].reshape(-1, rows)):
        data = i.to_bytes(1, "little") + band.tobytes()
        eight = hashlib.blake2b(data, digest_size=8).digest()
        numbers.append(int.from_bytes(eight, "little", signed=True))
    return numbers


def signatures(texts: Sequence[str]) -> list[bytes]:
    """112 MinHash values of each text, uint32 on end."""
    minhash = decode.needed("rensa").RMinHash
    hashes = [_shingles(text) for text in texts]
    offsets = np.cumsum([0, *map(len, hashes)]).astype(np.uint64)
    matrix = minhash.digest_matrix_from_flat_token_hashes(
        np.concatenate(hashes), offsets, _VALUES, _SEED
    )
    return [np.array(row, np.uint32).tobytes() for row in matrix.to_rows()]


def _shingles(text: str) -> np.ndarray:
    """[n] uint64 hashes of 5 words on end; of fewer words, one of them all."""
    words = _WORD.findall(text.lower()) or [text]
    one = np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words))
    n = min(_WORDS_ON_END, len(words))
    mixed = np.zeros(len(words) - n + 1, np.uint64)
    for i in range(n):
        mixed = mixed * _ODD + one[i : len(one) - n + 1 + i]
        mixed ^= mixed >> np.uint64(29)
    return mixed
