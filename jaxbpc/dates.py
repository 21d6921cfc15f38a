"""Dates as flags give them: a day, or a month."""

import datetime
import re

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
