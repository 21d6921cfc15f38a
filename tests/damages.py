"""What may happen to a file on a disk."""

import numpy as np


def damages(data, flips=4):
    """(what, the bytes of a file after it; None: no file) of each kind of damage."""
    yield "deleted", None
    yield "emptied", b""
    yield "halved", data[: len(data) // 2]
    yield "zeroed", bytes(len(data))
    random = np.random.RandomState(len(data))
    for k in [len(data) - 1, *random.randint(0, len(data), flips)]:
        flipped = bytearray(data)
        flipped[k] ^= 1 << (k % 8)
        yield f"bit flipped in byte {k}", bytes(flipped)
