"""Benchmark scores against BPC, as in the paper; power laws of BPC over size or data.

  python -m jaxbpc.fit [RUN …] [--scores FILE.csv] [--nopaper] [--fits NAME,NAME]
                       [--form linear|logarithmic] [--plot FILE.svg] [--json FILE]
  python -m jaxbpc.fit power RUN|SERIES|FILE.csv … [--x parameters|step|tokens|flops]
                       [--corpus average]
                       [--at NUMBER,NUMBER] [--plot FILE.svg] [--json FILE]

Without arguments it fits the paper's tables and prints what the paper says beside it. RUN is a
run's folder: the scores of its model are predicted, each with a 95% interval. A run of a published
model, by its hub id or name, is predicted without that model's point, and takes its place in the
fits of scores that --scores gives for it.
--scores   a table of more scores to fit: columns model (a run or a published model), benchmark,
           score_pct (or score, a fraction); for a benchmark that the paper lacks also corpus, and
           for a model that is neither also bpc (what is known of a model's BPC must not differ)
--nopaper  fit without the paper's scores
--fits     the names of the fits wanted (default: all; a plot shows the four averages)
--form     the curve that predicts. The table tells how well both do: `left out` is the RMSE when
           each model is predicted from the others, `log form` the same for a line over ln BPC
power      fit BPC = floor + excess * (x / middle)^-exponent to 4 or more checkpoints of one's own:
           run folders, those of a SERIES' folder that tell --x and have not failed, or the rows of
           FILE.csv, which has a column named as --x and one named bpc or run (a run's folder)
--x        what the law is over (default: parameters)
--corpus   which corpus's BPC (default: the average), for run folders
--at       values of --x to predict BPC at
--plot     SVG or PNG, by the name's ending; needs the extra `plots` (matplotlib)
"""

import dataclasses
import json
import math
import pathlib
import sys

import numpy as np
from absl import flags

from jaxbpc import checkpoints, cli, points, published, regress
from jaxbpc.analysis import runs
from jaxbpc.errors import InputError
from jaxbpc.utils.files import write_json

_SCORES = flags.DEFINE_string("scores", None, "CSV file of more scores")
_PAPER = flags.DEFINE_boolean("paper", True, "with the paper's scores")
_FITS = flags.DEFINE_list("fits", [], "names of fits")
_FORM = flags.DEFINE_enum("form", "linear", ["linear", "logarithmic"], "of the curve")
_PLOT = flags.DEFINE_string("plot", None, "SVG or PNG file")
_JSON = flags.DEFINE_string("json", None, "JSON file", allow_override=True)
_X = flags.DEFINE_enum("x", "parameters", checkpoints.X, "what a power law is over")
_CORPUS = flags.DEFINE_string("corpus", "average", "of which corpus")
_AT = flags.DEFINE_list("at", [], "where to predict")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """One fit: the models that it goes through, as a line over BPC and as one over ln BPC."""

    kind: points.Kind
    models: list[points.Model]
    linear: regress.Line
    logarithmic: regress.Line

    def line(self, form: str) -> regress.Line:
        """`linear` or `logarithmic`."""
        return self.linear if form == "linear" else self.logarithmic

    def line_without(self, model: points.Model, form: str) -> regress.Line:
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


_KEPT = "the files that were asked for are written"


def main(arguments: list[str]) -> None:
    """`power SOURCE …`, or run folders."""
    if arguments[:1] == ["power"]:
        return power(arguments[1:])
    folders = runs.read(arguments)
    fitted, ours = fit_scores(folders, _SCORES.value, _PAPER.value, _FITS.value)
    predictions = [p for run in ours for p in predict(run, fitted, _FORM.value)]
    for warning in warnings(folders, predictions):
        print(f"warning: {warning}", file=sys.stderr)
    if _JSON.value:
        _write(_JSON.value, scores_json(fitted, predictions))
    if _PLOT.value:
        from jaxbpc import plots

        averages = [f for f in fitted if _FITS.value or f.kind.name in _plotted()]
        plots.scores(averages or fitted, ours, _FORM.value, pathlib.Path(_PLOT.value))
    parts = [fits_table(fitted), *([predictions_table(predictions)] if predictions else [])]
    cli.show("\n\n".join(parts), _KEPT)
    return None


def _plotted() -> list[str]:
    return ["overall", *(f"{area} avg" for area in published.AREAS)]


def fit_scores(
    folders: list[runs.Run], scores: str | None, paper: bool = True, only: list[str] | None = None
) -> tuple[list[Fitted], list[points.Model]]:
    """The fits, and the runs as models: with scores where the file has some.

    Args:
      scores: a CSV file as `points.read_scores` takes it.
      only: names of fits; none: all that have 3 models or more.

    Raises:
      InputError: a file, row or name at fault, or nothing to fit.
    """
    models = points.paper_models() if paper else []
    kinds = points.kinds()
    given: list[points.Model] = []
    if scores is not None:
        given, more = points.read_scores(pathlib.Path(scores), folders, paper)
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
        for through, x, y in [points.of_kind(kind, models)]
        if only or len(set(x)) > 2
    ]
    if not found:
        raise InputError("no benchmark has scores of 3 models: give more of them in --scores")
    by_name = {model.name: model for model in given}
    return found, [by_name.get(run.name) or points.of_run(run) for run in folders]


