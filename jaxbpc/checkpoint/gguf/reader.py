"""GGUF file → its fields and its tensors, memory-mapped; every count is checked before it is used.

The `gguf` package's own reader believes the counts of a header: on a damaged one it runs on past
the end of the file. Here nothing is made that the file has not room for.
Source: `docs/gguf.md` of ggml.
"""

import dataclasses
import math
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxbpc.errors import InputError

_SCALARS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4
_CHUNK = 1 << 24  # elements dequantised at once


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A stored tensor.

    shape: rows first, as Hugging Face counts. kind: the `gguf` package's GGMLQuantizationType.
    data: [all dimensions but the last, bytes of a row] uint8, a memory map.
    """

    name: str
    shape: tuple[int, ...]
    kind: Any
    data: np.ndarray

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    def values(self) -> Iterator[np.ndarray]:
        """Its float32 values row by row: [some rows, last dimension], bounded in memory.

        Raises:
          NotImplementedError: a kind that the `gguf` package cannot dequantise.
        """
        import gguf

        step = max(1, _CHUNK // self.shape[-1])
        for begin in range(0, len(self.data), step):
            yield gguf.quants.dequantize(self.data[begin : begin + step], self.kind)


def read(file: pathlib.Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(fields, tensors) of a GGUF file.

    Fields are int, float, bool, str, arrays of numbers, or lists of strings. A float32 is given as
    the decimal that it was made from: 9.99999974e-06 is 1e-05.

    Raises:
      InputError: the file is absent, no GGUF, damaged, or of an unknown version or tensor type.
    """
    try:
        import gguf
    except ImportError:
        raise InputError("GGUF files need the gguf package: pip install 'jaxbpc[gguf]'")
    if not file.is_file():
        raise InputError(f"{file} does not exist: give a GGUF file")
    try:
        cursor = _Cursor(np.memmap(file, np.uint8, "r"))
        n_tensors, n_fields = _counts(cursor)
        fields: dict[str, Any] = {}
        for _ in range(n_fields):
            name = cursor.string()
            if name in fields:
                raise ValueError(f"it has the field {name} twice")
            fields[name] = cursor.value(cursor.number("<u4"))
        infos = [_info(cursor) for _ in range(n_tensors)]
        begin = _aligned(cursor.at, fields.get("general.alignment", 32))
        tensors = {info[0]: _tensor(cursor, begin, *info, gguf) for info in infos}
    except InputError as e:
        raise InputError(f"{file}: {e}")
    except (ValueError, OSError) as e:
        raise InputError(f"{file}: no readable GGUF ({str(e)[:120]}): download it again")
    if len(tensors) != n_tensors:
        raise InputError(f"{file}: it has a tensor twice: download it again")
    return fields, tensors


class _Cursor:
    """Reads a header from its begin. Raises ValueError where the file has too few bytes."""

    def __init__(self, data: np.ndarray):
        self.data, self.at = data, 0
        self._view = memoryview(data)

    def check(self, n: int) -> None:
        if n > len(self.data) - self.at:
            raise ValueError("it ends within its header")

    def take(self, n: int) -> memoryview:
        self.check(n)
        self.at += n
        return self._view[self.at - n : self.at]

    def number(self, kind: str) -> Any:
        return np.frombuffer(self.take(np.dtype(kind).itemsize), kind).item()

    def string(self) -> str:
        return bytes(self.take(*struct.unpack("<Q", self.take(8)))).decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            kind, n = self.number("<u4"), self.number("<u8")
            if kind == _STRING:
                self.check(8 * n)  # one takes that at least
                return [self.string() for _ in range(n)]
            if kind in _SCALARS:
                dtype = np.dtype(_SCALARS[kind])
                return np.frombuffer(self.take(n * dtype.itemsize), dtype)
        if kind not in _SCALARS:
            raise ValueError(f"a field has the unknown type {kind}")
        number = self.number(_SCALARS[kind])
        return float(str(np.float32(number))) if kind == 6 else number


def _counts(cursor: _Cursor) -> tuple[int, int]:
    """(tensors, fields), checked against the file's size."""
    if bytes(cursor.take(4)) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = cursor.number("<u4")
    if version not in _VERSIONS:
        raise ValueError(f"version {version} in little-endian order; read are 2 and 3")
    n_tensors, n_fields = cursor.number("<u8"), cursor.number("<u8")
    if 12 * (n_tensors + n_fields) > len(cursor.data):  # what one takes at least
        raise ValueError(f"it claims {n_tensors} tensors and {n_fields} fields, more than fit")
    return n_tensors, n_fields


def _aligned(at: int, alignment: Any) -> int:
    if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & alignment - 1:
        raise ValueError(f"the alignment {alignment} is no power of two")
    return -(-at // alignment) * alignment


def _info(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """(name, shape, type, offset) of the next tensor."""
    name, n = cursor.string(), cursor.number("<u4")
    if not 0 < n <= _MOST_DIMENSIONS:
        raise ValueError(f"tensor {name} has {n} dimensions")
    shape = tuple(cursor.number("<u8") for _ in range(n))[::-1]
    return name, shape, cursor.number("<u4"), cursor.number("<u8")


def _tensor(cursor, begin: int, name: str, shape: tuple[int, ...], kind: int, offset: int, gguf):
    try:
        known = gguf.GGMLQuantizationType(kind)
    except ValueError:
        raise InputError(
            f"tensor {name} is of GGML type {kind}, which this version of the gguf package does "
            "not know: pip install -U gguf"
        )
    block, n_bytes = gguf.GGML_QUANT_SIZES[known]
    if shape[-1] % block or 0 in shape:
        raise ValueError(f"tensor {name} of shape {list(shape)} cannot be of type {known.name}")
    n_rows, row = math.prod(shape[:-1]), shape[-1] // block * n_bytes
    begin += offset
    if begin + n_rows * row > len(cursor.data):
        raise ValueError(f"it ends within tensor {name}")
    data = cursor.data[begin : begin + n_rows * row].reshape(n_rows, row)
    return Tensor(name, shape, known, data)
