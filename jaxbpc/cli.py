"""One wrapper for every command: errors → one line on stderr and an exit status.

0 done; 2 an error that the user can fix; 1 a bug (traceback); 75 stopped, everything kept.
"""

import contextlib
import io
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging

from jaxbpc.errors import (
    EXIT_INPUT,
    EXIT_STOPPED,
    InputError,
    NumberError,
    Stopped,
    one_line,
    redacted,
)
from jaxbpc.utils import progress

_TERMINATED = "terminated by SIGTERM"


def run(
    main: Callable[..., None],
    doc: str,
    positional: bool = False,
    own: flags.FlagValues | None = None,
) -> None:
    """Parses absl flags and runs `main`, with the other arguments where `positional`.

    Args:
      own: the command's flags; None: those of the process.
    """
    signal.signal(signal.SIGTERM, _terminated)
    sys.unraisablehook = _resend_signal
    absl_logging.set_verbosity(absl_logging.ERROR)
    with ended():
        if any(arg in ("--help", "-h", "-help") for arg in sys.argv[1:]):
            show(doc.strip(), "it is the command's help")
            sys.exit(0)
        app.run(
            lambda argv: _logged(main, argv[1:], positional),
            flags_parser=lambda argv: _parse(argv, own),
        )


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """Turns an exception of its body into a message and an exit status; hides secrets."""
    try:
        yield
    except (InputError, NumberError) as e:
        _fail(one_line(str(e)))
    except (Stopped, KeyboardInterrupt) as e:
        reason = one_line(str(e)) or "interrupted"
        progress.tell(f"stopped: {reason}; start the same command again to go on")
        sys.exit(EXIT_STOPPED)
    except Exception:
        progress.tell(redacted(traceback.format_exc().rstrip()))
        sys.exit(1)


def _logged(main: Callable[..., None], arguments: list[str], positional: bool) -> None:
    """Runs `main` with our own log on stderr, and of the libraries' their errors alone."""
    if arguments and not positional:
        _fail(f"{arguments[0]!r} is no flag: see --help")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    log = logging.getLogger("jaxbpc")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    if positional:
        main(arguments)
    else:
        main()


class _Formatter(logging.Formatter):
    """A record's message, in one line and without secrets: it may quote a stranger's file."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(record.getMessage())


def show(text: str, kept: str) -> None:
    """Prints to stdout; what it cannot encode is escaped.

    Raises:
      InputError: it cannot be written (a full disk, a closed pipe); `kept` says where else it is.
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(text, flush=True)
    except OSError as e:
        # The interpreter's end would try again, and fail with another status and a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InputError(f"stdout cannot be written ({e.strerror}): {kept}")


def _parse(argv: list[str], own: flags.FlagValues | None = None) -> list[str]:
    """Flag and config faults are the user's: one line each, where absl alone would end with 1."""
    for arg in argv:
        if re.search("[\ud800-\udfff]", arg):
            raise InputError(f"{arg!a} is no text in this locale: set a UTF-8 one, or PYTHONUTF8=1")
    if own is not None:
        flags.FLAGS(argv[:1])
    elif "config" in flags.FLAGS:
        from jaxbpc import config_flag

        return config_flag.parse(argv)
    try:
        return (flags.FLAGS if own is None else own)(argv)
    except flags.Error as e:
        raise InputError(f"{e}: see --help")


def _terminated(number: int, frame: Any) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does; the scoring loop has a handler of its own."""
    raise KeyboardInterrupt(_TERMINATED)


def _resend_signal(unraisable: Any) -> None:
    """Sends a signal again whose exception was lost: where it came, none can be raised.

    So in callbacks of the garbage collector, as JAX has one, and where objects are deleted.
    """
    lost = unraisable.exc_value
    if not isinstance(lost, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = signal.SIGTERM if str(lost) == _TERMINATED else signal.SIGINT
    again = threading.Timer(0.1, os.kill, (os.getpid(), number))  # once that has returned
    again.daemon = True
    again.start()


def _fail(message: str) -> NoReturn:
    progress.tell(f"error: {message}")
    sys.exit(EXIT_INPUT)
