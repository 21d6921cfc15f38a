"""Intervals cover what they say, on documents whose distribution is known in closed form."""

import hashlib
import math

import numpy as np
import pytest
import run_folders

from jaxbpc.analysis import bootstrap
from jaxbpc.data.windows import Plan

N = 100  # documents of a corpus
# A document has k = 1 + Poisson(4) tokens of 4 characters, each of g * Gamma(2) nats with one
# g ~ Uniform(1/2, 3/2) a document: 2 nats per token on average; one token of 5 N is never scored.
TRUE_BPC = 2 / (4 * math.log(2)) * (1 - 1 / (5 * N))
# Of a document's nats less 2 a token: E[k] Var(Gamma) E[g^2] + E[k^2] 4 Var(g).
VARIANCE = 5 * 2 * 13 / 12 + 29 * 4 / 12
STDERR = math.sqrt(VARIANCE / N) / (5 * 4 * math.log(2))
# The same for a difference of two models with the same g, Gammas of their own: g drops out.
STDERR_DIFFERENCE = math.sqrt(2 * 5 * 2 * 13 / 12 / N) / (5 * 4 * math.log(2))


def corpus(seed, n_models=1):
    """(nll of each model, documents) of one draw; token 0 has no score."""
    random = np.random.default_rng(seed)
    lengths = 1 + random.poisson(4, N)
    ease = np.repeat(random.uniform(0.5, 1.5, N), lengths)
    nll = (ease * random.gamma(2, 1, (n_models, len(ease)))).astype(np.float32)
    nll[:, 0] = np.nan
    first = np.cumsum(lengths) - lengths
    other = np.full(N, -1)
    columns = [first, 4 * lengths, 5 * lengths, np.arange(N), other, other]
    return nll, np.stack(columns, axis=1)


def sha(seed):
    return hashlib.sha256(str(seed).encode()).hexdigest()


def result(seed):
    (nll,), documents = corpus(seed)
    n_scored = Plan(len(nll), 100, 40).n_scored
    characters = int(documents[:, 1].sum()) * math.log(2)
    bpc = [float(x.astype(np.float64).sum()) / characters for x in (nll[1 : 1 + n_scored], nll[1:])]
    without = run_folders.given(bpc[0], bpc_full=bpc[1], corpus_sha256=sha(seed))
    return bootstrap.added(without, bootstrap.per_document(nll, documents))


def test_coverage():
    found = np.array([result(seed).bpc_full_interval for seed in range(1000)])
    covered = (found[:, 0] <= TRUE_BPC) & (found[:, 1] >= TRUE_BPC)
    assert 0.93 <= covered.mean() <= 0.97
    width = 2 * 1.984 * STDERR  # Student's t of 99 degrees, and the known variance
    assert np.median(found[:, 1] - found[:, 0]) == pytest.approx(width, rel=0.03)


def paired(seed, shift=1.0):
    nll, documents = corpus(seed, 2)
    nll[1] *= shift
    one, other = (bootstrap.per_document(values, documents) for values in nll)
    draws = bootstrap.bpc_draws([one, other], sha(seed), n_draws=1000)
    value = (one.nats.sum() - other.nats.sum()) / (one.characters.sum() * math.log(2))
    return bootstrap.estimate(value, draws[:, 0] - draws[:, 1], N)


def test_the_paired_test_keeps_its_level():
    found = [paired(seed) for seed in range(1000)]
    rejected = np.mean([e.p_value < 0.05 for e in found])
    assert 0.03 <= rejected <= 0.07
    assert np.mean([e.p_value < 0.5 for e in found]) == pytest.approx(0.5, abs=0.05)
    # A p-value below 5% and an interval without 0 are one and the same.
    apart = np.mean([(e.low > 0 or e.high < 0) != (e.p_value < 0.05) for e in found])
    assert apart <= 0.005
    assert np.mean([e.stderr for e in found]) == pytest.approx(STDERR_DIFFERENCE, rel=0.03)


@pytest.mark.parametrize(
    ("n", "sigma"), [(2, 0), (3, 0), (4, 0), (5, 0), (8, 0), (4, 1.5), (12, 1.5), (30, 2.5)]
)
def test_few_and_unequal_documents_keep_the_level(n, sigma):
    """No more than 5% of equal models are told apart; of sizes whose logarithm spreads by sigma."""
    random = np.random.default_rng(n)
    rejected = []
    for seed in range(600):
        sizes = np.round(1000 * random.lognormal(0, sigma, n))
        nats = sizes * random.normal(0, 1, n)
        sums = bootstrap.resample(np.stack([nats, sizes], axis=1), sha(seed))
        found = bootstrap.estimate(
            nats.sum() / sizes.sum(), sums[:, 0] / sums[:, 1], bootstrap.effective(sizes)
        )
        rejected.append((found.low > 0 or found.high < 0, found.p_value < 0.05))
    assert np.mean(rejected, axis=0).max() <= 0.075  # 0.05 and 2.8 standard errors of 600
    assert sigma or np.mean(rejected, axis=0).min() >= 0.025


