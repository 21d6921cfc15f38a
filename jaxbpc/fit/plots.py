"""Figures as the paper draws them: scores over BPC with the models' names; a power law.

matplotlib comes with the extra `plots`, and is loaded only when a figure is asked for.
"""

import pathlib

import numpy as np

from jaxbpc.errors import InputError
from jaxbpc.fit import regression

# Where a name may stand by its point: offsets in points of type, and which end is there.
_SIDES = [
    (4, 3, "left"),
    (-4, 3, "right"),
    (4, -9, "left"),
    (-4, -9, "right"),
    (6, -3, "left"),
    (-6, -3, "right"),
    (0, 6, "center"),
    (0, -13, "center"),
]
_PAPER, _OURS = "#4878a8", "#d1495b"


def scores(fitted: list, ours: list, form: str, path: pathlib.Path) -> None:
    """One panel a fit: points with names, the line, its 95% band for one model.

    Args:
      fitted: `predictions.Fitted`s.
      ours: `benchmark_scores.Model`s that are marked, with scores as points, without as their
        prediction.
      form: `linear` or `logarithmic`.
      path: ends in .svg or .png.

    Raises:
      InputError: no matplotlib, or a file that cannot be written.
    """
    figure, panels = _figure(path, len(fitted))
    for fit, axes in zip(fitted, panels, strict=True):
        line = fit.line(form)
        for model, x, y in zip(fit.models, line.x, line.y, strict=True):
            _point(axes, x, y, model.name, _OURS if model.ours else _PAPER)
        waiting = [m for m in ours if fit.kind.corpus in m.bpc and fit.kind.score not in m.scores]
        for model in waiting if not fit.kind.mismatch else []:
            x = model.bpc[fit.kind.corpus]
            value, low, high = fit.line_without(model, form).predict(x)
            axes.errorbar(x, value, [[value - low], [high - value]], color=_OURS, capsize=3)
            _point(axes, x, value, f"{model.name} (predicted)", _OURS, hollow=True)
        low, high = axes.get_xlim()
        _band(axes, line.predict, np.linspace(low, high, 100))
        axes.set_title(f"{fit.kind.name}: r = {line.pearson:.3f}, RMSE = {line.rmse:.3f}")
        axes.set_xlabel(f"BPC ({fit.kind.corpus})")
        axes.set_ylabel("score")
    _save(figure, path)


def power(law: regression.Power, checkpoints: list, x: str, at: list[float], path: pathlib.Path):
    """The checkpoints, the curve with its 95% band for one more, the floor."""
    figure, (axes,) = _figure(path, 1)
    for checkpoint in checkpoints:
        _point(axes, checkpoint.x, checkpoint.bpc, checkpoint.name, _PAPER)
    _band(axes, law.predict, np.geomspace(min([*law.x, *at]), max([*law.x, *at]), 60))
    axes.axhline(law.floor, color="grey", linestyle=":", label=f"floor {law.floor:.3f}")
    axes.legend()
    axes.set_xscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel("BPC")
    _save(figure, path)


def _figure(path: pathlib.Path, n: int):
    """(figure, its n axes). Raises InputError where it cannot be drawn."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise InputError(f"--plot is {path}: give a name that ends in .svg or .png")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'jaxbpc[plots]'")
    # Names stay text in an SVG, and equal figures are equal files.
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "jaxbpc"
    columns = 1 if n == 1 else 2
    rows = -(-n // columns)
    figure = Figure(figsize=(7 * columns, 5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in axes[n:]:
        spare.remove()
    return figure, axes[:n]


def _point(axes, x: float, y: float, name: str, color: str, hollow: bool = False) -> None:
    """A point; `_save` gives it its name, when all points have their place."""
    face = "none" if hollow else color
    point = axes.scatter([x], [y], s=22, edgecolors=color, facecolors=face, zorder=3)
    point.set_gid(name)


def _band(axes, predict, xs: np.ndarray) -> None:
    values, lows, highs = np.transpose([predict(x) for x in xs])
    axes.plot(xs, values, color="black", linewidth=1)
    axes.fill_between(xs, lows, highs, color="grey", alpha=0.15, linewidth=0)


def _name_points(axes) -> None:
    """Puts each point's name on the side of it where it covers least of points and names."""
    points = [c for c in axes.collections if c.get_gid()]
    places = [axes.transData.transform(c.get_offsets()[0]) for c in points]
    scale = axes.figure.dpi / 72
    taken = [(x - 3 * scale, y - 3 * scale, x + 3 * scale, y + 3 * scale) for x, y in places]
    inside = axes.get_window_extent().extents
    for point, (x, y) in zip(points, places, strict=True):
        name = point.get_gid()
        width, height = 3.9 * len(name) * scale, 8 * scale  # about what 7 points of type take
        tried = []
        for dx, dy, align in _SIDES:
            left = x + dx * scale - width * {"left": 0, "center": 0.5, "right": 1}[align]
            low = y + dy * scale
            box = (left, low, left + width, low + height)
            cost = sum(_overlap(box, other) for other in taken)
            cost += 10 * (width * height - _overlap(box, inside))
            tried.append((round(cost, 3), box, dx, dy, align))
        _, box, dx, dy, align = min(tried, key=lambda place: place[0])
        taken.append(box)
        axes.annotate(
            name,
            point.get_offsets()[0],
            (dx, dy),
            textcoords="offset points",
            ha=align,
            fontsize=7,
            color=point.get_edgecolor()[0],
        )
        point.set_gid(None)


def _overlap(one, other) -> float:
    """The area that two boxes (left, low, right, high) share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _save(figure, path: pathlib.Path) -> None:
    figure.draw_without_rendering()  # so that the axes have their size
    for axes in figure.axes:
        _name_points(axes)
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
    try:
        figure.savefig(path, metadata=metadata)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror}): give another --plot")
