"""Fits of benchmark scores over BPC, and what they predict for a model: as data and tables."""

import dataclasses
import pathlib

import numpy as np

from jaxbpc import published
from jaxbpc.analysis import runs
from jaxbpc.errors import InputError
from jaxbpc.fit import benchmark_scores, regression


@dataclasses.dataclass(frozen=True)
class Fitted:
    """One fit: the models that it goes through, as a line over BPC and as one over ln BPC."""

    kind: benchmark_scores.Kind
    models: list[benchmark_scores.Model]
    linear: regression.Line
    logarithmic: regression.Line

    def line(self, form: str) -> regression.Line:
        """`linear` or `logarithmic`."""
        return self.linear if form == "linear" else self.logarithmic

    def line_without(self, model: benchmark_scores.Model, form: str) -> regression.Line:
        """The line through the other models: a published one is not another than its run."""
        own = [i for i, other in enumerate(self.models) if other.is_as(model)]
        return self.line(form).without(*own)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A model's score by a fit that does not go through it, with a 95% interval."""

    model: str
    fit: str
    bpc: float
    score: float
    low: float
    high: float
    actual: float | None
    outside: bool  # of the range of BPC that the fit has seen


def fit_scores(
    folders: list[runs.Run], scores: str | None, paper: bool = True, only: list[str] | None = None
) -> tuple[list[Fitted], list[benchmark_scores.Model]]:
    """The fits, and the runs as models: with scores where the file has some.

    Args:
      scores: a CSV file as `benchmark_scores.read_scores` takes it.
      only: names of fits; none: all that have 3 models or more.

    Raises:
      InputError: a file, row or name at fault, or nothing to fit.
    """
    models = benchmark_scores.paper_models() if paper else []
    kinds = benchmark_scores.kinds()
    given: list[benchmark_scores.Model] = []
    if scores is not None:
        given, more = benchmark_scores.read_scores(pathlib.Path(scores), folders, paper)
        kinds += more
    names = {model.name for model in given if not model.ours}
    models = [model for model in models if model.name not in names] + given
    if only:
        known = {kind.name.lower(): kind for kind in kinds}
        if missing := [name for name in only if name.lower() not in known]:
            raise InputError(
                f"--fits: no fit {missing[0]!r}: give of {', '.join(k.name for k in kinds)}"
            )
        kinds = [known[name.lower()] for name in only]
    found = [
        Fitted(kind, through, *_lines(x, y))
        for kind in kinds
        for through, x, y in [benchmark_scores.of_kind(kind, models)]
        if only or len(set(x)) > 2
    ]
    if not found:
        raise InputError("no benchmark has scores of 3 models: give more of them in --scores")
    by_name = {model.name: model for model in given}
    return found, [by_name.get(run.name) or benchmark_scores.of_run(run) for run in folders]


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[regression.Line, regression.Line]:
    return regression.fit_line(x, y), regression.fit_line(x, y, logarithmic=True)


def predict(
    model: benchmark_scores.Model, fitted: list[Fitted], form: str = "linear"
) -> list[Prediction]:
    """The model's scores by every fit whose corpus it was scored on; itself is left out of them,
    also as the published model that it is."""
    found = []
    for fit in fitted:
        bpc = model.bpc.get(fit.kind.corpus)
        if bpc is None or fit.kind.mismatch:
            continue
        line = fit.line_without(model, form)
        outside = not line.x.min() <= bpc <= line.x.max()
        actual = model.scores.get(fit.kind.score)
        found.append(
            Prediction(model.name, fit.kind.name, bpc, *line.predict(bpc), actual, outside)
        )
    return found


def fits_table(fitted: list[Fitted]) -> str:
    """Both forms of every fit beside what the paper prints, as a table for a terminal."""
    width = max(len(f.kind.name) for f in fitted) + 2
    head = (
        f"{'fit':<{width}}{'against':<11}{'n':>4}{'Pearson':>9}{'RMSE':>8}{'slope':>8}"
        f"{'intercept':>11}{'left out':>10}{'log form':>11}   published"
    )
    lines = [head, "-" * len(head)]
    for fit in fitted:
        line, curve, paper = fit.linear, fit.logarithmic, published.fits().get(fit.kind.name)
        reference = f"   {paper.pearson:.3f} {paper.rmse:.3f}" if paper else ""
        lines.append(
            f"{fit.kind.name:<{width}}{fit.kind.corpus:<11}{len(line.x):>4}{line.pearson:>9.3f}"
            f"{line.rmse:>8.4f}{line.slope:>8.3f}{line.intercept:>11.4f}{line.loo_rmse:>10.4f}"
            f"{curve.loo_rmse:>11.4f}{reference}"
        )
    return "\n".join(lines)


def predictions_table(predictions: list[Prediction]) -> str:
    """Predicted scores in percent, as a table for a terminal."""
    width = max(12, *(len(p.model) for p in predictions)) + 2
    head = (
        f"{'model':<{width}}{'fit':<15}{'BPC':>8}{'score, %':>10}{'95% interval':>18}{'actual':>8}"
    )
    lines = [head, "-" * len(head)]
    for p in predictions:
        interval = f"{100 * p.low:.1f} to {100 * p.high:.1f}"
        actual = "" if p.actual is None else f"{100 * p.actual:.1f}"
        lines.append(
            f"{p.model:<{width}}{p.fit:<15}{p.bpc:>8.4f}{100 * p.score:>10.1f}{interval:>18}"
            f"{actual:>8}{'  outside the fitted range' if p.outside else ''}"
        )
    return "\n".join(lines)


def warnings(folders: list[runs.Run], predictions: list[Prediction]) -> list[str]:
    """What speaks against the predictions: other settings than the paper's, extrapolation."""
    found = [f"{run.name}: {line}" for run in folders for line in runs.unlike_published(run)]
    for name in dict.fromkeys(p.model for p in predictions if p.outside):
        outside = [p.fit for p in predictions if p.outside and p.model == name]
        found.append(f"{name}: its BPC is outside the fitted range of {', '.join(outside)}")
    for run in folders:
        if run.name not in {p.model for p in predictions}:
            have = ", ".join(run.results.corpora)
            found.append(
                f"{run.name}: nothing to predict from {have}: the fits are over the paper's corpora"
            )
    return found


def scores_json(fitted: list[Fitted], predictions: list[Prediction]) -> dict:
    """The content of `--json`."""
    return {
        "fits": [
            {
                "fit": fit.kind.name,
                "corpus": fit.kind.corpus,
                "models": [model.name for model in fit.models],
                "bpc": fit.linear.x.tolist(),
                "scores": fit.linear.y.tolist(),
                "linear": _line_json(fit.linear),
                "logarithmic": _line_json(fit.logarithmic),
            }
            for fit in fitted
        ],
        "predictions": [dataclasses.asdict(p) for p in predictions],
    }


def _line_json(line: regression.Line) -> dict:
    fields = ("slope", "slope_stderr", "intercept", "pearson", "rmse", "loo_rmse")
    return {name: getattr(line, name) for name in fields} | {"left_out": line.left_out.tolist()}
