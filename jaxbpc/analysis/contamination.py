"""Hints, from a run's record alone, that a model knows its corpus from training.

The idea: text that was learned has few surprises left, so its least likely tokens are less unlikely
(Min-K%); and text from before a model's cutoff is easier for it than later text, by more than the
difference between the texts themselves.

The complications: neither is a proof, nor is its absence one. The level of Min-K% depends on the
text and the tokenizer: it is meaningful beside another model of the same tokenizer, or of the
same kind of text that the model cannot have seen. A step at the cutoff is also what a change of the
text over time makes: other authors, topics, a crawl's sources. The control is a model over the same
documents that has seen all of them or none, by its cutoff: what changed in the text changed for it
too, so its change, in percent of the BPC, is taken off. What was seen often in training may stand
after the cutoff in copies, and dates are what the corpus says; of a month or year alone, its first
day. Intervals are over the choice of documents: where many are of one source, such as a repository,
they are too narrow.

Min-K% of a document is the mean log-probability, in nats, of the k% of its tokens that have the
lowest; tokens that stand for no text (BOS) are left out, and so are documents of fewer than 100 / k
scored tokens. Tokens see what their windows hold before them, documents before their own included.
Source: Shi et al., Detecting Pretraining Data from Large Language Models, arXiv 2310.16789.
"""

import dataclasses
import datetime
import hashlib
import math

import numpy as np

from jaxbpc.analysis import bootstrap, runs
from jaxbpc.analysis.bootstrap import Documents, Estimate
from jaxbpc.errors import InputError
from jaxbpc.run.record import Record
from jaxbpc.run.results import CorpusResult

K_PERCENT = 20
_MAX_MONTHS = 36  # of more, years are shown


def min_k(nll: np.ndarray, documents: np.ndarray, n_bos: int) -> np.ndarray:
    """Min-K% of each document.

    Args:
      nll: [n_tokens] float32 nats per token; NaN: not scored.
      documents: [n, 6] int64 in the columns of `windows.DOCUMENT_COLUMNS`, in the stream's order.
      n_bos: tokens at the start of each document that stand for no text.

    Returns:
      [n] float64 nats, 0 or less; NaN of a document with too few scored tokens.
    """
    first = documents[:, 0]
    end = np.append(first[1:], len(nll))
    found = np.full(len(first), np.nan)
    for i, (start, stop) in enumerate(zip(first + n_bos, end, strict=True)):
        tokens = nll[start:stop]
        tokens = tokens[~np.isnan(tokens)]
        n = len(tokens) * K_PERCENT // 100
        if n:
            lowest = np.partition(tokens, len(tokens) - n)[len(tokens) - n :]
            found[i] = -lowest.mean(dtype=np.float64)
    return found


def n_bos(token_char_end: np.ndarray, documents: np.ndarray) -> int:
    """How many tokens before each document stand for no text; 0 where that is not known.

    token_char_end: [n_tokens] int64, characters of the corpus up to a token's end; -1: unknown.
    """
    start = np.cumsum(documents[:, 1]) - documents[:, 1]
    lengths = np.diff(documents[:, 0], append=len(token_char_end))
    before = 0
    while len(there := np.flatnonzero(lengths > before)):
        if not np.array_equal(token_char_end[documents[there, 0] + before], start[there]):
            break
        before += 1
    return before


def added(result: CorpusResult, record: Record) -> CorpusResult:
    """The result with `min_k`: the mean of Min-K% over its documents, and how many they are."""
    documents = record.read("documents")
    values = min_k(record.read("nll"), documents, n_bos(record.read("token_char_end"), documents))
    known = values[~np.isnan(values)]
    if not len(known):
        return result
    summary = {"k_percent": K_PERCENT, "mean_log_prob": math.fsum(known) / len(known)}
    return dataclasses.replace(result, min_k=summary | {"documents": len(known)})


@dataclasses.dataclass(frozen=True)
class Period:
    """Documents of a span of time: full BPC; the mean of Min-K% where any has it."""

    name: str
    documents: int
    characters: int
    bpc: float
    min_k: float | None


@dataclasses.dataclass(frozen=True)
class Step:
    """A run on a corpus before and after a cutoff.

    difference: full BPC after, less that before. change: the same in percent of that before.
    excess: that change less the control's, in percentage points; None without a control.
    """

    run: runs.Run
    corpus: str
    before: Period
    after: Period
    difference: Estimate
    change: Estimate
    control: str | None
    excess: Estimate | None
    periods: list[Period]


@dataclasses.dataclass(frozen=True)
class _Dated:
    """A run's dated documents on a corpus. dates: proleptic ordinals."""

    run: runs.Run
    corpus: str
    documents: Documents
    dates: np.ndarray
    min_k: np.ndarray


