"""Dates as flags give them, a day or a month, and as rows of text do, in many ways."""

import datetime
import email.utils
import functools
import re
from typing import Any

from jaxbpc.errors import InputError

_FIRST_SECOND = datetime.datetime(1990, 1, 1, tzinfo=datetime.UTC).timestamp()
_DIGITS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d"}


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
    YYYYMMDD or YYYYMM (1950 to 2099), or of seconds or milliseconds since 1970; None where it is
    none. Seconds of 1970 to 1989 are none: a small number is sooner anything else."""
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
        seconds = value / 1000 if abs(value) > 1e11 else value
        if not 0 <= seconds < _FIRST_SECOND:
            return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()
        digits = str(int(value)) if value == int(value) else ""
        if len(digits) not in _DIGITS:
            return None
        found = datetime.datetime.strptime(digits, _DIGITS[len(digits)]).date()
        # Six digits of other years are rather YYMMDD, or no date.
        return None if len(digits) == 6 and not 1950 <= found.year < 2100 else found
    except (ValueError, OverflowError, OSError):
        return None
