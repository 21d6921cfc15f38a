"""JSON that others wrote, read strictly: what is ambiguous or too large is refused.

Python's own reader takes the last of two equal keys; another program may take the first, and then
one file would be two models.
"""

import collections
import json
import pathlib
from typing import Any

from jaxbpc.errors import InputError

MOST_BYTES = 1 << 28  # of a file that is read whole; an index of a large model has some megabytes


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields. Raises ValueError where a key stands twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        (twice, _), *_ = collections.Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return fields


DECODER = json.JSONDecoder(object_pairs_hook=unique)


def small_file(path: pathlib.Path, remedy: str = "fix the file") -> bytes:
    """The bytes of a file, read whole.

    Raises:
      InputError: it is too large for that, or cannot be read; not where it is absent.
      FileNotFoundError: it is.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e}): {remedy}")
    if len(data) > MOST_BYTES:
        raise InputError(f"{path}: has more than {MOST_BYTES >> 20} MiB: {remedy}")
    return data


def json_file(path: pathlib.Path, remedy: str = "fix the file") -> dict[str, Any]:
    """The JSON object in a small file.

    Raises:
      InputError: it cannot be read, is no JSON object, or has a key twice.
      FileNotFoundError: there is none.
    """
    try:
        value = DECODER.decode(small_file(path, remedy).decode())
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: cannot be read as JSON ({str(e)[:160]}): {remedy}")
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object: {remedy}")
    return value
