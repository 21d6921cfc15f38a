"""One wrapper for every command: errors → one line on stderr and an exit status.

0 done; 2 the user can mend it; 1 a bug (traceback); 75 stopped, everything kept.
"""

import logging
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging

from jaxbpc.errors import EXIT_INPUT, EXIT_STOPPED, InputError, NumberError, Stopped


def run(main: Callable[..., None], doc: str, positional: bool = False) -> None:
    """Parses absl flags and runs `main`, with the other arguments where `positional`."""
    if any(arg in ("--help", "-h", "-help") for arg in sys.argv[1:]):
        print(doc.strip())
        sys.exit(0)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app.run(lambda argv: _logged(main, argv[1:], positional), flags_parser=_parse)
    except (InputError, NumberError) as e:
        _fail(str(e))
    except (Stopped, KeyboardInterrupt) as e:
        reason = str(e) or "interrupted"
        print(f"stopped: {reason}; start the same command again to go on", file=sys.stderr)
        sys.exit(EXIT_STOPPED)


def _logged(main: Callable[..., None], arguments: list[str], positional: bool) -> None:
    """Runs `main` with our own log on stderr, and of the libraries' their errors alone."""
    if arguments and not positional:
        _fail(f"{arguments[0]!r} is no flag: see --help")
    absl_logging.set_verbosity(absl_logging.ERROR)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("jaxbpc")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    if positional:
        main(arguments)
    else:
        main()


def _parse(argv: list[str]) -> list[str]:
    """Flag and config faults are the user's: one line each, where absl alone would end with 1."""
    try:
        left = flags.FLAGS(argv)
        if "config" in flags.FLAGS and flags.FLAGS.config is None:
            raise InputError("--config is missing: give a file, e.g. --config configs/llama.py")
        if "config" in flags.FLAGS:
            flags.FLAGS.config.to_dict()  # a config file that is missing shows only here
    except InputError:
        raise
    except Exception as e:  # a config file is a program: it raises what it likes
        _fail(_config_fault(e))
    return left


def _config_fault(error: Exception) -> str:
    """What is wrong with the flags or in the config file, and on which of its lines."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    cause = " ".join(text.split())
    # ml_collections puts some of a config file's faults into a message, traceback and all.
    if "Traceback" in text:
        cause = text.strip().splitlines()[-1].strip()
    elif not isinstance(error, flags.Error | AttributeError | OSError):
        cause = f"{type(error).__name__}: {cause}"
    told = "".join(traceback.format_tb(error.__traceback__)) + text
    lines = re.findall(r'File "([^"]+)", line (\d+), in get_config', told)
    where = "{}, line {}: ".format(*lines[-1]) if lines else ""
    return f"{where}{cause}: see --help"


def _terminated(number: int, frame: Any) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does; the scoring loop has a handler of its own."""
    raise KeyboardInterrupt("told to end by a signal")


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_INPUT)
