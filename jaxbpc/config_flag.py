"""The flag --config: what a config file gives, with fields from the command line put over it.

A config file is a program and raises what it likes; whatever it is, the user gets one line with the
file's name. `None` on the command line empties a field that may be empty.
"""

import os
import re
import sys
import traceback

from absl import flags

from jaxbpc import config as config_lib
from jaxbpc.errors import InputError


def parse(argv: list[str]) -> list[str]:
    """Parses absl's flags, --config among them; returns the arguments that are none.

    Raises:
      InputError: a fault in a flag, a field or the config file.
    """
    given = (_values(argv, "config") or [""])[-1]
    argv, emptied = _emptied(_last(argv))
    sys.argv[:] = argv  # where the flag looks for its fields
    try:
        left = flags.FLAGS(argv)
        config = flags.FLAGS.config
        if not given:
            raise InputError("--config is missing: give a file, e.g. --config configs/llama.py")
        if not hasattr(config, "to_dict"):
            raise InputError(
                f"{given}: get_config() returned {type(config).__name__}: return a config that "
                "starts from jaxbpc.config.default()"
            )
        config.to_dict()  # a config file that is missing shows only here
        for group, field in emptied:
            if field in config.get(group, ()):
                config[group][field] = None
    except InputError:
        raise
    except (Exception, SystemExit) as e:
        raise _no_field(argv) or InputError(_fault(e, given.split(":")[0]))
    return left


def _no_field(argv: list[str]) -> InputError | None:
    """The error for the first flag whose field no config has."""
    for arg in argv:
        match = re.match(r"--?config\.([^=]+)", arg)
        where, known = "config", config_lib.default().to_dict()
        for name in match[1].split(".") if match else ():
            if not isinstance(known, dict):
                return InputError(f"{where}.{name} does not exist: {where} has no fields")
            if name not in known:
                return config_lib.unknown_field(name, list(known), where)
            where, known = f"{where}.{name}", known[name]
    return None


def _values(argv: list[str], name: str) -> list[str]:
    """What the arguments give to a flag, in their order."""
    values = []
    for arg, following in zip(argv, [*argv[1:], ""], strict=True):
        if re.fullmatch(f"--?{re.escape(name)}", arg):
            values.append(following)
        elif match := re.fullmatch(f"--?{re.escape(name)}=(.*)", arg, re.DOTALL):
            values.append(match[1])
    return values


def _last(argv: list[str]) -> list[str]:
    """The arguments with each list's last flag alone, as of other fields: the parser adds up."""
    groups = config_lib.default().to_dict().items()
    for name in [
        f"{g}.{k}" for g, v in groups if isinstance(v, dict) for k in v if isinstance(v[k], tuple)
    ]:
        flag = f"config.{name}"
        values = _values(argv, flag)
        if len(values) > 1:
            argv = [*_without(argv, flag), f"--{flag}={values[-1]}"]
    return argv


def _emptied(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """(arguments without None for fields that may be empty, the fields that it empties)."""
    emptied = []
    groups = config_lib.default().to_dict().items()
    for group, name in [
        (g, k) for g, v in groups if isinstance(v, dict) for k in v if v[k] is None
    ]:
        flag = f"config.{group}.{name}"
        values = _values(argv, flag)
        if "None" not in values:
            continue
        argv = _without(argv, flag)
        if values[-1] == "None":
            emptied.append((group, name))
        else:
            argv = [*argv, f"--{flag}={values[-1]}"]
    return argv, emptied


def _without(argv: list[str], name: str) -> list[str]:
    """The arguments without a flag and what they give to it."""
    drop = [i for i, arg in enumerate(argv) if re.fullmatch(f"--?{re.escape(name)}(=.*)?", arg)]
    drop += [i + 1 for i in drop if "=" not in argv[i]]
    return [arg for i, arg in enumerate(argv) if i not in drop]


def _fault(error: BaseException, file: str) -> str:
    """What is wrong, and where in the config file, in one line."""
    printed = "".join(traceback.format_exception(error)) + str(error)
    places = re.findall(r'File "([^"]+)", line (\d+)', printed)
    lines = [n for name, n in places if os.path.abspath(name) == os.path.abspath(file)]
    where = f"{file}, line {lines[-1]}" if lines else file
    if isinstance(error, SystemExit):
        if not lines:
            raise error
        return f"{where}: ends the program: let get_config() return a config"
    if isinstance(error, OSError) and not os.path.isfile(file):
        return f"{file} is no file: give a config file, e.g. --config configs/llama.py"
    if "no attribute 'get_config'" in str(error):
        return f"{file} has no function get_config(): start from configs/llama.py"
    # ml_collections puts the traceback of some errors into another's message, and keeps others
    # until the config is used.
    error = error.__cause__ if isinstance(error.__cause__, OSError) else error
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if "Traceback" in text:
        message = text.rstrip().splitlines()
        indented = [i for i, line in enumerate(message) if line.startswith("  ")]
        cause = " ".join(message[indented[-1] + 1 :])
    elif isinstance(error, flags.Error | AttributeError) and not lines:
        return f"{' '.join(text.split())}: see --help"
    else:
        cause = f"{type(error).__name__}: {getattr(error, 'msg', text)}"
    return f"{where}: {cause}: fix the file, or what is given to it; see --help"
