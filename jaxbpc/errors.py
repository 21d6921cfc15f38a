"""What the user can mend, as exceptions. `cli.py` prints them as one line and exits with 2."""

EXIT_INPUT, EXIT_STOPPED = 2, 75


class InputError(Exception):
    """A fault in a file, field or flag that the user can mend.

    The message is one line: it names the file, row or field, the cause, and the remedy.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class NumberError(Exception):
    """A number that would be wrong (NaN, a count that differs from the plan): never printed."""


class Stopped(Exception):  # noqa: N818 (no error: an end that was asked for)
    """A signal, or a lost host, ended the run; everything scored is kept."""
