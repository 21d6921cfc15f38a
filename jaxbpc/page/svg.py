"""Figures → inline SVG that fills the width it is given, with type of the page's own size.

Places along an axis are percents, sizes are pixels, colours are classes: so one drawing serves a
phone, a desk, paper, light and dark. All words go through `markupsafe`.
"""

import math
from collections.abc import Iterable

import numpy as np
from markupsafe import Markup

from jaxbpc.page.figures import Curve, Interval, Spread

N_COLOURS = 8
_ROW = 26  # pixels, a row's height
_TALL = 36  # of documents
_CHART = 230
# A run's mark, around 0, 0; with the colours, 40 runs are told apart, and without them 5.
_SHAPES = (
    "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0Z",
    "M-4.5-4.5H4.5V4.5H-4.5Z",
    "M0-5.8L5.4 4.2H-5.4Z",
    "M0-6L6 0L0 6L-6 0Z",
    "M0 5.8L5.4-4.2H-5.4Z",
)


class Scale:
    """A linear axis from `low` to `high` with round ticks inside."""

    def __init__(self, values: Iterable[float], pad: float = 0.06, n_ticks: int = 4):
        found = list(values)
        low, high = min(found), max(found)
        room = (high - low) * pad or abs(low) * 0.05 or 0.5
        self.low, self.high = low - room, high + room
        step = (self.high - self.low) / n_ticks
        size = 10.0 ** math.floor(math.log10(step))
        step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= step)
        self._digits = max(0, -math.floor(math.log10(step)) + (step / size == 2.5))
        first = math.ceil(self.low / step)
        self.ticks = [k * step for k in range(first, math.floor(self.high / step) + 1)]

    def at(self, value: float) -> float:
        """Percent of the way along, kept inside."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def word(self, tick: float) -> str:
        """A tick's label."""
        return f"{tick:.{self._digits}f}"


def mark(run: int, x: float = 50, y: float = 50, title: str = "", hollow: bool = False) -> Markup:
    """A run's mark at x, y percent."""
    shape = Markup('<svg class="mark" x="{}%" y="{}%"><path class="{}c{}" d="{}">{}</path></svg>')
    told = Markup("<title>{}</title>").format(title) if title else ""
    kind = "hollow " if hollow else ""
    return shape.format(x, y, kind, run % N_COLOURS, _SHAPES[run % len(_SHAPES)], told)


def key(run: int) -> Markup:
    """A run's mark as it stands before its name."""
    return Markup('<svg class="key" width="14" height="14" aria-hidden="true">{}</svg>').format(
        mark(run)
    )


def axis(scale: Scale) -> Markup:
    """The ticks' labels, above rows of tracks."""
    words = [
        Markup('<text x="{}%" y="14" text-anchor="middle">{}</text>').format(
            scale.at(tick), scale.word(tick)
        )
        for tick in scale.ticks
    ]
    return _svg("axis", 18, words)


def interval_track(scale: Scale, found: Interval) -> Markup:
    """A row of the dot plot: the interval as a line, the value as a mark."""
    parts = _grid(scale)
    if found.low is not None and found.high is not None:
        parts.append(
            Markup('<line class="c{}" x1="{}%" x2="{}%" y1="50%" y2="50%"/>').format(
                found.run % N_COLOURS, scale.at(found.low), scale.at(found.high)
            )
        )
    parts.append(mark(found.run, scale.at(found.value)))
    return _svg("lane", _ROW, parts)


def spread_scale(spreads: list[Spread]) -> Scale:
    """One scale for all runs on a corpus."""
    return Scale([end for s in spreads for end in s.limits()])


