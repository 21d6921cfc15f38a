"""What the user can fix, as exceptions. `cli.py` prints them as one line and exits with 2.

Messages quote files of strangers and errors of libraries: what they say is shown without control
characters, without secrets, and not at any length.
"""

import os
import re

EXIT_INPUT, EXIT_STOPPED = 2, 75

_LONGEST = 4000  # characters of a message
# Credentials in addresses and headers, and as hubs and clouds spell theirs.
_SECRETS = re.compile(
    r"(?<=://)[^\s/@]+(?=@)"
    r"|(?<=[?&])(?P<name>[\w-]*(?:token|signature|credential|secret|password|key|sig))=[^&\s]+"
    r"|(?P<scheme>\bbearer|\bbasic)\s+[\w.~+/=-]{8,}"
    r"|\bhf_oauth_\S{16,}|\bhf_[A-Za-z0-9]{30,}"
    r"|\bya29\.[\w-]+|\bgh[pousr]_\w{16,}|\bAKIA[0-9A-Z]{16}\b",
    re.IGNORECASE,
)
_SECRET_VARIABLES = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|API_?KEY|ACCESS_?KEY)(?!.*_(?:PATH|FILE|DIR)$)(?:_|$)"
)

# Folders here that are copies of others, and what those are called: messages name the latter.
COPIES: dict[str, str] = {}


class InputError(Exception):
    """A fault in a file, field or flag that the user can fix.

    The message is one line: it names the file, row or field, the cause, and the remedy.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class NumberError(Exception):
    """A number that would be wrong (NaN, a count that differs from the plan): never printed."""


class Stopped(Exception):  # noqa: N818 (no error: an end that was asked for)
    """A signal, or a lost host, ended the run; everything scored is kept."""


def redacted(text: str) -> str:
    """`text` without what looks like a credential, or is one in this process's environment."""
    for name, value in os.environ.items():
        if _SECRET_VARIABLES.search(name) and len(value) >= 8:
            text = text.replace(value, "***")

    def hidden(match: re.Match) -> str:
        if match["name"]:
            return f"{match['name']}=***"
        return f"{match['scheme']} ***" if match["scheme"] else "***"

    return _SECRETS.sub(hidden, text)


def short(error: BaseException, most: int = 160) -> str:
    """What an error of a library says, in one line of at most so many characters, redacted."""
    return redacted(" ".join(str(error)[:100_000].split()))[:most] or type(error).__name__


def holds_credentials(text: str) -> bool:
    """Whether an address has a user or a password in it, or is a hub's token."""
    return bool(re.search(r"://[^\s/@]+@|\bhf_[A-Za-z0-9]{32,40}\b", text))


def one_line(message: str) -> str:
    """`message` without line ends and escape sequences, redacted, and not at any length.

    Folders are called by their own names, not their copies'.
    """
    for copy, name in COPIES.items():
        message = message.replace(copy, name)
    text = redacted(" ".join(message.split()))
    if len(text) > _LONGEST:  # the remedy stands at the end
        text = f"{text[: _LONGEST - 600]} … {text[-590:]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
