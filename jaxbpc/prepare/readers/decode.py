"""Bytes of a file → text. Line ends and spaces stay as they are; a byte order mark goes.

UTF-8 is tried first, as it is never right by chance; a Python file says its own encoding
(PEP 263), a page perhaps, too; otherwise it is guessed from the bytes, and that is reported.
"""

import codecs
import contextlib
import io
import logging
import re
import tokenize
from collections import Counter
from collections.abc import Sequence

from jaxbpc.errors import InputError

_SAMPLE = 1 << 16  # bytes from which an encoding is detected
# UTF-32's mark begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHARSET = re.compile(rb"""charset\s*=\s*["']?([\w-]+)""", re.ASCII | re.IGNORECASE)


# Encoding → the letters beyond ASCII of languages that are written in it; the web's default first.
_CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýžĺľŕôä", "áéíóöőúüű", "ăâîşţ", "čćđšž")
_ALPHABETS = {
    "cp1252": (
        "àâæçèéêëîïôœùûüÿ",
        "áéíñóúü",
        "äöüßéà",
        "àáâãçéêíóôõúü",
        "àèéìíòóùú",
        "åäöéà",
        "æøåéòô",
        "áâèéêëïíîóôöûü",
        "àçèéíïñòóúü",
        "áðéíóúýþæö",
        "äõöüšž",
    ),
    "cp1250": _CENTRAL,
    "iso8859-2": _CENTRAL,
    "cp1254": ("âçğıîöşûü",),
    "cp1257": ("ąčęėįšųūž", "āčēģīķļņšūž"),
}
_FITS = 0.9  # of the letters
_FEW = 16  # bytes: too few to guess from
_IN_WORDS = "’‘·\xad"  # of no alphabet, but within words


def encoding(data: bytes, whole: bool = True) -> str | None:
    """The encoding of text; None where there is none that it can be.

    Args:
      whole: False of a file's begin, which may end within a character.
    """
    if name := wide(data):
        return name
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
        return "utf-8"
    except UnicodeDecodeError:
        return _guess(data)


def is_guess(name: str) -> bool:
    """Whether an encoding of `encoding` is neither marked nor proven."""
    return name not in ("utf-8", "utf-8-sig", "utf-16", "utf-32")


def wide(data: bytes) -> str | None:
    """The encoding of text in units of more than a byte: marked, or of many bytes of 0."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    n = min(len(data), _SAMPLE) // 2
    even, odd = data[: 2 * n : 2].count(0), data[1 : 2 * n : 2].count(0)
    # Names that end with a 0 each have many, too, but not between most of the letters.
    if max(even, odd) < max(2, 0.6 * n) or min(even, odd) > n / 30:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def of_lines(data: bytes) -> str | None:
    """The encoding of those lines that are not UTF-8; None where all are, or if unknown."""
    if _is_utf8(data):
        return None
    return _guess(b"\n".join(line for line in data.split(b"\n") if not _is_utf8(line)))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def _guess(data: bytes) -> str | None:
    """By alphabets where text is mostly ASCII: byte statistics take à for ŕ, however much it is."""
    data = b"\n".join(line for line in data.split(b"\n") if not line.isascii())[:_SAMPLE]
    beyond = sum(byte > 127 for byte in data)
    if beyond <= max(_FEW, sum(map(str.isalpha, data.decode("ascii", "ignore")))):
        fits = {name: _fit(data, name) for name in _ALPHABETS}
        best = max(fits, key=lambda name: fits[name])
        if fits[best] >= _FITS:
            return best
    found = needed("charset_normalizer").from_bytes(data).best()
    return None if found is None else found.encoding


def _fit(data: bytes, name: str) -> float:
    """The share of letters beyond ASCII that are of one language; signs within words are none."""
    try:
        text = data.decode(name).lower()
    except UnicodeDecodeError:
        return 0
    counts: Counter[str] = Counter()
    for before, letter, after in zip(" " + text, text, text[1:] + " ", strict=False):
        inside = before.isalpha() and after.isalpha() and letter not in _IN_WORDS
        if letter > "\x7f" and (letter.isalpha() or inside):
            counts[letter] += 1
    total = counts.total()
    most = max(sum(counts[letter] for letter in letters) for letters in _ALPHABETS[name])
    return most / total if total else 1


def text(data: bytes, declared: Sequence[str] = ()) -> tuple[str, str | None] | None:
    """(text of a file, its encoding where that was guessed); None where no encoding fits.

    Args:
      declared: encodings that are tried first.
    """
    for given in declared:
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return data.decode(given), None
    name = encoding(data)
    try:
        return None if name is None else (data.decode(name), name if is_guess(name) else None)
    except UnicodeDecodeError:
        return None


def python(data: bytes) -> tuple[str, str | None] | None:
    """As `text`, of a Python file: an encoding that its first two lines declare is taken."""
    declared = []
    with contextlib.suppress(SyntaxError):  # it declares none that exists
        declared.append(tokenize.detect_encoding(io.BytesIO(data).readline)[0])
    return text(data, declared)


def html(data: bytes) -> tuple[str, str | None, str | None] | None:
    """(main text, title, encoding where that was guessed) of a page; None where it has no text."""
    trafilatura = needed("trafilatura")
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # we report what has no text
    declared = [] if _is_utf8(data) else _CHARSET.findall(data[:4096])
    decoded = text(data, [name.decode() for name in declared])
    page = trafilatura.load_html(data if decoded is None else decoded[0])
    if page is None:
        return None
    title = page.findtext(".//title")
    found = trafilatura.extract(page, include_comments=False, include_tables=True)
    if not found:
        return None
    return found, " ".join(title.split()) if title else None, decoded[1] if decoded else None


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
