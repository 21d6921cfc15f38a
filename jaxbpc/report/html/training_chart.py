"""The course of trainings: BPC of a series' checkpoints over steps or tokens, for the page to draw.

A chart a corpus, a line a series; over tokens where several series all report them, as steps of two
trainings need not be alike. Checkpoints without a step or tokens are in the table only.
"""

import dataclasses

import numpy as np

from jaxbpc.analysis.compare import Comparison
from jaxbpc.analysis.runs import Run
from jaxbpc.analysis.training_curve import Curve, averages, common, trained

_MOST = 8  # checkpoints that the page compares: as many as it has colours


@dataclasses.dataclass(frozen=True)
class Point:
    """A checkpoint's BPC at `x` steps or tokens; no limits: None."""

    x: float
    name: str
    value: float
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Line:
    """The checkpoints of a series on a corpus, ascending."""

    series: int
    points: list[Point]


@dataclasses.dataclass(frozen=True)
class Course:
    """The lines by corpus, the average first where there is more than one; unit: step or tokens."""

    curves: list[Curve]
    unit: str
    lines: dict[str, list[Line]]


def gather(curves: list[Curve], found: Comparison) -> Course:
    """The course of series.

    Args:
      found: a comparison that has their runs: the intervals of averages are its.
    """
    runs = [run for curve in curves for run in curve.runs]
    unit = _unit(curves)
    means = {folder: mean for curve in curves for folder, mean in averages(curve).items()}
    limits = {ranked.run.folder: ranked.average for ranked in found.ranking}
    corpora = [name for name in found.corpora if any(name in run.results.corpora for run in runs)]
    lines: dict[str, list[Line]] = {}
    for name in ["average", *corpora] if len(corpora) > 1 else corpora:
        for i, curve in enumerate(curves):
            points = [p for run in curve.good if (p := _point(run, name, unit, means, limits))]
            points.sort(key=lambda p: p.x)
            if points:
                lines.setdefault(name, []).append(Line(i, points))
    return Course(curves, unit, lines)


def _unit(curves: list[Curve]) -> str:
    def all_tell(what: str) -> bool:
        return all(trained(run, what) is not None for curve in curves for run in curve.runs)

    if len(curves) > 1:
        return "tokens" if all_tell("tokens") else "step"
    return "tokens" if all_tell("tokens") and not all_tell("step") else "step"


def _point(run: Run, corpus: str, unit: str, means: dict, averages: dict) -> Point | None:
    limits: tuple | list
    if corpus == "average":
        value, e = means[run.folder], averages.get(run.folder)
        # The limits are of the run's own average: over fewer corpora they are not known.
        limits = (e.low, e.high) if e and value == run.results.average_bpc else (None, None)
    else:
        result = run.results.corpora.get(corpus)
        value = result.bpc if result else None
        limits = (result.bpc_interval if result else None) or (None, None)
    x = trained(run, unit)
    return None if value is None or x is None else Point(x, run.name, value, *limits)


def few(found: Comparison, curves: list[Curve]) -> Comparison:
    """A comparison of series' runs with some of each alone, spread evenly; a note says so."""
    each = max(1, _MOST // max(1, len(curves)))
    kept = set()
    for curve in curves:
        n = len(curve.runs)
        chosen = np.linspace(0, n - 1, each).round() if 1 < each < n else np.arange(n)[-each:]
        kept |= {curve.runs[int(i)].folder for i in chosen}
    ranking = [ranked for ranked in found.ranking if ranked.run.folder in kept]
    if len(ranking) == len(found.ranking):
        return found
    names = {ranked.run.name for ranked in ranking}
    differences = [d for d in found.differences if {d.first, d.second} <= names]
    note = f"{len(ranking)} of {len(found.ranking)} checkpoints are compared; Training has them all"
    return dataclasses.replace(
        found, ranking=ranking, differences=differences, notes=[note, *found.notes]
    )


def headline(course: Course) -> str:
    """How far it is, in a sentence a series; said of its average, or of its only corpus."""
    if not course.lines:
        n = sum(len(curve.good) for curve in course.curves)
        return "The checkpoints have no steps or tokens." if n else "No checkpoint is scored yet."
    return " ".join(_said(course, i) for i in range(len(course.curves)))


def _said(course: Course, series: int) -> str:
    curve = course.curves[series]
    if not curve.good:
        return f"{curve.name} has no scored checkpoint yet."
    own = {
        name: line
        for name, lines in course.lines.items()
        for line in lines
        if line.series == series
    }
    corpora = common(curve)
    name = corpora[0] if len(corpora) == 1 else "average"
    if name not in own:
        what = "has no average" if own else "has no steps or tokens"
        return f"{curve.name} {what}."
    first, last = own[name].points[0], own[name].points[-1]
    over = f"on average over {len(corpora)} corpora"
    over = f"on {name}" if name != "average" else over
    text = f"{curve.name} needs {last.value:.4f} bits per character {over} at {where(course, last)}"
    if last is not first:
        text += f", after {first.value:.4f} at {where(course, first)}"
    return text + "."


def notes(course: Course, series: int) -> list[str]:
    """Of a series: what is not there, and what cannot be drawn."""
    drawn = {
        point.name
        for lines in course.lines.values()
        for line in lines
        if line.series == series
        for point in line.points
    }
    curve = course.curves[series]
    others = [run.name for run in curve.good if run.name not in drawn]
    note = f"{', '.join(others)}: not drawn, without a BPC or {course.unit}"
    return [*curve.notes, note] if others else curve.notes


def where(course: Course, point: Point) -> str:
    """How far a checkpoint is, in words."""
    return f"step {point.x:,.0f}" if course.unit == "step" else f"{point.x:,.0f} tokens"
