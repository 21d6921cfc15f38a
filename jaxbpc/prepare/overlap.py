"""How much of one corpus stands in another: windows of 50 characters, a sample of them by hash.

Runs of spaces count as one. A window is looked at where its 64-bit hash is below a bound, which is
the same for both corpora: so a sampled window that both have is sampled in both. The bound keeps
about 4 million windows of the larger corpus, whatever its size; a small one is looked at whole.
"""

import numpy as np

WINDOW = 50  # characters
MOST = 1 << 22
_SLICE = 1 << 20  # characters hashed at a time
_PRIME = 0x9E3779B97F4A7C15  # odd, from the golden ratio


def bound(n_bytes: int) -> int:
    """Hashes below it are looked at, for corpora of up to `n_bytes`."""
    return min(1 << 64, (1 << 64) * MOST // max(n_bytes, 1)) - 1


def hashes(text: str, limit: int) -> np.ndarray:
    """[n] uint64: the hashes up to `limit` of a text's windows; of a shorter text, that of all."""
    letters = np.frombuffer(" ".join(text.split()).encode("utf-32-le"), np.uint32)
    if not len(letters):
        return np.zeros(0, np.uint64)
    width = min(WINDOW, len(letters))
    found = []
    for start in range(0, len(letters) - width + 1, _SLICE):
        mixed = _mixed(_rolling(letters[start : start + _SLICE + width - 1], width))
        found.append(mixed[mixed <= np.uint64(limit)])
    return np.concatenate(found)


def _rolling(letters: np.ndarray, width: int) -> np.ndarray:
    """[n - width + 1] uint64: sum of letter j times prime^(width-1-j) modulo 2^64, each window.

    Of 2n letters it is that of n, shifted, plus that of the next n: so few steps make any width.
    """
    power, part, n = _PRIME, letters.astype(np.uint64) + np.uint64(1), 1  # of n letters
    whole = np.zeros(len(letters) + 1, np.uint64)  # of the letters taken so far
    taken = 0
    while True:
        if width & n:
            end = len(letters) - taken - n + 1
            whole = whole[:end] * np.uint64(power) + part[taken : taken + end]
            taken += n
        if taken == width:
            return whole
        part = part[:-n] * np.uint64(power) + part[n:]
        power = power * power % (1 << 64)
        n *= 2


def _mixed(values: np.ndarray) -> np.ndarray:
    """Each bit of a number spread over all (SplitMix64's finish)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class Windows:
    """The distinct sampled windows of a corpus."""

    def __init__(self) -> None:
        self._sorted = np.zeros(0, np.uint64)
        self._new: list[np.ndarray] = []
        self._n_new = 0

    def add(self, found: np.ndarray) -> None:
        """Takes hashes in."""
        self._new.append(found)
        self._n_new += len(found)
        if self._n_new > max(1 << 18, len(self._sorted)):
            self._merge()

    def has(self, found: np.ndarray) -> np.ndarray:
        """[n] bool: which hashes are in it."""
        if self._new:
            self._merge()
        if not len(self._sorted):
            return np.zeros(len(found), bool)
        at = np.searchsorted(self._sorted, found)
        return self._sorted[np.minimum(at, len(self._sorted) - 1)] == found

    def _merge(self) -> None:
        values = np.concatenate([self._sorted, *self._new])
        values.sort()  # np.unique's table of hashes takes ten times as long
        distinct = np.ones(len(values), bool)
        distinct[1:] = values[1:] != values[:-1]
        self._sorted = values[distinct]
        self._new, self._n_new = [], 0