def test_effective_documents():
    assert bootstrap.effective(np.full(7, 30)) == pytest.approx(7)
    assert bootstrap.effective(np.array([10, 10, 10, 0, 0])) == pytest.approx(3)
    assert bootstrap.effective(np.array([10_000, 1, 1, 1])) == 2


def test_two_documents_by_hand():
    """Student's t of one degree: mean ± 12.706 of half the documents' difference."""
    two = bootstrap.Documents(np.arange(2), np.full(2, 1000), np.array([500.0, 700.0]))
    bpc = two.nats / 1000 / math.log(2)
    without = run_folders.given(None, bpc_full=bpc.mean(), corpus_sha256=sha(0))
    low, high = bootstrap.added(without, two).bpc_full_interval
    assert low == 0
    assert high == pytest.approx(bpc.mean() + 12.706 * (bpc[1] - bpc[0]) / 2, rel=0.05)


def test_pairing_sees_what_single_intervals_hide():
    """A model worse by 3% on the same documents: within each one's interval, yet certain."""
    nll, documents = corpus(0)
    one = bootstrap.per_document(nll[0], documents)
    other = bootstrap.per_document(nll[0] * np.float32(1.03), documents)
    draws = bootstrap.bpc_draws([one, other], sha(0))
    bpc = [float(run.nats.sum() / (run.characters.sum() * math.log(2))) for run in (one, other)]
    alone = bootstrap.estimate(bpc[0], draws[:, 0], N)
    assert alone.low < bpc[1] < alone.high
    difference = bootstrap.estimate(bpc[0] - bpc[1], draws[:, 0] - draws[:, 1], N)
    assert difference.high < 0
    assert difference.p_value < 0.002


def test_the_seed_decides():
    one, other = result(1), result(1)
    assert one.bpc_interval == other.bpc_interval
    values = np.random.default_rng(0).random((50, 2))
    first = bootstrap.resample(values, sha(1))
    np.testing.assert_array_equal(first, bootstrap.resample(values, sha(1)))
    # A column's draws do not depend on the others.
    np.testing.assert_allclose(first[:, :1], bootstrap.resample(values[:, :1], sha(1)), rtol=1e-13)
    for another in (bootstrap.resample(values, sha(1), seed=1), bootstrap.resample(values, sha(2))):
        assert abs(np.corrcoef(first[:, 0], another[:, 0])[0, 1]) < 0.1


def test_which_number_an_interval_is_of():
    found = result(3)
    assert found.bpc < found.bpc_full
    assert found.bpc_interval[0] < found.bpc < found.bpc_interval[1]
    share = found.bpc / found.bpc_full
    # Both are rounded to 6 decimals.
    want = [share * x for x in found.bpc_full_interval]
    assert found.bpc_interval == pytest.approx(want, rel=0, abs=1e-6)


def test_nats_by_document():
    """Documents of no tokens have no nats; token 0's are missing; the rest add up."""
    nll = np.array([np.nan, 1, 2, 4, 8, 16], np.float32)
    first = np.array([0, 2, 2, 3, 6, 6])
    documents = np.stack([first, first + 1, first, [0, 2, 3, 5, 8, 9], first, first], axis=1)
    found = bootstrap.per_document(nll, documents)
    assert found.nats.tolist() == [1, 0, 2, 28, 0, 0]
    assert found.rows.tolist() == [0, 2, 3, 5, 8, 9]
    assert found.characters.tolist() == [1, 3, 3, 4, 7, 7]


def test_a_draw_is_a_plain_bootstrap():
    """Mean and covariance of the drawn sums are those of n independent draws."""
    values = np.random.default_rng(0).gamma(1, 1, (300, 2))
    sums = bootstrap.resample(values, sha(0), n_draws=20_000)
    np.testing.assert_allclose(sums.mean(0), values.sum(0), rtol=0.002)
    want = 300 * np.cov(values.T, bias=True)
    np.testing.assert_allclose(np.cov(sums.T), want, rtol=0.05, atol=0.05 * want.max())


def test_many_documents_are_drawn_by_neighbours(monkeypatch):
    values = np.random.default_rng(0).gamma(1, 1, (3000, 1))
    monkeypatch.setattr(bootstrap, "_MAX_UNITS", 1000)
    sums = bootstrap.resample(values, sha(0), n_draws=5000)
    assert sums.mean() == pytest.approx(values.sum(), rel=0.002)
    assert sums.std() == pytest.approx(math.sqrt(3000) * values.std(), rel=0.1)


def test_too_few_documents():
    one = bootstrap.Documents(np.zeros(1), np.ones(1), np.ones(1))
    result = run_folders.given(None, bpc_full=0.79)
    assert bootstrap.added(result, one) == result
    two = bootstrap.Documents(np.arange(2), np.full(2, 10), np.array([5.0, 6.0]))
    found = bootstrap.added(result, two)
    assert found.bpc_interval is None
    assert found.bpc_full_interval[0] < 0.79 < found.bpc_full_interval[1]
