"""A comparison as tables of words: for a terminal, or Markdown; any other writer takes the same."""

import dataclasses
import itertools

from jaxbpc.analysis import training_curve
from jaxbpc.analysis.bootstrap import LEVEL, Estimate
from jaxbpc.analysis.compare import Comparison
from jaxbpc.analysis.contamination import K_PERCENT, Step
from jaxbpc.analysis.training_curve import Curve

WORDS = (
    "",
    "model",
    "less the one above",
    "corpus",
    "date",
)  # columns of names; the others are numbers


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
    if compressors := _compressors(found):
        made.append(compressors)
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


def _compressors(found: Comparison) -> Table | None:
    """Bits per character of compressors; None where no run has them."""
    made: dict[str, dict[str, float]] = {}
    unlike = found.unlike
    left_out = []
    for ranked in found.ranking:
        for corpus, result in ranked.run.results.corpora.items():
            for name, bits in (result.baselines or {}).items():
                own = made.setdefault(name, {})
                if corpus not in unlike:
                    own.setdefault(corpus, bits)
                elif corpus not in left_out:
                    left_out.append(corpus)
    rows = [
        [name, *(f"{bits[c]:.4f}" if c in bits else "-" for c in found.corpora)]
        for name, bits in made.items()
    ]
    notes = [f"{corpus} is left out: its runs scored different texts" for corpus in left_out]
    return Table("Compressors", ["", *found.corpora], rows, notes) if rows else None


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


def around_cutoff(found: list[Step], notes: list[str]) -> list[Table]:
    """Runs before and after a cutoff, and each of them by month."""
    rows = []
    for step in found:
        d, excess = step.difference, step.excess
        sides = [f"{p.bpc:.4f} ({p.documents:,})" for p in (step.before, step.after)]
        limits = f"{d.low:+.4f} to {d.high:+.4f}"
        row = [step.run.name, step.corpus, *sides, _difference(d), limits, _p(d.p_value)]
        row.append(f"{step.change.value:+.2f}%")
        row.append(_points(excess) if excess else "-")
        rows.append(row)
    control = next((step.control for step in found if step.control), None)
    first = found[0]
    head = ["model", "corpus", first.before.name, first.after.name, "difference"]
    head += [f"{LEVEL:.0%} interval", "p", "change", "less the control's, points"]
    made = [Table("Full BPC around the cutoff (documents)", head, rows, [])]
    for step in found:
        cells = [
            [p.name, f"{p.documents:,}", f"{p.characters:,}", f"{p.bpc:.4f}", _log_prob(p.min_k)]
            for p in step.periods
        ]
        head = ["date", "documents", "characters", "full BPC", f"Min-{K_PERCENT}%"]
        made.append(Table(f"{step.run.name} on {step.corpus}, by date", head, cells, []))
    made[0].notes.append(
        "A step up is what a model gives that has learned the earlier text, and also what a change "
        "of the text itself gives, so it is no proof; nor is its absence one."
    )
    made[0].notes.append(
        f"Control: {control}, whose cutoff must be before or after all of the text; points: "
        "percentage points; *: the interval of what is left of the change is without 0."
        if control
        else "Give as --control a run whose model's cutoff is before or after all of the text: its "
        "change is that of the text."
    )
    made[-1].notes.append(
        f"Min-{K_PERCENT}%: mean log-probability, in nats, of a document's least likely tokens, "
        f"{K_PERCENT}% of them; nearer to 0 where text was learned, but its level is the text's "
        "and the tokenizer's too."
    )
    made[0].notes.extend(notes)
    return made


def _points(e: Estimate) -> str:
    star = "*" if e.low > 0 or e.high < 0 else ""
    return f"{e.value:+.2f}{star} ({e.low:+.2f} to {e.high:+.2f})"


def _log_prob(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def text(made: list[Table]) -> str:
    """Tables for a terminal."""
    blocks = []
    for table in made:
        columns = list(zip(table.head, *table.rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        sides = ["<" if name in WORDS else ">" for name in table.head]

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
        rule = ["---" if name in WORDS else "---:" for name in table.head]
        rows = [table.head, rule, *table.rows]
        lines = ["| " + " | ".join(map(_escape, row)) + " |" for row in rows]
        notes = ["", *(f"{_escape(note)}  " for note in table.notes)] if table.notes else []
        blocks.append("\n".join([f"## {table.title}", "", *lines, *notes]))
    return "\n\n".join(blocks) + "\n"


def _escape(cell: str) -> str:
    return "".join(f"\\{c}" if c in "|*_<`\\" else c for c in cell)


def over_training(curve: Curve) -> Table:
    """A row a checkpoint: step, tokens, BPC of each corpus with its interval, and the average.

    The average is over the same texts for all of them, see `training_curve.averages`.
    """
    corpora, means, rows = training_curve.corpora_of(curve.runs), training_curve.averages(curve), []
    for run in curve.runs:
        step, tokens = training_curve.trained(run, "step"), training_curve.trained(run, "tokens")
        row = [run.name, "-" if step is None else str(step)]
        row.append("-" if tokens is None else f"{tokens:.4g}")
        for corpus in corpora:
            result = run.results.corpora.get(corpus)
            bpc = None if result is None else result.bpc
            limits = None if result is None else result.bpc_interval
            cell = "-" if bpc is None else f"{bpc:.4f}"
            row.append(cell + (f" ({limits[0]:.4f}–{limits[1]:.4f})" if limits else ""))
        average = means[run.folder]
        rows.append([*row, "-" if average is None else f"{average:.4f}"])
    notes = [f"In brackets: {LEVEL:.0%} intervals over the choice of documents.", *curve.notes]
    head = ["model", "step", "tokens", *corpora, "average"]
    return Table(f"Bits per character over training: {curve.name}", head, rows, notes)
