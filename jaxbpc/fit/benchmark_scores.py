"""Models with their BPC and benchmark scores: the paper's, and your own → the points of each fit.

Scores are fractions, by benchmark; an area's average is the mean over its benchmarks, `overall` the
mean of the three areas' averages, as in the paper. A fit is one of these against the BPC of the
corpus of its area.
"""

import csv
import dataclasses
import decimal
import math
import pathlib

import numpy as np

from jaxbpc import published
from jaxbpc.analysis import runs
from jaxbpc.errors import InputError
from jaxbpc.published.names import published_name, same_name

# What the paper's fits call benchmarks otherwise.
_FIT_NAMES = {"NaturalQuestions": "NQ", "MMLU": "MMLU cloze"}
_COLUMNS = ("model", "benchmark", "score", "score_pct", "corpus", "bpc")
_PUBLISHED_ROUNDING = 0.0005  # of three decimals


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is fitted: a score against the BPC of a corpus, or of all (`average`)."""

    name: str
    score: str
    corpus: str
    without: tuple[str, ...] = ()  # models that the paper leaves out
    mismatch: bool = False  # another area's corpus: the paper's counter-example


@dataclasses.dataclass
class Model:
    """A model: BPC by corpus with `average`, and scores by benchmark, as far as they are known."""

    name: str
    bpc: dict[str, float]
    scores: dict[str, float]
    ours: bool = False  # from a run or the user's scores, not the paper's
    published: str | None = None  # its name as `published_name` has it, whatever `name` is

    def is_as(self, other: "Model") -> bool:
        """Whether both are one model, by what they are called or by the published one."""
        same = self.published is not None and self.published == other.published
        return same or self.name == other.name


@dataclasses.dataclass(frozen=True)
class _Said:
    """A BPC as a source has it, up to `rounding`."""

    bpc: float
    rounding: float
    source: str


def kinds() -> list[Kind]:
    """The paper's fits, in its order."""
    found = [Kind("overall", "overall", "average")]
    for area, (corpus, _) in published.AREAS.items():
        found.append(Kind(f"{area} avg", f"{area} avg", corpus, _without(area)))
    for area, (corpus, benchmarks) in published.AREAS.items():
        found += [Kind(_FIT_NAMES.get(b, b), b, corpus, _without(area)) for b in benchmarks]
    for score, corpus, label in (
        ("math avg", "commoncraw", "cc"),
        ("knowledge avg", "python", "python"),
    ):
        found.append(Kind(f"mismatch: {score} vs {label}", score, corpus, mismatch=True))
    return found


def _without(area: str) -> tuple[str, ...]:
    return published.NOT_IN_MATH if area == "math" else ()


def paper_models() -> list[Model]:
    """The paper's models with their scores."""
    models: dict[str, Model] = {}
    for row in published.scores():
        if row.model not in models:
            models[row.model] = Model(row.model, {}, {}, published=published_name(row.model))
        model = models[row.model]
        model.bpc[published.AREAS[row.area][0]] = row.bpc
        average = f"{row.area} avg"
        model.scores[average if row.benchmark == "Average" else row.benchmark] = row.score
    for model in models.values():
        _complete(model)
    return list(models.values())


def _complete(model: Model) -> None:
    """Adds the means that follow from what is there."""
    averages = []
    for area, (_, benchmarks) in published.AREAS.items():
        if all(b in model.scores for b in benchmarks):
            mean = math.fsum(model.scores[b] for b in benchmarks) / len(benchmarks)
            model.scores.setdefault(f"{area} avg", mean)
        averages.append(model.scores.get(f"{area} avg"))
    known = [average for average in averages if average is not None]
    if len(known) == len(averages):
        model.scores.setdefault("overall", math.fsum(known) / len(known))
    if all(c in model.bpc for c in published.CORPORA):
        mean = math.fsum(model.bpc[c] for c in published.CORPORA) / len(published.CORPORA)
        model.bpc.setdefault("average", mean)


