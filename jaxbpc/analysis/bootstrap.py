"""How far a BPC moves with the choice of documents: bootstrap intervals, and paired differences.

The idea: as many documents as there are, are drawn with replacement, some thousand times over; the
middle 95% of those draws' BPC is the interval. Runs over the same documents are drawn together,
whatever their tokenizers: what makes a document hard for both drops out of their difference.

The complications: a document's nats are those of the full number, of all its tokens whichever
window scored them (token 0 of the corpus alone has none). The tail that the reference number leaves
out is a matter of where the last window ends, not of the documents that it falls on: their share
stays what it is, so the interval of `bpc` is that of `bpc_full` times bpc / bpc_full, and
differences between runs, whose tokenizers leave out other tails, are those of `bpc_full`. Of few
documents plain percentiles are too narrow, so they are taken further out by what Student's t asks
for; where that is beyond what draws can show, the interval is Student's own, of the draws' spread.
Documents of unequal size are as many as `effective` says: one that outweighs the others makes few.
The draws depend on the corpus's hash and the seed alone: the same on any machine, for any run.
What is drawn are documents, not their order: how much a document gains from those before it in its
window is taken as it was.
Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993; expanded percentiles:
Hesterberg, What Teachers Should Know About the Bootstrap, 2015; documents of unequal size: Kish,
Survey Sampling, 1965.
"""

import dataclasses
import math

import numpy as np

from jaxbpc.run.record import Record
from jaxbpc.run.results import CorpusResult

N_DRAWS = 2000
LEVEL = 0.95
_BLOCK = 1 << 18  # numbers drawn at once: bounds the memory
# A percentile that fewer draws are beyond moves too much with them.
_FEWEST_BEYOND = 10
# Of more documents than this, neighbours are drawn together: bounds the time.
_MAX_UNITS = 1 << 17


@dataclasses.dataclass(frozen=True)
class Documents:
    """The documents of a corpus as a run scored them.

    rows: [n] int64, rows in the file. characters: [n] int64. nats: [n] float64, of all tokens of a
    document that have a score.
    """

    rows: np.ndarray
    characters: np.ndarray
    nats: np.ndarray


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval; `stderr` is the draws' standard deviation."""

    value: float
    low: float
    high: float
    stderr: float
    p_value: float  # two-sided, of the value being 0; meant for differences


def read(record: Record) -> Documents:
    """The documents of a run's record. Raises InputError where it is damaged."""
    return per_document(record.read("nll"), record.read("documents"))


def per_document(nll: np.ndarray, documents: np.ndarray) -> Documents:
    """Sums a record's tokens by document.

    Args:
      nll: [n_tokens] float32 nats per token; NaN: not scored.
      documents: [n, 6] int64 in the columns of `windows.DOCUMENT_COLUMNS`, in the stream's order.
    """
    first = np.asarray(documents[:, 0])
    nats = np.zeros(len(first))
    # reduceat would give a document of no tokens its neighbour's first one.
    filled = np.flatnonzero(np.diff(first, append=len(nll)) > 0)
    if len(filled):
        scored = np.where(np.isnan(nll), np.float32(0), nll)
        nats[filled] = np.add.reduceat(scored, first[filled], dtype=np.float64)
    return Documents(np.asarray(documents[:, 3]), np.asarray(documents[:, 1]), nats)


def resample(
    values: np.ndarray, corpus_sha256: str, seed: int = 0, n_draws: int = N_DRAWS
) -> np.ndarray:
    """Sums over documents drawn with replacement.

    Args:
      values: [n, k], what is added up of each document; all columns are drawn together.
      corpus_sha256: of the corpus's file, in hex: equal corpora have equal draws, others
        independent ones.

    Returns:
      [n_draws, k] float64.
    """
    group = -(-len(values) // _MAX_UNITS)
    if group > 1:
        values = np.add.reduceat(values, np.arange(0, len(values), group), axis=0)
    n = len(values)
    values = np.asarray(values, np.float64)
    random = np.random.default_rng([seed, int(corpus_sha256[:16] or "0", 16)])
    sums = np.empty((n_draws, values.shape[1]))
    size = max(1, _BLOCK // n)
    for i in range(0, n_draws, size):
        n_rows = min(size, n_draws - i)
        drawn = random.integers(0, n, (n_rows, n), dtype=np.int32)
        drawn += n * np.arange(n_rows, dtype=np.int32)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n).reshape(n_rows, n)
        sums[i : i + n_rows] = counts @ values
    return sums


def bpc_draws(
    runs: list[Documents], corpus_sha256: str, seed: int = 0, n_draws: int = N_DRAWS
) -> np.ndarray:
    """Full BPC of each draw, [n_draws, runs], of runs over the same documents."""
    columns = [run.nats for run in runs] + [runs[0].characters]
    sums = resample(np.stack(columns, axis=1), corpus_sha256, seed, n_draws)
    return sums[:, :-1] / (sums[:, -1:] * math.log(2))


def effective(characters: np.ndarray) -> float:
    """Kish's effective number of documents: (Σ characters)² / Σ characters², 2 or more."""
    sizes = np.asarray(characters, np.float64)
    return max(2.0, float(sizes.sum() ** 2 / max(np.sum(sizes * sizes), 1.0)))


def estimate(value: float, draws: np.ndarray, n_effective: float) -> Estimate:
    """The interval around `value` that its draws give.

    Args:
      n_effective: how many documents were drawn, by `effective`.
    """
    from scipy import special  # a fifth of a second that no start need wait for

    degrees = n_effective - 1
    stretch = math.sqrt(n_effective / degrees)
    far = special.stdtrit(degrees, (1 - LEVEL) / 2)
    tail = special.ndtr(stretch * far)
    stderr = float(np.std(draws, ddof=1))
    if tail * len(draws) < _FEWEST_BEYOND:
        reach = -far * stretch * stderr
        t = -abs(value) / max(stretch * stderr, 1e-300)
        p_value = 2 * float(special.stdtr(degrees, t))
        return Estimate(value, value - reach, value + reach, stderr, p_value)
    low, high = np.quantile(draws, [tail, 1 - tail])
    # The level at which the interval would just reach 0, by the same stretch; where no draw is
    # beyond 0, by how many standard deviations it is away.
    share = min(float(np.mean(draws <= 0)), float(np.mean(draws >= 0)))
    z = special.ndtri(max(share, 0.5 / len(draws)))
    if not share:
        z = min(z, -abs(value) / max(stderr, 1e-300))
    p_value = min(1.0, 2 * float(special.stdtr(degrees, z / stretch)))
    return Estimate(value, float(low), float(high), stderr, p_value)


def added(result: CorpusResult, documents: Documents) -> CorpusResult:
    """The result with the intervals of `bpc` and `bpc_full`, of two documents or more.

    Rounded to 6 decimals: the digits below are noise of the draws.
    """
    if len(documents.rows) < 2 or not result.bpc_full:
        return result
    draws = bpc_draws([documents], result.corpus_sha256)[:, 0]
    found = estimate(result.bpc_full, draws, effective(documents.characters))
    full = [max(found.low, 0.0), found.high]  # no BPC is below 0
    scaled = None if result.bpc is None else [x * result.bpc / result.bpc_full for x in full]
    return dataclasses.replace(
        result,
        bpc_interval=None if scaled is None else [round(x, 6) for x in scaled],
        bpc_full_interval=[round(x, 6) for x in full],
    )
