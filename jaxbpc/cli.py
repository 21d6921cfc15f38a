"""One wrapper for every command: errors → one line on stderr and an exit status.

0 done; 2 the user can mend it; 1 a bug (traceback); 75 stopped, everything kept.
"""

import sys
from collections.abc import Callable

from absl import app, flags

from jaxbpc.errors import InputError, NumberError

EXIT_INPUT, EXIT_STOPPED = 2, 75


def run(main: Callable[..., None], doc: str, positional: bool = False) -> None:
    """Parses absl flags and runs `main`, with the other arguments where `positional`."""
    if any(arg in ("--help", "-h", "-help") for arg in sys.argv[1:]):
        print(doc.strip())
        sys.exit(0)
    try:
        if positional:
            app.run(lambda argv: main(argv[1:]), flags_parser=_parse)
        else:
            app.run(lambda argv: _no_arguments(argv) or main(), flags_parser=_parse)
    except (InputError, NumberError) as e:
        _fail(str(e))
    except KeyboardInterrupt:
        print("stopped: start the same command again, what is scored is kept", file=sys.stderr)
        sys.exit(EXIT_STOPPED)


def _parse(argv: list[str]) -> list[str]:
    """Flag and config faults are the user's: one line each, where absl alone would end with 1."""
    try:
        left = flags.FLAGS(argv)
        if "config" in flags.FLAGS and flags.FLAGS.config is None:
            raise InputError("--config is missing: give a file, e.g. --config configs/llama.py")
        if "config" in flags.FLAGS:
            flags.FLAGS.config.to_dict()  # a config file that is missing shows only here
    except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as e:
        # A config file's own fault comes with a traceback: its last line is the cause.
        lines = str(e).strip().splitlines()
        cause = lines[-1] if "Traceback" in str(e) else " ".join(lines)
        _fail(" ".join(cause.split()).removeprefix("ValueError: ") + ": see --help")
    return left


def _no_arguments(argv: list[str]) -> None:
    """A word that is no flag is a mistake."""
    if len(argv) > 1:
        _fail(f"{argv[1]!r} is no flag: see --help")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_INPUT)