def steps(
    found: list[runs.Run], cutoff: datetime.date, control: str | None = None, seed: int = 0
) -> tuple[list[Step], list[str]]:
    """Every run and corpus before (the day itself included) and after a cutoff, and notes.

    Args:
      found: the runs.
      cutoff: the last day of the text that the models may have seen.
      control: name or folder of the one whose cutoff is before or after all of the corpora.
      seed: of the draws.

    Raises:
      InputError: the control is not among the runs, or no corpus has dates on both sides.
    """
    known = [run for run in found if control and run.is_called(control)]
    if control and not known:
        names = ", ".join(run.name for run in found)
        raise InputError(f"unknown --control {control!r}; choose one of {names}")
    notes: list[str] = []
    dated = [d for run in found for name in run.results.corpora if (d := _dated(run, name, notes))]
    made = []
    for one in dated:
        other = next((d for d in dated if known and d.run is known[0] and _same(one, d)), None)
        if known and other is None:
            notes.append(f"{one.run.name} on {one.corpus}: the control has not the same documents")
        if step := _step(one, None if other is one else other, cutoff, seed):
            made.append(step)
        else:
            notes.append(
                f"{one.run.name} on {one.corpus}: fewer than 2 documents on a side of {cutoff}"
            )
    if not made:
        raise InputError(
            f"--cutoff {cutoff}: no corpus has dated documents on both sides of it ("
            f"{'; '.join(notes) or 'no corpus'}): rows need `date`, as 2024-03-31"
        )
    return made, notes


def _dated(run: runs.Run, name: str, notes: list[str]) -> _Dated | None:
    """The dated documents of a run on a corpus; None with a note where there are none."""
    try:
        documents = run.documents(name)
        record = Record.open(run.folder / name)
        rows, ends = record.read("documents"), record.read("token_char_end")
    except InputError as e:
        notes.append(f"{run.name} on {name}: {e}")
        return None
    has = rows[:, 4] >= 1
    if not has.any():
        notes.append(f"{run.name} on {name}: its rows have no dates")
        return None
    values = min_k(record.read("nll"), rows, n_bos(ends, rows))
    if not has.all():
        notes.append(f"{run.name} on {name}: {np.count_nonzero(~has):,} rows have no date")
    kept = Documents(documents.rows[has], documents.characters[has], documents.nats[has])
    return _Dated(run, name, kept, rows[has, 4], values[has])


def _same(one: _Dated, other: _Dated) -> bool:
    """Whether two runs scored the same documents of the same corpus."""
    sha256 = [d.run.results.corpora[d.corpus].corpus_sha256 for d in (one, other)]
    return (
        sha256[0] == sha256[1]
        and np.array_equal(one.documents.rows, other.documents.rows)
        and np.array_equal(one.documents.characters, other.documents.characters)
    )


def _step(one: _Dated, other: _Dated | None, cutoff: datetime.date, seed: int) -> Step | None:
    after = one.dates > cutoff.toordinal()
    if min(np.count_nonzero(after), np.count_nonzero(~after)) < 2:
        return None
    n = min(bootstrap.effective(one.documents.characters[side]) for side in (after, ~after))
    before, later = _period(f"to {cutoff}", one, ~after), _period(f"after {cutoff}", one, after)
    nats = [d.documents.nats for d in (one, other) if d is not None]
    columns = np.stack([*nats, one.documents.characters], axis=1)
    sha256 = one.run.results.corpora[one.corpus].corpus_sha256
    # The two sides are drawn apart: how many documents each has is no matter of chance.
    low, high = (
        bootstrap.resample(
            columns[side], hashlib.sha256(f"{sha256} {i}".encode()).hexdigest(), seed
        )
        for i, side in enumerate((~after, after))
    )
    bits = [side[:, :-1] / (side[:, -1:] * math.log(2)) for side in (low, high)]
    difference = bootstrap.estimate(later.bpc - before.bpc, (bits[1] - bits[0])[:, 0], n)
    ratio = np.log(bits[1] / bits[0])
    change = 100 * (later.bpc / before.bpc - 1)
    excess = None
    if other is not None:
        theirs = 100 * (_period("", other, after).bpc / _period("", other, ~after).bpc - 1)
        draws = 100 * (np.exp(ratio[:, 0]) - np.exp(ratio[:, 1]))
        excess = bootstrap.estimate(change - theirs, draws, n)
    return Step(
        one.run,
        one.corpus,
        before,
        later,
        difference,
        bootstrap.estimate(change, 100 * np.expm1(ratio[:, 0]), n),
        other.run.name if other is not None else None,
        excess,
        _periods(one),
    )


def _periods(one: _Dated) -> list[Period]:
    """By month, or where those are many by year."""
    days = [datetime.date.fromordinal(int(d)) for d in one.dates]
    names = np.array([f"{d:%Y-%m}" for d in days])
    if len(np.unique(names)) > _MAX_MONTHS:
        names = np.array([f"{d:%Y}" for d in days])
    return [_period(str(name), one, names == name) for name in np.unique(names)]


def _period(name: str, one: _Dated, which: np.ndarray) -> Period:
    nats = float(one.documents.nats[which].sum())
    characters = int(one.documents.characters[which].sum())
    known = one.min_k[which]
    known = known[~np.isnan(known)]
    bpc = nats / (characters * math.log(2))
    return Period(
        name,
        int(np.count_nonzero(which)),
        characters,
        bpc,
        float(known.mean()) if len(known) else None,
    )
