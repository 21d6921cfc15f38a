"""Dates as flags give them, a day or a month, and as rows of text do, in many ways."""

import contextlib
import datetime
import email.utils
import functools
import re
from typing import Any

from jaxbpc.errors import InputError


def day(flag: str, text: str, last: bool = False) -> datetime.date:
    """A day; of a month, `2024-03`, the first or where `last` the last. Raises InputError."""
    try:
        if not re.fullmatch(r"\d{4}-\d\d", text):
            return datetime.date.fromisoformat(text)
        first = datetime.date.fromisoformat(f"{text}-01")
        after = (first + datetime.timedelta(days=31)).replace(day=1)
        return after - datetime.timedelta(days=1) if last else first
    except (ValueError, OverflowError):
        raise InputError(f"{flag} {text!r}: give a date, as 2024-03-31 or 2024-03")


def parsed(value: Any) -> datetime.date | None:
    """The day of a date, of an ISO or mail date, of a year or month (its first day), of an integer
    YYYYMMDD, or of seconds or milliseconds since 1970; None where it is none."""
    if isinstance(value, datetime.datetime):
        return value.date()
    if isinstance(value, datetime.date):
        return value
    if isinstance(value, str):
        return _of_words(value.strip()[:64])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(value)
    return None


@functools.lru_cache(1024)
def _of_words(value: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(value[:10])
    except ValueError:
        pass
    for form in ("%Y-%m", "%Y", "%Y/%m/%d"):
        try:
            return datetime.datetime.strptime(value[:10], form).date()
        except ValueError:
            continue
    try:
        return email.utils.parsedate_to_datetime(value).date()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _of_number(value: float) -> datetime.date | None:
    try:
        if 1000 <= value <= 9999 and value == int(value):
            return datetime.date(int(value), 1, 1)
        # As seconds these would be days of 1970 to 1973.
        if 1000_01_01 <= value <= 9999_12_31 and value == int(value):
            with contextlib.suppress(ValueError):
                return datetime.datetime.strptime(str(int(value)), "%Y%m%d").date()
        seconds = value / 1000 if abs(value) > 1e11 else value
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
