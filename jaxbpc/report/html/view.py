"""A comparison → what the page's template shows: words and drawings, nothing left to compute."""

import dataclasses
from typing import Any

from markupsafe import Markup

from jaxbpc.analysis.bootstrap import LEVEL, Estimate
from jaxbpc.analysis.compare import Comparison, Difference, Ranked
from jaxbpc.report import tables
from jaxbpc.report.html import facts, svg, training_chart
from jaxbpc.report.html.figures import Curve, Figures, Interval, Spread
from jaxbpc.report.html.token_views import Text, visible
from jaxbpc.report.html.training_chart import Course, Point
from jaxbpc.report.tables import WORDS, Table

_MOST_PAIRS = 45  # of ten runs
# From where each step of colour goes, in nats per character; the script has them from the page.
LEVELS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
DIFFERENCES = (0.05, 0.2, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A number with its limits beneath; empty words where there is none."""

    value: str
    limits: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table of words; head: (column, whether of numbers); a run's name: its place in the keys."""

    title: str
    head: list[tuple[str, bool]]
    rows: list[list[Cell | int]]
    notes: list[str]


def view(
    found: Comparison,
    figures: Figures,
    texts: list[Text],
    notes: list[str],
    trained: Course | None = None,
    around: list[Table] | None = None,
) -> dict:
    """The template's variables."""
    names = figures.names
    series = [curve.name for curve in trained.curves] if trained else []
    is_alone = trained is not None and all(
        ranked.run.folder in {run.folder for curve in trained.curves for run in curve.runs}
        for ranked in found.ranking
    )
    return {
        "names": names,
        "shown": [*names, *series],
        "keys": [svg.key(i) for i in range(len(names) + len(series))],
        "headline": training_chart.headline(trained) if trained and is_alone else headline(found),
        "level": f"{LEVEL:.0%}",
        "corpora": found.corpora,
        "trained": _trained(trained, len(names)) if trained else None,
        "cutoff": [sheet(table, names, found.corpora) for table in around or []],
        "ranking": [_ranked(i, ranked, found) for i, ranked in enumerate(found.ranking)],
        "has_weighted": facts.has_weighted(found),
        "pairs": _pairs(found),
        "n_pairs": len(names) * (len(names) - 1) // 2,
        "notes": [*found.notes, *notes],
        **_intervals(figures, found),
        "subsets": facts.subsets(found),
        "baselines": facts.baselines(found),
        "curves": _curves(figures),
        "settled": _settled(found),
        "spreads": _spreads(figures),
        "texts": texts,
        "levels": LEVELS,
        "differences": DIFFERENCES,
        "speed": facts.speed(found),
        "ledger": facts.ledger(found),
        "audit": facts.audit(found),
        "min_k": facts.min_k(found),
        "corpus_notes": facts.notes(found),
    }


def _trained(trained: Course, n_runs: int) -> dict[str, Any]:
    """Series have the keys after the runs'."""
    keys = [n_runs + i for i in range(len(trained.curves))]
    corpora = [name for each in trained.curves for r in each.runs for name in r.results.corpora]
    charts = []
    for name, lines in trained.lines.items():
        said, words = [], []
        for line in lines:
            series = visible(trained.curves[line.series].name)
            words.append(
                [
                    visible(
                        f"{p.name}, {training_chart.where(trained, p)}: {p.value:.4f} {_within(p)}"
                    )
                    for p in line.points
                ]
            )
            first, last = line.points[0], line.points[-1]
            said.append(
                f"{series} from {first.value:.4f} at {training_chart.where(trained, first)} to "
                f"{last.value:.4f} at {training_chart.where(trained, last)}"
            )
        label = visible(f"{name}: bits per character over training: {'; '.join(said)}")
        charts.append((name, svg.course(lines, keys, words, label)))
    return {
        "keys": keys,
        "charts": charts,
        "unit": {"step": "training steps", "tokens": "tokens of training"}[trained.unit],
        "sheets": [
            (key, dataclasses.replace(sheet(tables.over_training(each), [], corpora), notes=notes))
            for i, (key, each) in enumerate(zip(keys, trained.curves, strict=True))
            for notes in [training_chart.notes(trained, i)]
        ],
    }


def _within(point: Point) -> str:
    return f"({point.low:.4f}–{point.high:.4f})" if point.low is not None else ""


def sheet(table: Table, names: list[str], corpora: list[str]) -> Sheet:
    """A table as it is printed, what stands in brackets beneath what it is of.

    Args:
      names: of the runs that have a key.
      corpora: names that stay as they are at the head of a column.
    """
    head = [
        (
            name if name in corpora or len(name) == 1 else name[0].upper() + name[1:],
            name not in WORDS,
        )
        for name in table.head
    ]
    rows: list[list[Cell | int]] = []
    for row in table.rows:
        cells: list[Cell | int] = []
        for name, cell in zip(table.head, row, strict=True):
            if name in WORDS:
                known = name == "model" and visible(cell) in names
                cells.append(names.index(visible(cell)) if known else Cell(cell))
                continue
            value, _, limits = cell.removesuffix(")").partition(" (")
            note = "significant" if value.endswith("*") else ""
            value = "–" if value == "-" else value.removesuffix("*").replace("-", "−")
            cells.append(Cell(value, limits.replace("-", "−"), note))
        rows.append(cells)
    return Sheet(table.title, head, rows, table.notes)


def headline(found: Comparison) -> str:
    """What the page says in a sentence or two."""
    if not found.ranking:
        return "Nothing is scored yet."
    best = found.ranking[0]
    average = best.run.results.average_bpc
    if average is None or not found.is_level:
        n, m = len(found.ranking), len(found.corpora)
        return f"{n} run{'s' * (n != 1)} over {m} {'corpus' if m == 1 else 'corpora'}."
    corpora = best.run.results.corpora
    over = (
        f"on average over {len(corpora)} corpora"
        if len(corpora) > 1
        else f"on {next(iter(corpora))}"
    )
    said = f"{best.run.name} needs {average:.4f} bits per character {over}"
    if len(found.ranking) < 2:
        return said + "."
    second = found.ranking[1].run.name
    difference = found.difference(second, best.run.name, "average")
    if difference is None:
        return f"{said}, the least of {len(found.ranking)} runs."
    e = difference.estimate
    if _sure(e):
        word = "less" if e.value > 0 else "more"
        return (
            f"{said}. Document by document, every token counted, that is {abs(e.value):.4f} {word} "
            f"than {second} ({LEVEL:.0%} interval {_limits(_turned(e))}): significant."
        )
    return (
        f"{said}. Its difference to {second} is not significant: {abs(e.value):.4f} document "
        f"by document, {LEVEL:.0%} interval {_limits(e, '+.4f')}."
    )


def _turned(e: Estimate) -> Estimate:
    """The same without its sign, where its interval is on one side of 0."""
    ends = sorted((abs(e.low), abs(e.high)))
    return dataclasses.replace(e, value=abs(e.value), low=ends[0], high=ends[1])


def _sure(e: Estimate) -> bool:
    return e.low > 0 or e.high < 0


def _limits(e: Any, form: str = ".4f") -> str:
    if e is None or e.low is None:
        return ""
    join = " to " if "+" in form else "–"
    return f"{facts.number(e.low, form)}{join}{facts.number(e.high, form)}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _ranked(i: int, ranked: Ranked, found: Comparison) -> dict[str, Any]:
    results = ranked.run.results
    best = found.ranking[0].run.name
    difference = found.difference(ranked.run.name, best, "average") if i else None
    cells = []
    for name in found.corpora:
        result = results.corpora.get(name)
        kept = result.bpc_interval if result else None
        limits = _limits(ranked.corpora.get(name)) or (
            "{:.4f}–{:.4f}".format(*kept) if kept else ""
        )
        cells.append(Cell(facts.number(result.bpc if result else None), limits))
    is_best = not i and results.average_bpc is not None and found.is_level
    behind = Cell("best" if is_best else "–")
    if difference:
        behind = _difference(difference)
    return {
        "run": i,
        "average": Cell(facts.number(results.average_bpc), _limits(ranked.average)),
        "weighted": facts.number(results.weighted_bpc),
        "behind": behind,
        "p": _p(difference.estimate.p_value) if difference else "",
        "cells": cells,
    }


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return Cell("–")
    e = found.estimate
    note = "significant" if _sure(e) else "not significant"
    return Cell(facts.number(e.value, "+.4f"), _limits(e, "+.4f"), note)


def _pairs(found: Comparison) -> list[dict[str, Any]]:
    """Every pair of runs, the worse less the better, by corpus and on average."""
    names = [ranked.run.name for ranked in found.ranking]
    rows = []
    for better in range(len(names)):
        for worse in range(better + 1, len(names)):
            differences = [
                found.difference(names[worse], names[better], name)
                for name in [*found.corpora, "average"]
            ]
            if any(differences):
                average = differences[-1]
                rows.append(
                    {
                        "worse": worse,
                        "better": better,
                        "cells": [_difference(d) for d in differences],
                        "p": _p(average.estimate.p_value) if average else "–",
                    }
                )
    return rows[:_MOST_PAIRS]


def _intervals(figures: Figures, found: Comparison) -> dict[str, Any]:
    every = [x for dots in figures.intervals.values() for x in dots]
    if not every:
        return {"dots": [], "dots_axis": ""}
    ends = [v for x in every for v in (x.value, x.low, x.high) if v is not None]
    scale = svg.Scale(ends)
    groups = []
    for name, dots in figures.intervals.items():
        groups.append((name, [_dot(scale, x, found.ranking[x.run], name) for x in dots]))
    groups.sort(key=lambda group: group[0] != "average")
    return {"dots": groups, "dots_axis": svg.axis(scale)}


def _dot(scale: svg.Scale, x: Interval, ranked: Ranked, name: str) -> tuple:
    """(run, its lane, BPC, limits, full BPC, bits per byte); an average has no last two."""
    result = ranked.run.results.corpora.get(name)
    full = [
        facts.number(v) if v else "" for v in (result and result.bpc_full, result and result.bpb)
    ]
    return x.run, svg.interval_track(scale, x), facts.number(x.value), _limits(x), *full


def _curves(figures: Figures) -> list[dict[str, Any]]:
    made = []
    for name, curves in figures.curves.items():
        said = "; ".join(
            f"{figures.names[c.run]} from {c.bpc[0]:.2f} to {c.bpc[-1]:.2f}" for c in curves
        )
        label = f"{name}: bits per character by position in the window: {said}"
        made.append(
            {
                "name": name,
                "chart": svg.chart(curves, figures.names, visible(label)),
                "rows": [row for c in curves for row in _curve_rows(c)],
            }
        )
    return made


def _curve_rows(c: Curve) -> list[tuple[int, str, str, str]]:
    return [
        (c.run, f"{first:,}–{last:,}", f"{bpc:.4f}", f"{tokens:,}")
        for first, last, bpc, tokens in zip(c.first, c.last, c.bpc, c.tokens, strict=True)
    ]


def _settled(found: Comparison) -> str:
    """The position up to which the first window alone scores; of several windows, none."""
    windows = {tuple(sorted(r.run.results.window.items())) for r in found.ranking}
    if len(windows) != 1:  # nor of no run
        return ""
    window = found.ranking[0].run.results.window
    return f"{window['block_size'] - window['stride']:,}"


def _spreads(figures: Figures) -> list[dict[str, Any]]:
    made = []
    for name, spreads in figures.spreads.items():
        some = [s for s in spreads if len(s.bpc)]
        if not some:
            continue
        scale = svg.spread_scale(some)
        made.append(
            {"name": name, "axis": svg.axis(scale), "rows": [_spread(scale, s) for s in some]}
        )
    return made


def _spread(scale: svg.Scale, s: Spread) -> tuple[int, Markup, str, str, str]:
    low, middle, high = (s.quantile(q) for q in (0.25, 0.5, 0.75))
    return (
        s.run,
        svg.spread_track(scale, s),
        f"{middle:.3f}",
        f"{low:.3f}–{high:.3f}",
        f"{len(s.bpc):,}",
    )
