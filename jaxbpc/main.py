"""Scores corpora by a language model: bits per character.

  python -m jaxbpc.main --config FILE.py[:argument] [--config.group.field=value …] [--workdir DIR]

--config    a file with get_config(), e.g. configs/llama.py:2-7b; its fields can be overridden
--workdir   where the record and results.json go (default: runs/<config name>)

A stopped run goes on by the same command.
"""

import pathlib
import re

from absl import flags
from ml_collections import config_flags

from jaxbpc import cli

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where the record and results.json go")


def main() -> None:
    """Flags → config → evaluate.run → the table on stdout."""
    from jaxbpc import evaluate

    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = _WORKDIR.value or f"runs/{re.sub(r'[^A-Za-z0-9_.-]+', '-', pathlib.Path(name).stem)}"
    results = evaluate.run(_CONFIG.value, pathlib.Path(workdir))
    print(evaluate.table(results))


if __name__ == "__main__":
    cli.run(main, __doc__)
