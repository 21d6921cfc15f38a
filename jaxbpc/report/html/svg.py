"""Figures → inline SVG that fills the width it is given, with type of the page's own size.

Places along an axis are percents, sizes are pixels, colours are classes: so one drawing serves a
phone, a desk, paper, light and dark. All words go through `markupsafe`.
"""

import math
from collections.abc import Iterable

import numpy as np
from markupsafe import Markup

from jaxbpc.report.html.figures import Curve, Interval, Spread
from jaxbpc.report.html.training_chart import Line

N_COLOURS = 8
_ROW = 26  # pixels, a row's height
_TALL = 36  # of documents
_CHART = 230
_APART = 2.5  # percent of a chart's width between marks
# A run's mark, around 0, 0: 5 shapes; with the colours, 40 runs look different.
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
    shown = Markup("<title>{}</title>").format(title) if title else ""
    kind = "hollow " if hollow else ""
    return shape.format(x, y, kind, run % N_COLOURS, _SHAPES[run % len(_SHAPES)], shown)


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
    parts = [*_y_ticks(ys), *_x_ticks((xs.at(tick), f"{tick:,.0f}") for tick in xs.ticks)]
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
    return _chart(label, parts)


def _chart(label: str, parts: list[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" role="img" aria-label="{}" width="100%" height="{}">{}</svg>'
    ).format(label, _CHART, Markup("").join(parts))


def _y_ticks(ys: Scale) -> list[Markup]:
    return [
        Markup(
            '<line class="grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>'
            '<text x="-8" y="{0}%" dy="4" text-anchor="end">{1}</text>'
        ).format(100 - ys.at(tick), ys.word(tick))
        for tick in ys.ticks
    ]


def _x_ticks(ticks: Iterable[tuple[float, str]]) -> list[Markup]:
    """ticks: (percent, label)."""
    return [
        Markup('<text x="{}%" y="{}" text-anchor="middle">{}</text>').format(x, _CHART + 18, word)
        for x, word in ticks
    ]


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
    return _stretched(paths)


def _stretched(paths: list[Markup]) -> Markup:
    """Paths whose places are percents."""
    return Markup(
        '<svg class="lines" viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" '
        'height="100%">{}</svg>'
    ).format(Markup("").join(paths))


class Steps:
    """An axis of steps or tokens; logarithmic where they span two decades, with 0 at its start."""

    def __init__(self, values: Iterable[float]):
        found = set(values)
        positive = sorted(found - {0}) or [1]
        self.low, self.high = positive[0], positive[-1]
        self.is_log = self.high >= 100 * self.low
        self._linear = Scale(found, pad=0.03)
        self._begin = 10 if 0 in found else 2  # percent, of `low`

    def at(self, value: float) -> float:
        """Percent of the way along."""
        if not self.is_log:
            return self._linear.at(value)
        if value == 0:
            return 2.0
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return round(self._begin + (98 - self._begin) * share, 2)

    def ticks(self) -> list[tuple[float, str]]:
        """(percent, label), five or so."""
        if not self.is_log:
            kept = [tick for tick in self._linear.ticks if tick >= 0]
            return [(self.at(tick), short(tick)) for tick in kept]
        first = math.ceil(round(math.log10(self.low), 9))
        powers = range(first, math.floor(round(math.log10(self.high), 9)) + 1)
        ticks = [(self.at(10.0**k), short(10**k)) for k in powers[:: -(-len(powers) // 6)]]
        return [(self.at(0), "0"), *ticks] if self._begin == 10 else ticks


def short(number: float) -> str:
    """A large number as a label: 143000 is 143k."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.6g}{unit}"
    return f"{number:.6g}"


def course(lines: list[Line], keys: list[int], words: list[list[str]], label: str) -> Markup:
    """BPC over steps or tokens: a line a series in its band of intervals.

    Args:
      keys: of each series, in whose colour and mark it is drawn.
      words: of each line's points.
    """
    points = [p for line in lines for p in line.points]
    xs = Steps(p.x for p in points)
    ys = Scale([v for p in points for v in (p.value, p.low, p.high) if v is not None])
    parts = [*_y_ticks(ys), *_x_ticks(xs.ticks())]
    for line in lines:
        places = [(xs.at(p.x), p) for p in line.points]
        kept = [(x, p.low, p.high) for x, p in places if p.low is not None and p.high is not None]
        c = keys[line.series] % N_COLOURS
        paths = []
        if kept:  # of one checkpoint the band is a line
            around = [f"{x} {100 - ys.at(high):.2f}" for x, _, high in kept]
            around += [f"{x} {100 - ys.at(low):.2f}" for x, low, _ in reversed(kept)]
            band = Markup('<path class="{}c{}" d="M{}Z"/>')
            paths.append(band.format("band " if len(kept) > 1 else "", c, "L".join(around)))
        through = "L".join(f"{x} {100 - ys.at(p.value):.2f}" for x, p in places)
        paths.append(Markup('<path class="c{}" d="M{}"/>').format(c, through))
        parts.append(_stretched(paths))
    for line, titles in zip(lines, words, strict=True):
        end = math.inf
        # From the last one back, those that do not stand upon each other.
        for p, title in reversed(list(zip(line.points, titles, strict=True))):
            if end - (x := xs.at(p.x)) >= _APART:
                parts.append(mark(keys[line.series], x, 100 - ys.at(p.value), title))
                end = x
    return _chart(label, parts)


def _grid(scale: Scale) -> list[Markup]:
    return [
        Markup('<line class="grid" x1="{0}%" x2="{0}%" y1="0" y2="100%"/>').format(scale.at(tick))
        for tick in scale.ticks
    ]


def _svg(kind: str, height: int, parts: list[Markup]) -> Markup:
    return Markup('<svg class="{}" width="100%" height="{}" aria-hidden="true">{}</svg>').format(
        kind, height, Markup("").join(parts)
    )
