"""One wrapper for every command: errors → one line on stderr and an exit status.

0 done; 2 the user can mend it; 1 a bug (traceback); 75 stopped, everything kept.
"""

import sys
from collections.abc import Callable

from absl import app, flags

from jaxbpc.errors import InputError, NumberError

EXIT_INPUT, EXIT_STOPPED = 2, 75


def run(main: Callable[[], None], doc: str) -> None:
    """Parses absl flags and runs `main`; never returns."""
    if any(arg in ("--help", "-h", "-help") for arg in sys.argv[1:]):
        print(doc.strip())
        sys.exit(0)
    try:
        app.run(lambda _: main(), flags_parser=_parse)
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
    except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as e:
        _fail(" ".join(str(e).split()) + ": see --help")
    if len(left) > 1:
        _fail(f"{left[1]!r} is no flag: see --help")
    return left


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_INPUT)
