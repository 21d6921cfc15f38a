"""Scores corpora by a language model: bits per character.

  python -m jaxbpc.main --config FILE.py[:argument] [--config.group.field=value …] [--workdir DIR]

--config    a file with get_config(), e.g. configs/llama.py:2-7b; its fields can be overridden
--workdir   where the record and results.json go (default: runs/<config name>), also gs://…
--checkpoints, --revisions   score many of one training: folders in config.model.path by patterns
            (step*, or step1000,step2000), or revisions of a hub id (step1000,step2000); each in a
            folder of the workdir
--distributed=auto|on|off   many processes as one job (auto: where a cluster is recognised)
--coordinator_address, --num_processes, --process_id   for schedulers that are not recognised

A stopped run goes on by the same command.
"""

import os
import pathlib
import re

from absl import flags
from ml_collections import config_flags

from jaxbpc import chips, cli
from jaxbpc.errors import InputError

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where the record and results.json go")
_CHECKPOINTS = flags.DEFINE_string("checkpoints", None, "patterns of folders in config.model.path")
_REVISIONS = flags.DEFINE_list("revisions", None, "revisions of the hub id config.model.path")
_DISTRIBUTED = flags.DEFINE_enum("distributed", "auto", ["auto", "on", "off"], "join a cluster")
_COORDINATOR = flags.DEFINE_string("coordinator_address", None, "host:port of process 0")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many processes", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "this process, from 0", lower_bound=0)


def main() -> None:
    """Flags → config → distributed start → evaluate.run → the table on stdout."""
    # Of a GPU's memory JAX takes three quarters by default: a large model needs more.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(chips.GPU_MEMORY_SHARE))
    from jaxbpc import distributed, evaluate, results
    from jaxbpc.weights import source

    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = (
        os.path.expanduser(_WORKDIR.value or "")
        or f"runs/{re.sub(r'[^A-Za-z0-9_.-]+', '-', pathlib.Path(name).stem)}"
    )
    distributed.start(
        _DISTRIBUTED.value, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    )
    distributed.check_devices()
    distributed.cache_compiled(source.cache_folder())
    if _CHECKPOINTS.value or _REVISIONS.value:
        return _series(workdir)
    ended = evaluate.run(_CONFIG.value, workdir)
    if distributed.is_writer():
        cli.show(results.table(ended), f"the table's numbers are in {workdir}/results.json")
    return None


def _series(workdir: str) -> None:
    """Scores the checkpoints of a training and prints their curve; raises where some failed."""
    from jaxbpc import curve, distributed, series, tables

    config = _CONFIG.value
    failed = series.run(
        config, found := series.find(config, _CHECKPOINTS.value, _REVISIONS.value), workdir
    )
    if distributed.is_writer():
        made = [curve.table(each) for each in curve.split([workdir])[0]]
        cli.show(tables.text(made), f"the table's numbers are in {workdir}")
    if failed:
        names = ", ".join(checkpoint.name for checkpoint in failed)
        raise InputError(
            f"{len(failed)} of {len(found)} checkpoints failed ({names}): mend what is said above "
            "and start the same command again, the others are kept"
        )


if __name__ == "__main__":
    cli.run(main, __doc__)
