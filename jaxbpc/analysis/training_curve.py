"""A series' folder: BPC over training, as far as its checkpoints are scored.

A series is a folder with a run's folder for each checkpoint, as `jaxbpc.evaluation.sweep` makes it,
or a training loop that writes its own results. It may be read while it grows.
"""

import dataclasses
import pathlib

from jaxbpc.analysis import metrics, runs
from jaxbpc.analysis.runs import Run
from jaxbpc.run import bucket
from jaxbpc.run.series_file import FILE, entries
from jaxbpc.utils import paths

_X = ("step", "tokens")


@dataclasses.dataclass(frozen=True)
class Curve:
    """The runs of a series by their steps; `notes` name those that are not there.

    failed: names of runs whose checkpoint failed since: their numbers are of what it was before.
    """

    name: str
    runs: list[Run]
    notes: list[str]
    failed: frozenset[str] = frozenset()

    @property
    def good(self) -> list[Run]:
        """Those that have not failed since."""
        return [run for run in self.runs if run.name not in self.failed]


def split(folders: list[str]) -> tuple[list[Curve], list[str]]:
    """The series among `folders`, read, and the runs' folders beside and in the others.

    A folder without `series.json` is a training's where each of its runs has a step or tokens;
    else its runs stand for it.

    Raises:
      InputError: a run that cannot be read.
    """
    curves, others = [], []
    for folder in folders:
        path = bucket.copy(folder) if paths.is_remote(folder) else _path(folder)
        inside = sorted(path.glob("*/results.json")) if path.is_dir() else []
        is_series = (path / FILE).exists()
        if (path / "results.json").exists() or not (inside or is_series):
            others.append(folder)
            continue
        curve = _read(path, [p.parent for p in inside])
        if is_series or all(any(trained(run, x) is not None for x in _X) for run in curve.runs):
            curves.append(curve)
        else:
            others += [str(p.parent) for p in inside]
    return curves, others


def _path(folder: str) -> pathlib.Path:
    return pathlib.Path(paths.place(folder))


def _read(path: pathlib.Path, inside: list[pathlib.Path]) -> Curve:
    listed = entries(path)
    errors = {c["name"]: c["error"] for c in listed if c["state"] == "failed" or c["error"]}
    found = []
    for run in runs.read(list(map(str, inside))):
        name = run.folder.name
        name = f"{name} (failed)" if name in errors else name
        found.append(dataclasses.replace(run, name=name))
    found.sort(key=lambda run: (trained(run, "step") or 0, trained(run, "tokens") or 0))
    failed = [run for run in found if run.folder.name in errors]
    notes = [f"{name} failed: {error}" for name, error in errors.items()]
    if failed:
        names = ", ".join(run.folder.name for run in failed)
        notes.append(f"{names}: the numbers shown are of an earlier scoring")
    have = {run.folder.name for run in found}
    waiting = [c["name"] for c in listed if c["state"] in ("running", "waiting")]
    waiting = [name for name in waiting if name not in have]
    if waiting:
        n = len(found) - len(failed)
        notes.append(f"{n} of {len(listed)} are scored; to come: {', '.join(waiting)}")
    made = Curve(path.resolve().name, found, notes, frozenset(run.name for run in failed))
    return dataclasses.replace(made, notes=[*unlike(made), *notes])


def unlike(curve: Curve) -> list[str]:
    """Notes of what keeps a series' numbers from being one curve: other texts, windows, dtypes."""
    notes = runs.unlike_texts(curve.good, "checkpoints")
    notes += runs.unlike_settings(curve.good, "checkpoints")
    if not _is_level(curve):
        names = ", ".join(common(curve))
        over = f"the average is over {names}" if names else "there is no average"
        notes.append(f"the checkpoints have not the same corpora: {over}")
    return notes


def common(curve: Curve) -> list[str]:
    """The corpora that a series' average is over: those that all its checkpoints have."""
    if _is_level(curve):
        return corpora_of(curve.good)
    return [text.name for text in runs.common(curve.good)]


def averages(curve: Curve) -> dict[pathlib.Path, float | None]:
    """The average BPC of each run of a series, by its folder, over the same texts for all."""
    level = _is_level(curve)
    wanted = runs.common(curve.good)
    found = {}
    for run in curve.runs:
        own = runs.scored(run)
        mean = metrics.average_bpc(own[text] for text in wanted if text in own)
        mean = run.results.average_bpc if level and run.name not in curve.failed else mean
        has_all = all(text in own for text in wanted)
        found[run.folder] = mean if has_all else None
    return found


def corpora_of(found: list[Run]) -> list[str]:
    """The corpora that any of the runs has scored, in their order."""
    return list(dict.fromkeys(name for run in found for name in run.results.corpora))


def _is_level(curve: Curve) -> bool:
    return len({frozenset(runs.texts(run)) for run in curve.good}) < 2


def trained(run: Run, name: str) -> float | None:
    """How far the model of a run was trained: its `step` or `tokens`, if known."""
    return (run.results.training or {}).get(name)


def members(curves: list[Curve]) -> list[Run]:
    """The runs of all series; of several series each with that one's name before its own."""
    found = [(curve.name, run) for curve in curves for run in curve.runs]
    if len(curves) < 2:
        return [run for _, run in found]
    names = [f"{name}/{run.name}" for name, run in found]
    return [
        dataclasses.replace(run, name=name if names.count(name) == 1 else str(run.folder))
        for name, (_, run) in zip(names, found, strict=True)
    ]
