"""Common Crawl's WET files → pages of prose.

A WET file is gzipped records: headers, then the text of a page, line by line. Kept are pages of one
language, cleaned as follows; the paper used CCNet's pipeline, which ends with the third that a
5-gram model of Wikipedia likes best, in whose place the rules of C4 stand here:
  - a line that the file had before is dropped: compared without case, accents, digits' values and
    punctuation (CCNet);
  - kept are lines of 5 words or more that end as a sentence does; without JavaScript, cookies and
    policies (C4);
  - pages of fewer than 3 sentences, with `lorem ipsum` or a curly bracket are dropped (C4), so are
    those of fewer than 300 characters (CCNet).
The date is that of the crawl: a page may be much older.
Sources: ISO 28500 (WARC 1.0, 1.1); arXiv 1911.00359 (CCNet), section 3; arXiv 1910.10683 (C4),
section 2.2; `code/data_collection/cc` of hkust-nlp/llm-compression-intelligence.
"""

import collections
import datetime
import gzip
import hashlib
import pathlib
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from jaxbpc.prepare import parts, writer
from jaxbpc.utils import progress

MIN_CHARACTERS = 300
MAX_RECORD_BYTES = 1 << 23  # of one page: Common Crawl keeps 1 MiB of each
_MAX_HEADER_BYTES = 1 << 16
_ENDS = (".", "!", "?", '"', "”", "。", "！", "？", "」", "…")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies")
_UNWANTED = ("javascript", "use cookies", *_POLICIES)
_SENTENCE = re.compile(r"[.!?。！？…]+[\"”'’)\]]*(?:\s|$)")
_DIGIT = re.compile(r"\d")
_NOT_WORD = re.compile(r"[^\w]+")


class Damaged(Exception):  # noqa: N818 (no fault of the user's: what comes before it is kept)
    """A WET file that does not go on as one; the message is the reason."""


def records(path: pathlib.Path) -> Iterator[tuple[dict[str, str], bytes | None]]:
    """(headers by lower-case name, content) of each record; None: beyond MAX_RECORD_BYTES.

    Raises Damaged. The gzip members are read by the standard library, which checks their sums and
    detects a file that was cut off; the readers of WARC at hand do not.
    """
    try:
        with gzip.open(path) as file:
            while headers := _headers(file):
                size = int(headers["content-length"])
                if size < 0:
                    raise Damaged("a length below 0")
                content = file.read(size) if size <= MAX_RECORD_BYTES else None
                left = size if content is None else size - len(content)
                while left and (piece := file.read(min(left, 1 << 20))):
                    left -= len(piece)
                if left:
                    raise Damaged("cut off")
                yield headers, content
    except KeyError:
        raise Damaged("a record without its length")
    except (EOFError, zlib.error, OSError, ValueError) as e:
        raise Damaged(" ".join(str(e).split()))


def _headers(file: Any) -> dict[str, str] | None:
    """The headers of the next record; None at the file's end."""
    line = file.readline(_MAX_HEADER_BYTES)
    while line in (b"\r\n", b"\n"):
        line = file.readline(_MAX_HEADER_BYTES)
    if not line:
        return None
    if not line.startswith(b"WARC/"):
        raise Damaged("no WARC record where one should begin")
    found: dict[str, str] = {}
    n_bytes = 0
    while (line := file.readline(_MAX_HEADER_BYTES)) not in (b"\r\n", b"\n"):
        n_bytes += len(line)
        if not line or n_bytes > _MAX_HEADER_BYTES:
            raise Damaged("headers without an end")
        name, _, value = line.decode("utf-8", "replace").partition(":")
        found.setdefault(name.strip().lower(), value.strip())
    return found


def rows(
    path: pathlib.Path,
    wanted: Callable[[datetime.date], bool],
    language: str,
    counts: collections.Counter[str],
) -> Iterator[dict[str, Any]]:
    """The pages of a WET file as rows; `counts` gets how many were left out, and why.

    Of a damaged file the pages before the damage are read; its name is logged.

    Args:
      wanted: which dates.
      language: ISO 639-3, compared with the first that the crawl found in the page.
    """
    seen: set[int] = set()
    try:
        for headers, content in records(path):
            if headers.get("warc-type") != "conversion":
                continue
            counts["seen"] += 1
            reason = _unwanted(headers, content, wanted, language)
            if reason is None and content is not None:
                try:
                    text, reason = clean(content.decode(), seen)
                except UnicodeDecodeError:
                    reason = "undecodable"
            if reason is None:
                meta = {"source": headers.get("warc-target-uri")}
                yield writer.row(text, headers["warc-date"][:10], "commoncrawl", meta)
            else:
                counts[reason] += 1
    except Damaged as e:
        progress.tell(f"{path}: is damaged ({e}), what comes after is left out")
        counts[parts.CUT_SHORT] += 1


def _unwanted(headers: dict[str, str], content: bytes | None, wanted, language: str) -> str | None:
    """Why a page is left out unread, if it is."""
    if content is None:
        return "too_large"
    try:
        date = datetime.date.fromisoformat(headers.get("warc-date", "")[:10])
    except ValueError:
        return "no_date"
    if not wanted(date):
        return "out_of_dates"
    languages = headers.get("warc-identified-content-language", "")
    return None if languages.split(",")[0].strip() == language else "other_language"


def clean(text: str, seen: set[int]) -> tuple[str, str | None]:
    """(the lines of a page that are kept, why the page is left out if it is).

    Args:
      seen: hashes of lines that came before; the page's are added.
    """
    kept = []
    for line in text.split("\n"):
        line = line.strip()
        if not line.endswith(_ENDS) or len(line.split()) < 5:
            continue
        low = line.lower()
        if any(words in low for words in _UNWANTED):
            continue
        key = line_hash(line)
        if key not in seen:
            seen.add(key)
            kept.append(line)
    text = "\n".join(kept)
    if "{" in text or "lorem ipsum" in text.lower():
        return "", "no_prose"
    if len(text) < MIN_CHARACTERS or len(_SENTENCE.findall(text)) < 3:
        return "", "too_short"
    return text, None


def line_hash(line: str) -> int:
    """64 bits of a line without case, accents, punctuation and the values of digits."""
    plain = line.lower()
    if not plain.isascii():
        letters = unicodedata.normalize("NFD", plain)
        plain = "".join(c for c in letters if unicodedata.category(c) != "Mn")
    plain = _NOT_WORD.sub("", _DIGIT.sub("0", plain))
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=8).digest())
