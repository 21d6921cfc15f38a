"""Runs side by side: their ranking with intervals, and every pair's difference over documents.

What `jaxbpc.report` writes, in whatever format, is derived from one `Comparison`.

Runs are ranked by the mean over the corpora that all of them have scored; where there is none, by
their averages, which do not compare unless all runs have the same corpora.

Runs are paired by corpus, which is known by its file's hash, and in it by the documents' rows:
those that all runs have that read that corpus as the same text. Differences are of the full BPC,
which leaves out no tail; that of the average is the mean over corpora, drawn independently of one
another, and is there where two runs have the same corpora. Its degrees of freedom are those of the
corpus with fewest documents, by `bootstrap.effective`.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from jaxbpc import published
from jaxbpc.analysis import bootstrap, runs
from jaxbpc.analysis.bootstrap import Documents, Estimate
from jaxbpc.errors import InputError


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
    """Runs from the best on; corpora, the paper's first; differences of every pair."""

    ranking: list[Ranked]
    corpora: list[str]
    differences: list[Difference]
    notes: list[str]

    @property
    def is_level(self) -> bool:
        """Whether all runs have a BPC of the same texts, and no other: their averages compare."""
        return len({frozenset(runs.scored(ranked.run)) for ranked in self.ranking}) < 2

    @property
    def unlike(self) -> list[str]:
        """Corpora of which runs have scored different texts under one name."""
        texts = runs.texts_by_name([ranked.run for ranked in self.ranking])
        return [name for name in self.corpora if len(texts[name]) > 1]

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

    @property
    def n_effective(self) -> float:
        return bootstrap.effective(self.documents.characters)


def gather(found: list[runs.Run], seed: int = 0) -> Comparison:
    """Compares runs. Records that are missing or damaged are noted; such runs are not paired."""
    notes: list[str] = []
    scored: dict[str, list[_Scored]] = {}
    paired: list[list[_Scored]] = []
    for sha256, group in _by_corpus(found, notes).items():
        scored[sha256] = _draw(group, sha256, seed)
        paired += _pair(scored[sha256], sha256, seed, notes)
    mine = {
        run.name: [s for group in scored.values() for s in group if s.run is run] for run in found
    }
    ranking = [_ranked(run, mine[run.name]) for run in found]
    common = runs.common(found)
    ranking.sort(key=lambda r: (_mean(r.run, common), r.run.name))
    corpora = list(dict.fromkeys(c for run in found for c in run.results.corpora))
    corpora.sort(key=lambda c: published.CORPORA.index(c) if c in published.CORPORA else 9)
    order = [ranked.run for ranked in ranking]
    differences = [
        d
        for better, worse in itertools.combinations(order, 2)
        for d in _differ(worse, better, paired)
    ]
    made = Comparison(ranking, corpora, differences, [])
    return dataclasses.replace(made, notes=[*_unlike(made, common), *notes])


def _mean(run: runs.Run, common: list[runs.Text]) -> float:
    if not common:
        return run.results.average_bpc or np.inf
    own = runs.scored(run)
    return float(np.mean([own[text] for text in common]))


def _unlike(made: Comparison, common: list[runs.Text]) -> list[str]:
    """Notes of what keeps the runs' numbers from being compared."""
    found = [ranked.run for ranked in made.ranking]
    notes = runs.unlike_texts(found, "runs")
    if not made.is_level:
        names = ", ".join(text.name for text in common)
        rank = f"; they are ranked over {names}" if common else ""
        notes.append(f"the runs have not the same corpora: their averages do not compare{rank}")
    return [*notes, *runs.unlike_settings(found, "runs")]


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
        draws = bootstrap.bpc_draws([documents for _, _, documents in members], sha256, seed)
        for i, (run, name, documents) in enumerate(members):
            scored.append(_Scored(run, name, documents, draws[:, i]))
    return scored


def _pair(group: list[_Scored], sha256: str, seed: int, notes: list[str]) -> list[list[_Scored]]:
    """The runs of a corpus that have the same text, each over the documents that they all have."""
    alike: list[tuple[list[_Scored], np.ndarray]] = []  # and the rows in common
    for member in group:
        for i, (members, rows) in enumerate(alike):
            shared = np.intersect1d(rows, member.documents.rows)
            if len(shared) > 1 and _same_text(members[0], member, shared):
                alike[i] = ([*members, member], shared)
                break
        else:
            alike.append(([member], member.documents.rows))
    notes += [_why_not(alike[0][0][0], members) for members, _ in alike[1:]]
    return [
        _over(members, rows, len(alike) == 1, sha256, seed, notes)
        for members, rows in alike
        if len(members) > 1
    ]


def _same_text(one: _Scored, other: _Scored, rows: np.ndarray) -> bool:
    mine, theirs = (_only(s.documents, rows).characters for s in (one, other))
    return np.array_equal(mine, theirs)


def _why_not(first: _Scored, others: list[_Scored]) -> str:
    shared = np.intersect1d(first.documents.rows, others[0].documents.rows)
    why = (
        "they share fewer than 2 documents"
        if len(shared) < 2
        else "their documents have other characters, by another template or columns"
    )
    who = ", ".join(other.run.name for other in others)
    verb = "is" if len(others) == 1 else "are"
    return f"{who} on {others[0].corpus} {verb} not paired with {first.run.name}: {why}"


def _over(
    members: list[_Scored], rows: np.ndarray, is_all: bool, sha256: str, seed: int, notes: list[str]
) -> list[_Scored]:
    """Runs over the documents of `rows`; is_all: they are all runs of the corpus."""
    if len(rows) == max(member.n for member in members):
        return members
    who = "all runs" if is_all else ", ".join(member.run.name for member in members)
    notes.append(f"{members[0].corpus}: paired over the {len(rows):,} documents that {who} have")
    cut = [(member.run, member.corpus, _only(member.documents, rows)) for member in members]
    return _draw(cut, sha256, seed)


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
        estimates[s.corpus] = _positive(result.bpc, scaled[-1], s.n_effective)
    average = run.results.average_bpc
    if average is None or len(estimates) < len(run.results.corpora):
        return Ranked(run, estimates, None)
    fewest = min(s.n_effective for s in scored)
    return Ranked(run, estimates, _positive(average, np.mean(scaled, axis=0), fewest))


def _positive(bpc: float, draws: np.ndarray, n_effective: float) -> Estimate:
    """The interval of a BPC, of which none is below 0."""
    found = bootstrap.estimate(bpc, draws, n_effective)
    return dataclasses.replace(found, low=max(found.low, 0.0))


def _differ(first: runs.Run, second: runs.Run, paired: list[list[_Scored]]) -> Iterable[Difference]:
    values, draws, ns, effective = [], [], [], []
    for group in paired:
        one, other = ([s for s in group if s.run is run] for run in (first, second))
        if not one or not other:
            continue
        # A corpus that a run was given under two names is there once.
        values.append(_bpc(one[0].documents) - _bpc(other[0].documents))
        draws.append(one[0].draws - other[0].draws)
        ns.append(one[0].n)
        effective.append(one[0].n_effective)
        found = bootstrap.estimate(values[-1], draws[-1], effective[-1])
        yield Difference(first.name, second.name, one[0].corpus, found, ns[-1])
    if values and all(len(run.results.corpora) == len(values) for run in (first, second)):
        found = bootstrap.estimate(float(np.mean(values)), np.mean(draws, axis=0), min(effective))
        yield Difference(first.name, second.name, "average", found, sum(ns))


def _bpc(documents: Documents) -> float:
    return float(documents.nats.sum() / (documents.characters.sum() * np.log(2)))
