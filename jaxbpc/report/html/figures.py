"""What the page and the plots draw, as numbers: intervals, context curves, documents' BPC.

The idea: all of it is derived from the runs' records, so that a drawing needs no model and no text.

The complications: tokens of one model are not those of another, so a curve sums nats and characters
of the tokens at some positions and divides once. Positions that only the first window of a corpus
scores (all but the last `stride`) rest on few tokens: they are marked `thin`. A document's
BPC is that of all its tokens, so documents whose start of text falls in a fresh window are harder.
"""

import dataclasses
import math

import numpy as np

from jaxbpc.analysis.bootstrap import Documents
from jaxbpc.analysis.compare import Comparison
from jaxbpc.analysis.runs import Run
from jaxbpc.data.windows import Plan
from jaxbpc.errors import InputError
from jaxbpc.report.html.token_views import visible
from jaxbpc.run.record import Record

_MANY = 120  # documents
_FIRST_BIN = 64  # positions; further bins grow by two, those of the last stride are four equal ones


@dataclasses.dataclass(frozen=True)
class Interval:
    """A run's BPC on a corpus or on average; the limits are None of fewer than two documents."""

    run: int
    value: float
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Curve:
    """BPC by position in the window: [k] from, to (tokens of context, both inside), BPC, tokens."""

    run: int
    first: list[int]
    last: list[int]
    bpc: list[float]
    tokens: list[int]
    n_thin: int  # leading bins that the first window alone scores


@dataclasses.dataclass(frozen=True)
class Spread:
    """BPC of each document of a run, [n], ascending."""

    run: int
    bpc: np.ndarray

    def quantile(self, share: float) -> float:
        """The BPC below which this share of documents lies."""
        return float(np.quantile(self.bpc, share))

    @property
    def is_many(self) -> bool:
        """Whether the documents are too many to be drawn one by one."""
        return len(self.bpc) > _MANY

    def limits(self) -> tuple[float, float]:
        """From where to where it is drawn: all documents, of many the middle 96%."""
        return (
            (self.quantile(0.02), self.quantile(0.98))
            if self.is_many
            else (float(self.bpc[0]), float(self.bpc[-1]))
        )


@dataclasses.dataclass(frozen=True)
class Figures:
    """By corpus, in the comparison's order; `run` counts in that of the ranking.

    names: the runs', with nothing in them that could move what stands around.
    """

    names: list[str]
    intervals: dict[str, list[Interval]]
    curves: dict[str, list[Curve]]
    spreads: dict[str, list[Spread]]


def gather(found: Comparison) -> Figures:
    """Derives the figures; runs whose record cannot be used are left out, as the notes say."""
    intervals: dict[str, list[Interval]] = {}
    curves: dict[str, list[Curve]] = {}
    spreads: dict[str, list[Spread]] = {}
    for name in [*found.corpora, "average"]:
        intervals[name] = list(_intervals(found, name))
    for name in found.corpora:
        for i, ranked in enumerate(found.ranking):
            if name not in ranked.run.results.corpora:
                continue
            try:
                documents = ranked.run.documents(name)
                curve = _curve(i, ranked.run, name)
            except InputError:
                continue
            spreads.setdefault(name, []).append(Spread(i, by_document(documents)))
            if curve:
                curves.setdefault(name, []).append(curve)
    names = [visible(ranked.run.name) for ranked in found.ranking]
    return Figures(names, {k: v for k, v in intervals.items() if v}, curves, spreads)


def _intervals(found: Comparison, name: str):
    for i, ranked in enumerate(found.ranking):
        results = ranked.run.results
        if name == "average":
            value, estimate, kept = results.average_bpc, ranked.average, None
        else:
            result = results.corpora.get(name)
            value = result.bpc if result else None
            estimate, kept = ranked.corpora.get(name), result.bpc_interval if result else None
        if value is not None:
            low, high = (estimate.low, estimate.high) if estimate else kept or (None, None)
            yield Interval(i, value, low, high)


def by_document(documents: Documents) -> np.ndarray:
    """BPC of each document that has characters and nats, ascending, [n] float64."""
    kept = (documents.characters > 0) & (documents.nats > 0)  # else no token of it is scored
    return np.sort(documents.nats[kept] / documents.characters[kept] / math.log(2))


def positions(plan: Plan) -> np.ndarray:
    """[N] int64, how many tokens of its window stand before each token where it is scored; 0: none.

    Token 0 is never scored. Tokens of the tail stand in the last, right-aligned window.
    """
    at = np.arange(plan.n_tokens)
    windows = np.maximum(-(-(at - plan.block_size) // plan.stride), 0)
    begin = windows * plan.stride
    begin[1 + plan.n_scored :] = max(plan.n_tokens - 1 - plan.block_size, 0)
    return at - begin


def edges(block_size: int, stride: int) -> list[int]:
    """Where bins of positions end, from 0 to the block size."""
    settled = block_size - stride
    quarters = {settled + round(stride * j / 4) for j in range(5)}
    doubled, edge = {0}, _FIRST_BIN
    while edge < min(quarters - {0}):
        doubled.add(edge)
        edge *= 2
    return sorted(doubled | quarters)


def _curve(i: int, run: Run, corpus: str) -> Curve | None:
    record = Record.open(run.folder / corpus)
    nll, ends = record.read("nll"), record.read("token_char_end")
    if len(ends) == 0 or (ends < 0).any():
        return None  # a tokenizer without token offsets
    window = run.results.window
    plan = Plan(len(nll), window["block_size"], window["stride"])
    return curve(i, nll, np.diff(ends, prepend=0), plan)


def curve(i: int, nll: np.ndarray, characters: np.ndarray, plan: Plan) -> Curve | None:
    """BPC by position.

    Args:
      nll: [N] float32 nats per token, NaN where it has no score.
      characters: [N] int64 of each token.
    """
    limits = edges(plan.block_size, plan.stride)
    scored = np.isfinite(nll)
    bins = np.searchsorted(limits, positions(plan)[scored]) - 1  # position p: first < p <= last
    nats = np.bincount(bins, nll[scored].astype(np.float64), len(limits) - 1)
    n_characters = np.bincount(bins, characters[scored], len(limits) - 1)
    tokens = np.bincount(bins, minlength=len(limits) - 1)
    kept = np.flatnonzero(n_characters > 0)
    if not len(kept):
        return None
    settled = plan.block_size - plan.stride
    return Curve(
        i,
        [limits[k] + 1 for k in kept],
        [limits[k + 1] for k in kept],
        (nats[kept] / n_characters[kept] / math.log(2)).tolist(),
        tokens[kept].tolist(),
        sum(limits[k + 1] <= settled for k in kept),
    )
