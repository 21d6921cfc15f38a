"""A comparison as tables of words: for a terminal, or Markdown; any other writer takes the same."""

import dataclasses
import itertools

from jaxbpc.compare import Comparison
from jaxbpc.intervals import LEVEL, Estimate

_WORDS = ("", "model", "less the one above")  # columns of names; the others are numbers


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as they are read; `notes` stand beneath."""

    title: str
    head: list[str]
    rows: list[list[str]]
    notes: list[str]


def tables(found: Comparison) -> list[Table]:
    """The ranking, and for two runs or more how far each is from the one above it."""
    made = [_ranking(found)]
    if len(found.ranking) > 1:
        made.append(_differences(found))
    made[-1].notes.extend(found.notes)
    return made


def _ranking(found: Comparison) -> Table:
    rows = []
    for i, ranked in enumerate(found.ranking, start=1):
        results = ranked.run.results
        cells = []
        for corpus in found.corpora:
            result = results.corpora.get(corpus)
            bpc = None if result is None else result.bpc
            estimate = ranked.corpora.get(corpus)
            kept = None if result is None else result.bpc_interval
            limits = (estimate.low, estimate.high) if estimate else kept
            cells.append(_with_limits(bpc, limits))
        average = ranked.average
        limits = (average.low, average.high) if average else None
        cells.append(_with_limits(results.average_bpc, limits))
        rows.append([str(i), ranked.run.name, *cells])
    head = ["", "model", *found.corpora, "average"]
    notes = [f"In brackets: {LEVEL:.0%} intervals over the choice of documents."]
    return Table("Bits per character", head, rows, notes)


def _with_limits(value: float | None, limits) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" + (f" ({limits[0]:.4f}–{limits[1]:.4f})" if limits else "")


def _differences(found: Comparison) -> Table:
    rows = []
    names = [ranked.run.name for ranked in found.ranking]
    for above, name in itertools.pairwise(names):
        cells = []
        for corpus in [*found.corpora, "average"]:
            difference = found.difference(name, above, corpus)
            cells.append("-" if difference is None else _difference(difference.estimate))
        average = found.difference(name, above, "average")
        e = average.estimate if average else None
        limits = f"{e.low:+.4f} to {e.high:+.4f}" if e else "-"
        rows.append([name, above, *cells, limits, _p(e.p_value) if e else "-"])
    head = ["model", "less the one above", *found.corpora, "average", f"{LEVEL:.0%} interval", "p"]
    notes = [
        f"Differences of the full BPC, paired over documents; *: their {LEVEL:.0%} interval is "
        "without 0. Each p is that of its pair alone."
    ]
    return Table("Differences", head, rows, notes)


def _difference(e: Estimate) -> str:
    return f"{e.value:+.4f}{'*' if e.low > 0 or e.high < 0 else ''}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def text(made: list[Table]) -> str:
    """Tables for a terminal."""
    blocks = []
    for table in made:
        columns = list(zip(table.head, *table.rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        sides = ["<" if name in _WORDS else ">" for name in table.head]

        def line(cells: list[str], widths=widths, sides=sides) -> str:
            padded = [f"{c:{s}{w}}" for c, s, w in zip(cells, sides, widths, strict=True)]
            return "  ".join(padded).rstrip()

        rule = "-" * (sum(widths) + 2 * len(widths) - 2)
        rows = [line(row) for row in table.rows]
        blocks.append("\n".join([table.title, "", line(table.head), rule, *rows, *table.notes]))
    return "\n\n".join(blocks)


def markdown(made: list[Table]) -> str:
    """Tables as GitHub's Markdown."""
    blocks = []
    for table in made:
        rule = ["---" if name in _WORDS else "---:" for name in table.head]
        rows = [table.head, rule, *table.rows]
        lines = ["| " + " | ".join(map(_escape, row)) + " |" for row in rows]
        notes = ["", *(f"{_escape(note)}  " for note in table.notes)] if table.notes else []
        blocks.append("\n".join([f"## {table.title}", "", *lines, *notes]))
    return "\n\n".join(blocks) + "\n"


def _escape(cell: str) -> str:
    return "".join(f"\\{c}" if c in "|*_<`\\" else c for c in cell)