def spread_track(scale: Scale, found: Spread) -> Markup:
    """A row of documents: each as a dot, or many as a density; the middle half as a bar."""
    c = found.run % N_COLOURS
    parts = _grid(scale)
    parts.append(
        Markup('<rect class="half c{}" x="{}%" width="{}%" y="4" height="{}"/>').format(
            c,
            scale.at(found.quantile(0.25)),
            round(scale.at(found.quantile(0.75)) - scale.at(found.quantile(0.25)), 2),
            _TALL - 8,
        )
    )
    if found.is_many:
        parts.append(_density(scale, found))
    else:
        parts += [
            Markup('<circle class="c{}" cx="{}%" cy="{}" r="3.2"/>').format(
                c, scale.at(value), round(8 + (_TALL - 16) * ((i * 0.618034) % 1), 1)
            )
            for i, value in enumerate(found.bpc)
        ]
    parts.append(
        Markup('<line class="median" x1="{0}%" x2="{0}%" y1="2" y2="{1}"/>').format(
            scale.at(found.quantile(0.5)), _TALL - 2
        )
    )
    return _svg("lane", _TALL, parts)


def _density(scale: Scale, found: Spread) -> Markup:
    """A histogram, smoothed by three neighbours, of 80 bins along the axis."""
    counts, _ = np.histogram(found.bpc, 80, (scale.low, scale.high))
    smooth = np.convolve(counts, [0.25, 0.5, 0.25], "same")
    heights = 100 - 92 * smooth / max(smooth.max(), 1)
    line = " ".join(f"{1.25 * (i + 0.5):.2f} {h:.1f}" for i, h in enumerate(heights))
    return Markup(
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%">'
        '<path class="density c{}" d="M0.6 100L{}L99.4 100Z"/></svg>'
    ).format(found.run % N_COLOURS, line)


def chart(curves: list[Curve], names: list[str], label: str) -> Markup:
    """BPC over position: a line a run; dashed and hollow where the first window alone scores."""
    ys = Scale([y for c in curves for y in c.bpc])
    most = max(c.last[-1] for c in curves)
    xs = Scale([0, most], pad=0, n_ticks=4)
    xs.high = most
    parts = [
        Markup(
            '<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>'
            '<text x="-8" y="{0}%" dy="4" text-anchor="end">{1}</text>'
        ).format(100 - ys.at(tick), ys.word(tick))
        for tick in ys.ticks
    ]
    parts += [
        Markup('<text x="{}%" y="{}" text-anchor="middle">{}</text>').format(
            xs.at(tick), _CHART + 18, f"{tick:,.0f}"
        )
        for tick in xs.ticks
    ]
    for c in curves:
        parts.append(_line(c, xs, ys))
        for i, y in enumerate(c.bpc):
            title = (
                f"{names[c.run]}, positions {c.first[i]:,} to {c.last[i]:,}: {y:.4f} "
                f"({c.tokens[i]:,} tokens)"
            )
            parts.append(
                mark(c.run, xs.at(_middle(c, i)), 100 - ys.at(y), title, hollow=i < c.n_thin)
            )
    return Markup(
        '<svg class="chart" role="img" aria-label="{}" width="100%" height="{}">{}</svg>'
    ).format(label, _CHART, Markup("").join(parts))


def _middle(c: Curve, i: int) -> float:
    return (c.first[i] + c.last[i]) / 2


def _line(c: Curve, xs: Scale, ys: Scale) -> Markup:
    points = [f"{xs.at(_middle(c, i))} {100 - ys.at(y):.2f}" for i, y in enumerate(c.bpc)]
    # The dashed part reaches the first bin that all windows score.
    parts = [("thin ", points[: c.n_thin + 1]), ("", points[c.n_thin :])]
    paths = [
        Markup('<path class="{}c{}" d="M{}"/>').format(kind, c.run % N_COLOURS, "L".join(some))
        for kind, some in parts
        if len(some) > 1
    ]
    return Markup(
        '<svg class="lines" viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" '
        'height="100%">{}</svg>'
    ).format(Markup("").join(paths))


def _grid(scale: Scale) -> list[Markup]:
    return [
        Markup('<line class="grid" x1="{0}%" x2="{0}%" y1="0" y2="100%"/>').format(scale.at(tick))
        for tick in scale.ticks
    ]


def _svg(kind: str, height: int, parts: list[Markup]) -> Markup:
    return Markup('<svg class="{}" width="100%" height="{}" aria-hidden="true">{}</svg>').format(
        kind, height, Markup("").join(parts)
    )
