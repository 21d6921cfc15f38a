"""A corpus file → its rows: one JSON object a line, or one array of objects.

Rows are read one by one: memory is bounded by the longest row that is allowed, whatever the file's
size, and a longer one is refused before it is read whole.
"""

import codecs
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import IO, Any

from jaxbpc.errors import InputError
from jaxbpc.utils import strict_json

_BOM = b"\xef\xbb\xbf"
_SPACE = re.compile(r"[ \t\r\n]*")  # JSON's
_SPACE_BYTES = b" \t\r\n"
_PIECE = 1 << 20  # bytes of an array that are read at once
_NEAR_THE_END = 16  # characters; a token that is cut off there may be an error of no row


class RowError(InputError):
    """A row that is none of a corpus. fault: which kind, `not_json` and the like."""

    def __init__(self, message: str, fault: str = ""):
        super().__init__(message)
        self.fault = fault


def rows(path: pathlib.Path, most_bytes: int) -> Iterator[tuple[int, Any]]:
    """(line or element number from 1, parsed value) of each row, in file order.

    Args:
      most_bytes: of a row.

    Raises:
      RowError: a row that is no JSON or is longer, named.
      InputError: a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            yield from (elements if begins_array(file) else _lines)(file, path, most_bytes)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): check the file")


def begins_array(file: IO[bytes]) -> bool:
    """Whether a file is one array, not lines; it is then behind its byte order mark."""
    start = file.read(4096)
    file.seek(len(_BOM) if start.startswith(_BOM) else 0)
    return start.removeprefix(_BOM).lstrip().startswith(b"[")


def _lines(file: IO[bytes], path: pathlib.Path, most_bytes: int) -> Iterator[tuple[int, Any]]:
    # Binary lines end at \n alone: U+2028 inside a text is no line end.
    for number in itertools.count(1):
        line = file.readline(most_bytes + 1)
        if not line:
            return
        if len(line) > most_bytes or not is_blank(line):
            yield number, value(line, f"{path}:{number}", most_bytes)


def is_blank(line: bytes) -> bool:
    """Whether a line is no row."""
    return not line.strip(_SPACE_BYTES)


def value(line: bytes, where: str, most_bytes: int) -> Any:
    """The value of a row's line, its line end included in its bytes.

    Args:
      where: file and line, for the error.

    Raises:
      RowError: it is no JSON, or longer.
    """
    if len(line) > most_bytes:
        raise _too_long(where, most_bytes)
    try:
        return strict_json.DECODER.decode(line.decode())
    except UnicodeDecodeError as e:
        raise _not_utf8(where, e.start, e)
    except (RecursionError, ValueError) as e:
        raise _not_json(where, e)


def elements(file: IO[bytes], path: pathlib.Path, most_bytes: int) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of each row of an array. As `rows`."""
    text = _Text(file, path, most_bytes)
    text.take("[")
    if text.peek() != "]":
        for number in itertools.count(1):
            yield number, text.value(number)
            if text.peek() != ",":
                break
            text.take(",")
    text.take("]")
    if text.peek():
        raise RowError(
            f"{path}: there is more after the end of its array: fix the file", "not_json"
        )


class _Text:
    """The text of a file from where it is read, with as much of it as a row needs."""

    def __init__(self, file: IO[bytes], path: pathlib.Path, most_bytes: int):
        self._file, self._path, self._most = file, path, most_bytes
        self._decode: Callable[..., str] = codecs.getincrementaldecoder("utf-8")().decode
        self._text, self._at, self._ended = "", 0, False

    def peek(self) -> str:
        """The next character that is no space; '' at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, wanted: str) -> None:
        """Reads on behind the next character. Raises RowError where it is not `wanted`."""
        found = self.peek()
        if found != wanted:
            what = f"{found!r} stands" if found else "it ends"
            raise RowError(
                f"{self._path}: not JSON ({what} where {wanted!r} must): fix the file", "not_json"
            )
        self._at += 1

    def value(self, number: int) -> Any:
        """The next value, whole."""
        self.peek()
        where = f"{self._path}:{number}"
        while True:
            try:
                value, end = strict_json.DECODER.raw_decode(self._text, self._at)
                # What ends with the text may go on: 1 and then 2 are 12.
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value
            except json.JSONDecodeError as e:
                # It may be that the text is cut off; else more of it would not help.
                cut = e.pos > len(self._text) - _NEAR_THE_END or e.msg.startswith("Unterminated")
                if not cut or not self._more():
                    raise _not_json(where, e)
            except (RecursionError, ValueError) as e:
                raise _not_json(where, e)
            if len(self._text) - self._at > self._most:
                raise _too_long(where, self._most)

    def _more(self) -> bool:
        """Reads on, as much again as there is; False at the file's end."""
        if self._ended:
            return False
        self._text, self._at = self._text[self._at :], 0
        data = self._file.read(max(_PIECE, len(self._text)))
        self._ended = not data
        try:
            self._text += self._decode(data, self._ended)
        except UnicodeDecodeError as e:
            raise _not_utf8(f"{self._path}", self._file.tell() - len(e.object) + e.start, e)
        return True


def _too_long(where: str, most_bytes: int) -> RowError:
    return RowError(
        f"{where}: the row has more than {most_bytes:,} bytes: split its document, or give "
        "a larger --config.data.max_document_characters (tokenising takes 100 to 400 bytes of "
        "memory for each)",
        "too_long",
    )


def _not_utf8(where: str, at: int, e: UnicodeDecodeError) -> RowError:
    message = f"{where}: not UTF-8 (byte {at}: {e.reason}): convert the file to UTF-8"
    return RowError(message, "not_utf8")


def _not_json(where: str, e: Exception) -> RowError:
    if isinstance(e, json.JSONDecodeError):
        reason = f"not JSON (column {e.colno}: {e.msg})"
    else:
        reason = f"cannot be read as JSON ({str(e)[:160] or type(e).__name__})"
    return RowError(f"{where}: {reason}: fix the line", "not_json")
