"""Runs side by side: their ranking with intervals, and every pair's difference over documents.

What `jaxbpc.report` writes, in whatever format, is derived from one `Comparison`.

Runs are paired by corpus, which is known by its file's hash, and in it by the documents' rows:
those that all runs of that corpus have. Differences are of the full BPC, which leaves out no tail;
that of the average is the mean over corpora, drawn independently of one another, and is there
where two runs have the same corpora. Its degrees of freedom are those of the corpus with fewest
documents.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from jaxbpc import intervals, published, runs
from jaxbpc.errors import InputError
from jaxbpc.intervals import Documents, Estimate


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A run with the intervals of its BPC by corpus, and of their mean; as far as there are any."""

    run: runs.Run
    corpora: dict[str, Estimate]
    average: Estimate | None


@dataclasses.dataclass(frozen=True)
class Difference:
    """Full BPC of run `first` less that of `second`, on a corpus or `average`, paired."""

    first: str
    second: str
    corpus: str
    estimate: Estimate
    documents: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs from the best average on; corpora, the paper's first; differences of every pair."""

    ranking: list[Ranked]
    corpora: list[str]
    differences: list[Difference]
    notes: list[str]

    def difference(self, first: str, second: str, corpus: str) -> Difference | None:
        """That of two runs by name, the better-ranked one second; None where they have none."""
        for found in self.differences:
            if (found.first, found.second, found.corpus) == (first, second, corpus):
                return found
        return None


@dataclasses.dataclass(frozen=True)
class _Scored:
    """A run on one corpus: its documents, and draws of its full BPC, [n_draws]."""

    run: runs.Run
    corpus: str
    documents: Documents
    draws: np.ndarray

    @property
    def n(self) -> int:
        return len(self.documents.rows)


def gather(found: list[runs.Run], seed: int = 0) -> Comparison:
    """Compares runs. Records that are missing or damaged are noted; such runs are not paired."""
    notes: list[str] = []
    scored: dict[str, list[_Scored]] = {}
    paired: dict[str, list[_Scored]] = {}
    for sha256, group in _by_corpus(found, notes).items():
        scored[sha256] = _draw(group, sha256, seed)
        paired[sha256] = _pair(scored[sha256], sha256, seed, notes)
    mine = {
        run.name: [s for group in scored.values() for s in group if s.run is run] for run in found
    }
    ranking = [_ranked(run, mine[run.name]) for run in found]
    ranking.sort(key=lambda r: (r.run.results.average_bpc or np.inf, r.run.name))
    corpora = list(dict.fromkeys(c for run in found for c in run.results.corpora))
    corpora.sort(key=lambda c: published.CORPORA.index(c) if c in published.CORPORA else 9)
    order = [ranked.run for ranked in ranking]
    differences = [
        d
        for better, worse in itertools.combinations(order, 2)
        for d in _differ(worse, better, paired)
    ]
    return Comparison(ranking, corpora, differences, notes)


def _by_corpus(
    found: list[runs.Run], notes: list[str]
) -> dict[str, list[tuple[runs.Run, str, Documents]]]:
    """(run, its name of the corpus, its documents), by the corpus's hash."""
    groups: dict[str, list[tuple[runs.Run, str, Documents]]] = {}
    for run in found:
        for name, result in run.results.corpora.items():
            if result.bpc_full is None or result.documents < 2:
                continue
            try:
                documents = run.documents(name)
            except InputError as e:
                notes.append(f"{run.name} on {name} is not paired: {e}")
                continue
            groups.setdefault(result.corpus_sha256, []).append((run, name, documents))
    return groups


def _draw(group, sha256: str, seed: int) -> list[_Scored]:
    """Draws each run's own documents; runs of the same documents at once."""
    alike: dict[bytes, list] = {}
    for member in group:
        documents = member[2]
        key = documents.rows.tobytes() + documents.characters.tobytes()
        alike.setdefault(key, []).append(member)
    scored = []
    for members in alike.values():
        draws = intervals.bpc_draws([documents for _, _, documents in members], sha256, seed)
        for i, (run, name, documents) in enumerate(members):
            scored.append(_Scored(run, name, documents, draws[:, i]))
    return scored


def _pair(group: list[_Scored], sha256: str, seed: int, notes: list[str]) -> list[_Scored]:
    """The runs of a corpus, each over the documents that all of them have."""
    rows = group[0].documents.rows
    for other in group[1:]:
        rows = np.intersect1d(rows, other.documents.rows)
    cut = [_only(member.documents, rows) for member in group]
    keep = []
    for member, documents in zip(group, cut, strict=True):
        if np.array_equal(documents.characters, cut[0].characters):
            keep.append((member.run, member.corpus, documents))
        else:
            notes.append(
                f"{member.run.name} on {member.corpus} is not paired with {group[0].run.name}: "
                "their documents have other characters, by another template or columns"
            )
    if len(rows) < 2:
        notes.append(f"{group[0].corpus}: its runs share fewer than 2 documents and are not paired")
        return []
    most = max(member.n for member in group)
    if len(rows) < most:
        notes.append(
            f"{group[0].corpus}: paired over the {len(rows):,} documents that all runs have"
        )
    elif len(keep) == len(group):
        return group
    return _draw(keep, sha256, seed)


def _only(documents: Documents, rows: np.ndarray) -> Documents:
    keep = np.isin(documents.rows, rows)
    return Documents(documents.rows[keep], documents.characters[keep], documents.nats[keep])


def _ranked(run: runs.Run, scored: list[_Scored]) -> Ranked:
    estimates, scaled = {}, []
    for s in scored:
        result = run.results.corpora[s.corpus]
        if result.bpc is None or not result.bpc_full:
            continue
        scaled.append(s.draws * (result.bpc / result.bpc_full))
        estimates[s.corpus] = intervals.estimate(result.bpc, scaled[-1], s.n)
    average = run.results.average_bpc
    if average is None or len(estimates) < len(run.results.corpora):
        return Ranked(run, estimates, None)
    n = min(s.n for s in scored)
    return Ranked(run, estimates, intervals.estimate(average, np.mean(scaled, axis=0), n))


def _differ(
    first: runs.Run, second: runs.Run, paired: dict[str, list[_Scored]]
) -> Iterable[Difference]:
    values, draws, ns = [], [], []
    for group in paired.values():
        one, other = ([s for s in group if s.run is run] for run in (first, second))
        if not one or not other:
            continue
        # A corpus that a run was given under two names is there once.
        values.append(_bpc(one[0].documents) - _bpc(other[0].documents))
        draws.append(one[0].draws - other[0].draws)
        ns.append(one[0].n)
        found = intervals.estimate(values[-1], draws[-1], ns[-1])
        yield Difference(first.name, second.name, one[0].corpus, found, ns[-1])
    if values and all(len(run.results.corpora) == len(values) for run in (first, second)):
        found = intervals.estimate(float(np.mean(values)), np.mean(draws, axis=0), min(ns))
        yield Difference(first.name, second.name, "average", found, sum(ns))


def _bpc(documents: Documents) -> float:
    return float(documents.nats.sum() / (documents.characters.sum() * np.log(2)))
