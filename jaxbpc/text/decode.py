"""Bytes of a file → text. Line ends and spaces stay as they are; a byte order mark goes.

UTF-8 is tried first, as it is never right by chance; a Python file says its own encoding
(PEP 263); what is neither is detected from its bytes.
"""

import codecs
import contextlib
import io
import logging
import tokenize

from jaxbpc.errors import InputError

_SAMPLE = 1 << 18  # bytes from which an encoding is detected
# UTF-32's mark begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BEGINS = tuple(mark for mark, _ in _MARKS)


def encoding(data: bytes, whole: bool = True) -> str | None:
    """The encoding of text; None where there is none that it can be.

    Args:
      whole: False of a file's begin, which may end within a character.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
        return "utf-8"
    except UnicodeDecodeError:
        best = needed("charset_normalizer").from_bytes(data[:_SAMPLE]).best()
        return None if best is None else best.encoding


def text(data: bytes, python: bool = False) -> str | None:
    """The text of a file; None where no encoding fits.

    Args:
      python: an encoding that its first two lines declare is taken.
    """
    if not python and not data.startswith(_BEGINS):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode()
    names = []
    if python:
        with contextlib.suppress(SyntaxError):  # it declares none that exists
            names.append(tokenize.detect_encoding(io.BytesIO(data).readline)[0])
    for name in [*names, None]:
        try:
            name = name or encoding(data)
            return None if name is None else data.decode(name)
        except UnicodeDecodeError:
            continue
    return None


def html(data: bytes) -> tuple[str, str | None] | None:
    """(main text, title) of a page; None where it has none."""
    trafilatura = needed("trafilatura")
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # we tell what has no text
    page = trafilatura.load_html(data)
    if page is None:
        return None
    title = page.findtext(".//title")
    found = trafilatura.extract(page, include_comments=False, include_tables=True)
    return (found, " ".join(title.split()) if title else None) if found else None


def needed(name: str):
    """A module of the extra `text`. Raises InputError where it is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise InputError(
            f"{e.name or name} is not installed: install the extra `text`, "
            "`pip install 'jaxbpc[text]'`"
        )
