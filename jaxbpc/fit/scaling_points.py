"""One's own checkpoints by size or training, of run folders, series or a CSV file."""

import csv
import dataclasses
import logging
import math
import pathlib

from jaxbpc.analysis import runs, training_curve
from jaxbpc.errors import InputError
from jaxbpc.utils.paths import is_remote

log = logging.getLogger(__name__)

X = ("parameters", "step", "tokens", "flops")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model: `x` is its number of parameters, or how far it was trained."""

    name: str
    x: float
    bpc: float


def read(sources: list[str], x: str, corpus: str) -> list[Checkpoint]:
    """Checkpoints of run folders, series' folders and CSV files.

    A file's columns: name; one of X, as `x` says; and `bpc`, or `run`, a run folder
    (from the file's own folder) that has it on `corpus`, or over all corpora for `average`.

    Raises:
      InputError: a source or row without one of these numbers.
    """
    found = []
    for source in sources:
        path = pathlib.Path(source).expanduser()
        if path.is_dir() or is_remote(source):
            curves, others = training_curve.split([source])
            for run in runs.read(others):
                found.append(
                    Checkpoint(run.name, _x(run, x), _bpc(run, corpus, run.results.average_bpc))
                )
            for each in curves:
                found += _of_series(each, x, corpus)
        else:
            found += _of_file(path, x, corpus)
    return found


def _of_series(series: training_curve.Curve, x: str, corpus: str) -> list[Checkpoint]:
    """Its checkpoints but those that cannot be fitted: failed ones, and without an x (step_latest).

    Raises InputError where none has an x.
    """
    for name in sorted(series.failed):
        log.warning("warning: %s is left out: its numbers are of an earlier scoring", name)
    known = [run for run in series.good if _reported(run, x) is not None]
    for run in series.good if known else []:
        if run not in known:
            log.warning(
                "warning: %s is left out: it does not report the %s of its model", run.name, x
            )
    known = known or series.good
    for note in training_curve.unlike(series):
        log.warning("warning: %s: %s", series.name, note)
    averages = training_curve.averages(series)
    return [
        Checkpoint(run.name, _x(run, x), _bpc(run, corpus, averages[run.folder])) for run in known
    ]


def _of_file(path: pathlib.Path, x: str, corpus: str) -> list[Checkpoint]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{path}: cannot be read ({e}): give run folders, or a CSV file")
    found = []
    for line, row in rows:
        where = f"{path}:{line}"
        if row.get("bpc"):
            bpc, name = _number(row["bpc"], f"{where}: bpc"), row.get("name") or str(line)
        elif row.get("run"):
            (run,) = runs.read([str(path.parent / row["run"])])
            bpc, name = _bpc(run, corpus, run.results.average_bpc), row.get("name") or run.name
        else:
            raise InputError(f"{where}: no BPC: fill in the column bpc, or run with a run folder")
        found.append(Checkpoint(name, _number(row.get(x) or "", f"{where}: {x}"), bpc))
    return found


def _reported(run: runs.Run, x: str) -> float | None:
    return run.results.model.get(x) if x == "parameters" else training_curve.trained(run, x)


def _x(run: runs.Run, x: str) -> float:
    """Raises InputError where the run does not report it."""
    value = _reported(run, x)
    if value is None:
        raise InputError(
            f"{run.folder}: does not report the {x} of its model: give config.training.{x} to its "
            f"run, or a CSV file with the columns {x}, run"
        )
    return float(value)


def _bpc(run: runs.Run, corpus: str, average: float | None) -> float:
    """Raises InputError where the run has none. average: as far as there is one to compare."""
    bpc = {name: value for name, value in run.bpc().items() if name != "average"}
    if average is not None:
        bpc["average"] = average
    if corpus not in bpc:
        raise InputError(
            f"{run.folder}: no BPC on {corpus}: give one of {', '.join(bpc) or 'another run'} as "
            "--corpus"
        )
    return bpc[corpus]


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value
    except ValueError:
        raise InputError(f"{where} is {text!r}: give a positive number")
