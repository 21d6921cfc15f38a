"""Sums are exact, counts are checked, the division is done once."""

import math

import numpy as np
import pytest

from jaxbpc import reduce
from jaxbpc.data.windows import Plan
from jaxbpc.errors import NumberError

COUNTS = {
    "characters": 900,
    "bytes": 1000,
    "documents": 3,
    "empty_documents": 1,
    "corpus_sha256": "1f",
}
PLAN = Plan(1000, 100, 40)
BOS = np.array([0, 300, 990])


def nll(n=1000):
    values = np.random.RandomState(0).gamma(2.0, 1.0, n).astype(np.float32)
    values[0] = np.nan
    return values


def test_the_sum_is_exact():
    values = np.array([1e8, 1e-3, -1e8, 1e-3] * 100_000, np.float32)
    want = 200_000 * float(np.float32(1e-3))
    assert reduce.total_nats(values) == pytest.approx(want, rel=1e-15)


def test_closed_form():
    values = nll()
    result = reduce.corpus_result(values, PLAN, COUNTS, BOS)
    reference = values[1 : 1 + PLAN.n_scored].astype(np.float64).sum()
    assert result.nats == pytest.approx(reference, rel=1e-14)
    assert result.nats_full == pytest.approx(values[1:].astype(np.float64).sum(), rel=1e-14)
    assert result.bpc == result.nats / (900 * math.log(2))
    assert result.bpb_full == result.nats_full / (1000 * math.log(2))
    assert result.scored_tokens == 100 + 40 * 22 == 980
    assert result.unscored_tokens == 20
    # The first document's BOS is token 0, never scored; the last one's stands in the tail.
    assert result.bos_tokens == 1
    assert result.bos_nats == values[300]


@pytest.mark.parametrize(("position", "value"), [(7, np.nan), (999, np.inf), (0, 1.0)])
def test_a_count_that_differs_is_no_number(position, value):
    values = nll()
    values[position] = value
    with pytest.raises(NumberError, match="planned tokens"):
        reduce.corpus_result(values, PLAN, COUNTS, BOS)


def test_another_length_is_no_number():
    with pytest.raises(NumberError, match="the record has 999 tokens, the plan 1000"):
        reduce.corpus_result(nll(999), PLAN, COUNTS, BOS)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_score(n):
    plan = Plan(n, 100, 40)
    result = reduce.corpus_result(nll(n) if n else np.zeros(0), plan, COUNTS, BOS[:n])
    assert result.bpc is result.bpc_full is result.nats is None
    assert "shorter than one window" in result.note


def test_average():
    assert reduce.average_bpc([0.5, 0.25]) == 0.375
    assert reduce.average_bpc([0.5, None]) is None
    assert reduce.average_bpc([]) is None
