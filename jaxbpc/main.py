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

from jaxbpc import cli
from jaxbpc.errors import InputError
from jaxbpc.parallel import chips
from jaxbpc.parallel import flags as parallel_flags

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "where the record and results.json go")
_CHECKPOINTS = flags.DEFINE_string("checkpoints", None, "patterns of folders in config.model.path")
_REVISIONS = flags.DEFINE_list("revisions", None, "revisions of the hub id config.model.path")


def main() -> None:
    """Flags → config → distributed start → evaluate.run → the table on stdout."""
    # Of a GPU's memory JAX takes three quarters by default: a large model needs more.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(chips.GPU_MEMORY_SHARE))
    from jaxbpc.evaluation import loop
    from jaxbpc.parallel import distributed
    from jaxbpc.run import results
    from jaxbpc.utils import paths

    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = (
        os.path.expanduser(_WORKDIR.value or "")
        or f"runs/{re.sub(r'[^A-Za-z0-9_.-]+', '-', pathlib.Path(name).stem)}"
    )
    parallel_flags.start()
    distributed.check_devices()
    distributed.cache_compiled(paths.cache_folder())
    if _CHECKPOINTS.value or _REVISIONS.value:
        return _series(workdir)
    ended = loop.run(_CONFIG.value, workdir)
    if distributed.is_writer():
        cli.show(results.table(ended), f"the table's numbers are in {workdir}/results.json")
    return None


def _series(workdir: str) -> None:
    """Scores the checkpoints of a training and prints their curve; raises where some failed."""
    from jaxbpc.analysis import training_curve
    from jaxbpc.evaluation import sweep
    from jaxbpc.parallel import distributed
    from jaxbpc.report import tables

    config = _CONFIG.value
    failed = sweep.run(
        config, found := sweep.find(config, _CHECKPOINTS.value, _REVISIONS.value), workdir
    )
    if distributed.is_writer():
        made = [tables.over_training(each) for each in training_curve.split([workdir])[0]]
        cli.show(tables.text(made), f"the table's numbers are in {workdir}")
    if failed:
        names = ", ".join(checkpoint.name for checkpoint in failed)
        raise InputError(
            f"{len(failed)} of {len(found)} checkpoints failed ({names}): fix what is said above "
            "and start the same command again, the others are kept"
        )


if __name__ == "__main__":
    cli.run(main, __doc__)