def of_run(run: runs.Run) -> Model:
    """A run without scores; its average is that of the paper's corpora, if it has these."""
    bpc = {name: value for name, value in run.bpc().items() if name != "average"}
    known_as = published_name(run.results.model["path"])
    model = Model(run.name, bpc, {}, ours=True, published=known_as)
    _complete(model)
    return model


def read_scores(
    path: pathlib.Path, folders: list[runs.Run], paper: bool
) -> tuple[list[Model], list[Kind]]:
    """The user's scores, joined with runs and published models by name; a published model's are of
    its run where there is one.

    Args:
      path: a CSV file with the columns model, benchmark, score (a fraction) or score_pct, and where
        the paper has no such benchmark or BPC: corpus (what it is fitted against; default average)
        and bpc (of that corpus). What a run, a published table or an earlier row says of a BPC
        holds: a row may repeat it, rounded.
      paper: the paper's own scores are used beside these.

    Returns:
      The models of the file, and the fits of benchmarks that the paper does not have.

    Raises:
      InputError: a row that cannot be used, by its line.
    """
    found: dict[str, Model] = {}
    extra: dict[str, Kind] = {}
    asked = []
    said: dict[tuple[str, str], list[_Said]] = {}
    for line, row in _rows(path):
        where, given = f"{path}:{line}", row["model"].strip()
        model = _known(given, folders, paper)
        model = found.setdefault(model.name, model)
        benchmark, corpus = _benchmark(row, extra, where)
        if benchmark in model.scores:
            raise InputError(
                f"{where}: {benchmark} of {given!r} is there already, in this file or the paper's "
                "tables: remove the row, or leave the paper's scores out with --nopaper"
            )
        model.scores[benchmark] = _score(row, where)
        if row.get("bpc"):
            key = model.name, corpus
            if key not in said:
                said[key] = _known_bpc(model, corpus, folders)
            said[key] = _agreed(_row_bpc(row["bpc"], where), said[key], f"{given!r} on {corpus}")
            model.bpc.setdefault(corpus, said[key][0].bpc)
        asked.append((where, given, model, corpus))
    for model in found.values():
        _complete(model)
    for where, given, model, corpus in asked:
        if corpus not in model.bpc:
            raise InputError(
                f"{where}: no BPC of {given!r} on {corpus} is known: give its run folder, or "
                "add a column bpc"
            )
    return list(found.values()), list(extra.values())


def _rows(path: pathlib.Path):
    """(line, row) of the file. Raises InputError where it is no such table."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            if unknown := set(names) - set(_COLUMNS):
                raise InputError(
                    f"{path}: no column is called {', '.join(map(repr, sorted(unknown)))}: they "
                    f"are {', '.join(_COLUMNS)}"
                )
            if not {"model", "benchmark"} <= set(names) or not {"score", "score_pct"} & set(names):
                raise InputError(
                    f"{path}: give the columns model, benchmark, and score_pct or score"
                )
            for row in reader:
                if None in row.values() or None in row:
                    raise InputError(f"{path}:{reader.line_num}: not {len(names)} fields: fix it")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{path}: cannot be read ({e}): give a CSV file of scores")


def _known(name: str, folders: list[runs.Run], paper: bool) -> Model:
    """The model of a run, or a published one, by its name; else one of which nothing is known."""
    for run in folders:
        if any(same_name(name, n) for n in (run.name, run.folder.name, run.results.model["path"])):
            return of_run(run)
    known_as = published_name(name)
    if known_as is None:
        return Model(name, {}, {}, ours=True)
    models = [model for model in map(of_run, folders) if model.published == known_as]
    if len(models) == 1:  # of several, say in two dtypes, none is meant
        return models[0]
    for model in paper_models() if paper else []:
        if model.published == known_as:
            return model
    bpc = next((dict(row.bpc) for row in published.leaderboard() if row.model == known_as), {})
    return Model(known_as, bpc, {}, ours=True, published=known_as)


def _known_bpc(model: Model, corpus: str, folders: list[runs.Run]) -> list[_Said]:
    """What the model's run says of its BPC, else what the published tables do."""
    for run in folders:
        if run.name == model.name and corpus in model.bpc:
            return [_Said(model.bpc[corpus], 0, run.given or str(run.folder))]
    tables = [("the paper's table", m.bpc) for m in paper_models() if m.is_as(model)]
    tables += [(t.source, t.bpc) for t in published.leaderboard() if t.model == model.published]
    return [_Said(bpc[corpus], _PUBLISHED_ROUNDING, name) for name, bpc in tables if corpus in bpc]


