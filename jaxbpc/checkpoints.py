"""One's own checkpoints by size or training data, of run folders or a CSV file."""

import csv
import dataclasses
import math
import pathlib

from jaxbpc import runs
from jaxbpc.errors import InputError

X = ("parameters", "tokens")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model: `x` is its number of parameters, or of the tokens it has seen."""

    name: str
    x: float
    bpc: float


def read(sources: list[str], x: str, corpus: str) -> list[Checkpoint]:
    """Checkpoints of run folders (x: parameters alone) and CSV files.

    A file's columns: name; `parameters` or `tokens`, as `x` says; and `bpc`, or `run`, a run folder
    (from the file's own folder) that has it on `corpus`, or over all corpora for `average`.

    Raises:
      InputError: a source or row without one of these numbers.
    """
    found = []
    for source in sources:
        path = pathlib.Path(source).expanduser()
        if path.is_dir():
            (run,) = runs.read([source])
            if x != "parameters":
                raise InputError(
                    f"{source}: a run does not tell how many tokens its model has seen: give a CSV "
                    f"file with the columns {x}, run"
                )
            found.append(Checkpoint(run.name, run.results.model["parameters"], _bpc(run, corpus)))
        else:
            found += _of_file(path, x, corpus)
    return found


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
            bpc, name = _bpc(run, corpus), row.get("name") or run.name
        else:
            raise InputError(f"{where}: no BPC: fill in the column bpc, or run with a run folder")
        found.append(Checkpoint(name, _number(row.get(x) or "", f"{where}: {x}"), bpc))
    return found


def _bpc(run: runs.Run, corpus: str) -> float:
    bpc = run.bpc()
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
