"""The page's plots as files, SVG and PNG, for a paper or a slide. matplotlib: extra `plots`."""

import pathlib
from typing import Any

import numpy as np

from jaxbpc.errors import InputError
from jaxbpc.report.html.figures import Curve, Figures, Spread

# As on the page: a colour and a mark a run.
_COLOURS = ["#0b66b0", "#c2500a", "#0d7d5c", "#8c4bab", "#856600", "#a8325e", "#3f4a5a", "#4a7d10"]
_MARKS = "os^Dv"
_INK, _SOFT, _RULE = "#1b1c1e", "#595e66", "#dddfe2"


def write(figures: Figures, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes `bpc`, `context` and `documents`, those of which there is something to draw.

    Raises:
      InputError: no matplotlib, or a file that cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError("--plots needs matplotlib: pip install 'jaxbpc[plots]'")
    made = []
    style: dict[Any, Any] = {
        "svg.fonttype": "none",  # words stay words
        "svg.hashsalt": "jaxbpc",  # equal figures are equal files
        "font.size": 9,
        "text.color": _INK,
        "axes.edgecolor": _SOFT,
        "axes.labelcolor": _SOFT,
        "xtick.color": _SOFT,
        "ytick.color": _SOFT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": _RULE,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "text.parse_math": False,  # a model's name may hold dollars
    }
    drawings = {"bpc": _bpc, "context": _context, "documents": _documents}
    with matplotlib.rc_context(style):
        for name, draw in drawings.items():
            figure = draw(figures)
            made += [] if figure is None else _save(figure, folder / name)
    return made


def _bpc(figures: Figures):
    """A row a run, under its corpus, with intervals."""
    groups = sorted(figures.intervals.items(), key=lambda group: group[0] != "average")
    if not groups:
        return None
    n_rows = sum(len(dots) + 1 for _, dots in groups)
    figure, (axes,) = _figure(1, 7.0, 0.7 + 0.26 * n_rows)
    y, ticks, labels = 0.0, [], []
    for name, dots in groups:
        axes.text(
            0, y, name, transform=axes.get_yaxis_transform(), ha="left", va="center", weight="bold"
        )
        for dot in dots:
            y += 1
            if dot.low is not None:
                axes.plot([dot.low, dot.high], [y, y], color=_colour(dot.run), linewidth=1.8)
            axes.plot(dot.value, y, _mark(dot.run), color=_colour(dot.run), markersize=6)
            ticks.append(y)
            labels.append(figures.names[dot.run])
        y += 1.25
    axes.set_yticks(ticks, labels, color=_INK)
    axes.set_ylim(y - 0.3, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel("bits per character, with 95% intervals")
    return figure


def _context(figures: Figures):
    """A panel a corpus; hollow and dashed where the first window alone scores."""
    if not figures.curves:
        return None
    figure, panels = _figure(len(figures.curves), 3.6, 2.9)
    for (name, curves), axes in zip(figures.curves.items(), panels, strict=True):
        for curve in curves:
            _curve(axes, curve, figures.names[curve.run])
        axes.set_title(name)
        axes.set_xlabel("position in the window, tokens")
        axes.set_ylabel("bits per character")
        axes.set_xlim(left=0)
        axes.grid(axis="y")
    _legend(figure, panels[0])
    return figure


def _curve(axes, curve: Curve, name: str) -> None:
    x = (np.array(curve.first) + np.array(curve.last)) / 2
    y, n = np.array(curve.bpc), curve.n_thin
    color, mark = _colour(curve.run), _mark(curve.run)
    axes.plot(x[: n + 1], y[: n + 1], "--", color=color, linewidth=1)
    axes.plot(x[:n], y[:n], mark, color=color, markerfacecolor="white", markersize=5)
    axes.plot(x[n:], y[n:], f"{mark}-", color=color, markersize=5, label=name)


def _documents(figures: Figures):
    """A panel a corpus, a row a run: documents as dots, or where they are many as a density."""
    spreads = {name: [s for s in some if len(s.bpc)] for name, some in figures.spreads.items()}
    spreads = {name: some for name, some in spreads.items() if some}
    if not spreads:
        return None
    n_rows = max(len(some) for some in spreads.values())
    figure, panels = _figure(len(spreads), 4.4, 1.2 + 0.45 * n_rows)
    for (name, some), axes in zip(spreads.items(), panels, strict=True):
        for row, spread in enumerate(some):
            _spread(axes, spread, row)
        axes.set_title(name)
        names = [figures.names[s.run] for s in some]
        axes.set_yticks(range(len(some)), names, color=_INK)
        axes.set_ylim(len(some) - 0.5, -0.5)
        low = min(s.limits()[0] for s in some)
        high = max(s.limits()[1] for s in some)
        room = 0.06 * (high - low) or 0.05
        axes.set_xlim(low - room, high + room)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel("BPC of each document")
    return figure


def _spread(axes, spread: Spread, row: int) -> None:
    color = _colour(spread.run)
    low, middle, high = (spread.quantile(q) for q in (0.25, 0.5, 0.75))
    axes.barh(row, high - low, 0.6, low, color=color, alpha=0.16)
    axes.plot([middle, middle], [row - 0.35, row + 0.35], color=_INK, linewidth=1.5)
    if spread.is_many:
        counts, edges = np.histogram(spread.bpc, 60, spread.limits())
        height = 0.7 * counts / max(counts.max(), 1)
        axes.fill_between(
            (edges[:-1] + edges[1:]) / 2, row + 0.35, row + 0.35 - height, color=color, alpha=0.35
        )
    else:
        offsets = (np.arange(len(spread.bpc)) * 0.618034) % 1 - 0.5
        axes.plot(spread.bpc, row + 0.5 * offsets, "o", color=color, markersize=3, alpha=0.85)


def _figure(n: int, width: float, height: float):
    """(figure, its n axes, three to a row); sizes in inches of each."""
    from matplotlib.figure import Figure

    columns = min(n, 3)
    rows = -(-n // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in axes[n:]:
        spare.remove()
    return figure, axes[:n]


def _legend(figure, axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=3, frameon=False, borderaxespad=0.2
    )


def _colour(run: int) -> str:
    return _COLOURS[run % len(_COLOURS)]


def _mark(run: int) -> str:
    return _MARKS[run % len(_MARKS)]


def _save(figure, path: pathlib.Path) -> list[pathlib.Path]:
    made = []
    for suffix, more in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 160})):
        made.append(path.with_suffix(suffix))
        try:
            figure.savefig(made[-1], **more)
        except OSError as e:
            raise InputError(f"{made[-1]}: cannot be written ({e.strerror}): give another --plots")
    return made