def _lines(x: np.ndarray, y: np.ndarray) -> tuple[regress.Line, regress.Line]:
    return regress.fit_line(x, y), regress.fit_line(x, y, logarithmic=True)


def predict(model: points.Model, fitted: list[Fitted], form: str = "linear") -> list[Prediction]:
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
        told = f"   {paper.pearson:.3f} {paper.rmse:.3f}" if paper else ""
        lines.append(
            f"{fit.kind.name:<{width}}{fit.kind.corpus:<11}{len(line.x):>4}{line.pearson:>9.3f}"
            f"{line.rmse:>8.4f}{line.slope:>8.3f}{line.intercept:>11.4f}{line.loo_rmse:>10.4f}"
            f"{curve.loo_rmse:>11.4f}{told}"
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


def _line_json(line: regress.Line) -> dict:
    fields = ("slope", "slope_stderr", "intercept", "pearson", "rmse", "loo_rmse")
    return {name: getattr(line, name) for name in fields} | {"left_out": line.left_out.tolist()}


def power(sources: list[str]) -> None:
    """The power law through checkpoints: prints it, its uncertainty and predictions."""
    if not sources:
        raise InputError("give run folders or a CSV file of checkpoints; see --help")
    found = checkpoints.read(sources, _X.value, _CORPUS.value)
    for checkpoint in found:
        if not checkpoint.x:
            told = f"{checkpoint.name} is left out: no power law reaches {_X.value} of 0"
            print(f"warning: {told}", file=sys.stderr)
    found = [checkpoint for checkpoint in found if checkpoint.x]
    try:
        at = [float(x) for x in _AT.value]
        if not all(0 < x < float("inf") for x in at):
            raise ValueError
    except ValueError:
        raise InputError(f"--at is {','.join(_AT.value)}: give positive numbers of {_X.value}")
    x, bpc = np.array([c.x for c in found]), np.array([c.bpc for c in found])
    law = regress.fit_power(x, bpc, _X.value)
    if not law.excess:
        raise InputError(f"BPC does not fall with {_X.value} over these checkpoints: no power law")
    if _JSON.value:
        _write(_JSON.value, power_json(law, _X.value, found, at))
    if _PLOT.value:
        from jaxbpc import plots

        plots.power(law, found, _X.value, at, pathlib.Path(_PLOT.value))
    cli.show(power_text(law, _X.value, at), _KEPT)


def power_text(law: regress.Power, x: str, at: list[float]) -> str:
    """The law, its intervals and predictions, for a terminal."""
    lines = [
        f"BPC = floor + excess * ({x} / {law.middle:.4g})^-exponent    {len(law.x)} checkpoints, "
        f"RMSE {law.rmse:.5f}, 95% intervals",
        "floor     {:.4f}  {:.4f} to {:.4f}".format(law.floor, *law.floor_interval),
        f"exponent  {law.exponent:.4f}  {_open_interval(law.exponent_interval)}",
        f"excess    {law.excess:.4f}",
    ]
    if not law.determined:
        lines.append(
            "the points do not determine an exponent: the best one is at the end of those tried, "
            "{:g} to {:g}".format(*regress.EXPONENTS)
        )
    for where in at:
        outside = "" if law.x.min() <= where <= law.x.max() else "  outside the fitted range"
        value, low, high = law.predict(where)
        lines.append(f"at {where:.4g} {x}: BPC {value:.4f}  {low:.4f} to {high:.4f}{outside}")
    return "\n".join(lines)


def _open_interval(interval: tuple[float, float]) -> str:
    """An exponent's interval, with the limit of the search where it has no end."""
    low, high = interval
    first, last = regress.EXPONENTS
    told_low = f"below {first:g}" if low == -math.inf else f"{low:.4f}"
    return f"{told_low} to " + (f"above {last:g}" if high == math.inf else f"{high:.4f}")


def power_json(law: regress.Power, x: str, found: list, at: list[float]) -> dict:
    """The content of `--json` of a power law; an infinite end of an interval is written as null."""
    fields = (
        "middle",
        "floor",
        "floor_interval",
        "excess",
        "exponent",
        "exponent_interval",
        "rmse",
    )
    predictions = [
        dict(zip((x, "bpc", "low", "high"), (a, *law.predict(a)), strict=True)) for a in at
    ]
    return {
        "x": x,
        "checkpoints": [dataclasses.asdict(c) for c in found],
        **{name: getattr(law, name) for name in fields},
        "predictions": predictions,
    }


def _write(path: str, content: dict) -> None:
    """Writes JSON, in which what is not a number is null. Raises InputError where it cannot."""
    write_json(pathlib.Path(path), json.loads(json.dumps(content), parse_constant=lambda _: None))


if __name__ == "__main__":
    cli.run(main, __doc__, positional=True)
