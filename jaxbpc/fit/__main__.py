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
--form     the curve that predicts. The table shows the error of both: `left out` is the RMSE when
           each model is predicted from the others, `log form` the same for a line over ln BPC
power      fit BPC = floor + excess * (x / middle)^-exponent to 4 or more checkpoints of your own:
           run folders, those of a SERIES' folder that have --x and have not failed, or the rows of
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

from jaxbpc import cli, published
from jaxbpc.analysis import runs
from jaxbpc.errors import InputError
from jaxbpc.fit import regression, scaling_points
from jaxbpc.fit.predictions import (
    fit_scores,
    fits_table,
    predict,
    predictions_table,
    scores_json,
    warnings,
)
from jaxbpc.utils.files import write_json

_SCORES = flags.DEFINE_string("scores", None, "CSV file of more scores")
_PAPER = flags.DEFINE_boolean("paper", True, "with the paper's scores")
_FITS = flags.DEFINE_list("fits", [], "names of fits")
_FORM = flags.DEFINE_enum("form", "linear", ["linear", "logarithmic"], "of the curve")
_PLOT = flags.DEFINE_string("plot", None, "SVG or PNG file")
_JSON = flags.DEFINE_string("json", None, "JSON file", allow_override=True)
_X = flags.DEFINE_enum("x", "parameters", scaling_points.X, "what a power law is over")
_CORPUS = flags.DEFINE_string("corpus", "average", "of which corpus")
_AT = flags.DEFINE_list("at", [], "where to predict")


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
        from jaxbpc.fit import plots

        averages = [f for f in fitted if _FITS.value or f.kind.name in _plotted()]
        plots.scores(averages or fitted, ours, _FORM.value, pathlib.Path(_PLOT.value))
    parts = [fits_table(fitted), *([predictions_table(predictions)] if predictions else [])]
    cli.show("\n\n".join(parts), _KEPT)
    return None


def _plotted() -> list[str]:
    return ["overall", *(f"{area} avg" for area in published.AREAS)]


def power(sources: list[str]) -> None:
    """The power law through checkpoints: prints it, its uncertainty and predictions."""
    if not sources:
        raise InputError("give run folders or a CSV file of checkpoints; see --help")
    found = scaling_points.read(sources, _X.value, _CORPUS.value)
    for checkpoint in found:
        if not checkpoint.x:
            message = f"{checkpoint.name} is left out: no power law reaches {_X.value} of 0"
            print(f"warning: {message}", file=sys.stderr)
    found = [checkpoint for checkpoint in found if checkpoint.x]
    try:
        at = [float(x) for x in _AT.value]
        if not all(0 < x < float("inf") for x in at):
            raise ValueError
    except ValueError:
        raise InputError(f"--at is {','.join(_AT.value)}: give positive numbers of {_X.value}")
    x, bpc = np.array([c.x for c in found]), np.array([c.bpc for c in found])
    law = regression.fit_power(x, bpc, _X.value)
    if not law.excess:
        raise InputError(f"BPC does not fall with {_X.value} over these checkpoints: no power law")
    if _JSON.value:
        _write(_JSON.value, power_json(law, _X.value, found, at))
    if _PLOT.value:
        from jaxbpc.fit import plots

        plots.power(law, found, _X.value, at, pathlib.Path(_PLOT.value))
    cli.show(power_text(law, _X.value, at), _KEPT)


def power_text(law: regression.Power, x: str, at: list[float]) -> str:
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
            "{:g} to {:g}".format(*regression.EXPONENTS)
        )
    for where in at:
        outside = "" if law.x.min() <= where <= law.x.max() else "  outside the fitted range"
        value, low, high = law.predict(where)
        lines.append(f"at {where:.4g} {x}: BPC {value:.4f}  {low:.4f} to {high:.4f}{outside}")
    return "\n".join(lines)


def _open_interval(interval: tuple[float, float]) -> str:
    """An exponent's interval, with the limit of the search where it has no end."""
    low, high = interval
    first, last = regression.EXPONENTS
    shown_low = f"below {first:g}" if low == -math.inf else f"{low:.4f}"
    return f"{shown_low} to " + (f"above {last:g}" if high == math.inf else f"{high:.4f}")


def power_json(law: regression.Power, x: str, found: list, at: list[float]) -> dict:
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