def _row_bpc(text: str, where: str) -> _Said:
    bpc = _number(text, f"{where}: bpc", positive=True)
    last_digit = int(decimal.Decimal(text).as_tuple().exponent)
    return _Said(bpc, 10.0**last_digit / 2, where)


def _agreed(row: _Said, said: list[_Said], what: str) -> list[_Said]:
    """What is said of a BPC, by the row where nothing was. Raises InputError where they differ."""
    if not said:
        return [row]
    # Of tables that differ, one is enough.
    if any(abs(row.bpc - one.bpc) <= row.rounding + one.rounding + 1e-9 for one in said):
        return said
    raise InputError(
        f"{row.source}: the BPC of {what} is {row.bpc:g} here, {said[0].bpc:g} in "
        f"{said[0].source}: leave bpc empty, or give another model another name"
    )


def _benchmark(row: dict[str, str], extra: dict[str, Kind], where: str) -> tuple[str, str]:
    """(benchmark as the paper spells it, corpus of its fit); one that it lacks goes to `extra`."""
    name, corpus = row["benchmark"].strip(), (row.get("corpus") or "").strip()
    if not name:
        raise InputError(f"{where}: the benchmark has no name: give it one")
    for kind in kinds():
        if not kind.mismatch and any(same_name(name, n) for n in (kind.name, kind.score)):
            if corpus and corpus != kind.corpus:
                raise InputError(f"{where}: {name} is fitted against {kind.corpus}, not {corpus}")
            return kind.score, kind.corpus
    kind = extra.setdefault(name, Kind(name, name, corpus or "average"))
    if corpus and corpus != kind.corpus:
        raise InputError(f"{where}: {name} was against {kind.corpus} above, not {corpus}: give one")
    return kind.score, kind.corpus


def _score(row: dict[str, str], where: str) -> float:
    if row.get("score") and row.get("score_pct"):
        raise InputError(f"{where}: score and score_pct are both given: leave one empty")
    if row.get("score_pct"):
        return _number(row["score_pct"], f"{where}: score_pct", 100) / 100
    score = _number(row.get("score") or "", f"{where}: score")
    if score > 1:
        raise InputError(f"{where}: score is {score}: give a fraction, or percents as score_pct")
    return score


def _number(text: str, where: str, most: float = math.inf, positive: bool = False) -> float:
    try:
        value = float(text)
        if not 0 <= value <= most or value == math.inf or (positive and not value):
            raise ValueError(text)
        return value
    except ValueError:
        limit = "" if most == math.inf else f" to {most}"
        wanted = "a positive number" if positive else f"a number from 0{limit}"
        raise InputError(f"{where} is {text!r}: give {wanted}")


def of_kind(kind: Kind, models: list[Model]) -> tuple[list[Model], np.ndarray, np.ndarray]:
    """(models, their BPC [n], their scores [n]) that a fit goes through.

    A published model that is there with the user's own score too has that point alone.
    """
    found = [
        model
        for model in models
        if kind.score in model.scores
        and kind.corpus in model.bpc
        and (model.ours or model.name not in kind.without)
    ]
    own = {model.published for model in found if model.ours}
    found = [model for model in found if model.ours or model.published not in own]
    x = np.array([model.bpc[kind.corpus] for model in found])
    return found, x, np.array([model.scores[kind.score] for model in found])
