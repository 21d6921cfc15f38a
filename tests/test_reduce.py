"""Sums are exact, counts are checked, the division is done once."""

import math

import numpy as np
import pytest

from jaxbpc.analysis import metrics
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
    assert metrics.total_nats(values) == pytest.approx(want, rel=1e-15)


def test_closed_form():
    values = nll()
    result = metrics.corpus_result(values, PLAN, COUNTS, BOS, 256)
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


def test_subsets():
    """Of 4 documents, one without tokens: sums by a loop over the tokens."""
    values = nll()
    documents = np.array(
        [
            [0, 300, 310, 0, -1, 1],
            [300, 250, 250, 1, -1, 0],
            [700, 1, 1, 2, -1, 1],
            [700, 349, 439, 4, -1, -1],
        ]
    )
    found = metrics.by_subset(values, PLAN, documents, ["a", "b"])
    ends = {"b": [(0, 300)], "a": [(300, 700)], "(none)": [(700, 1000)]}
    assert {n: s["characters"] for n, s in found.items()} == {"a": 250, "b": 301, "(none)": 349}
    assert {n: s["documents"] for n, s in found.items()} == {"a": 1, "b": 2, "(none)": 1}
    assert {n: s["tokens"] for n, s in found.items()} == {"a": 400, "b": 300, "(none)": 300}
    for name, parts in ends.items():
        tokens = [t for begin, end in parts for t in range(max(begin, 1), end)]
        full = math.fsum(float(values[t]) for t in tokens)
        nats = math.fsum(float(values[t]) for t in tokens if t <= PLAN.n_scored)
        assert found[name]["nats_full"] == pytest.approx(full, rel=1e-14)
        assert found[name]["nats"] == pytest.approx(nats, rel=1e-14)
        want = full / (found[name]["characters"] * math.log(2))
        assert found[name]["bpc_full"] == pytest.approx(want, rel=1e-14)
    whole = metrics.corpus_result(values, PLAN, COUNTS, BOS, 256, subsets=found)
    assert math.fsum(s["nats"] for s in found.values()) == pytest.approx(whole.nats, rel=1e-14)
    assert metrics.by_subset(values, PLAN, documents, []) is None
    # The last 19 tokens, 981 and on, are the tail.
    documents[-1, 0] = 980
    found = metrics.by_subset(values, PLAN, documents, ["a", "b"])
    assert found["(none)"]["bpc"] is not None
    documents[-1, 0] = 981
    found = metrics.by_subset(values, PLAN, documents, ["a", "b"])
    assert (found["(none)"]["nats"], found["(none)"]["bpc"]) == (0, None)
    assert found["(none)"]["bpc_full"] > 0


def test_weighted_by_characters():
    one = metrics.corpus_result(nll(), PLAN, COUNTS, BOS, 256)
    other = metrics.corpus_result(2 * nll(), PLAN, COUNTS | {"characters": 100}, BOS, 256)
    want = 3 * one.nats / (1000 * math.log(2))
    assert metrics.weighted_bpc([one, other]) == pytest.approx(want, rel=1e-14)
    short = metrics.corpus_result(nll(20), Plan(20, 100, 40), COUNTS, BOS[:1], 256)
    assert metrics.weighted_bpc([one, short]) is None


@pytest.mark.parametrize(("position", "value"), [(7, np.nan), (999, np.inf), (0, 1.0)])
def test_a_count_that_differs_is_no_number(position, value):
    values = nll()
    values[position] = value
    with pytest.raises(NumberError, match="planned tokens"):
        metrics.corpus_result(values, PLAN, COUNTS, BOS, 256)


def test_another_length_is_no_number():
    with pytest.raises(NumberError, match="the record has 999 tokens, the plan 1000"):
        metrics.corpus_result(nll(999), PLAN, COUNTS, BOS, 256)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_score(n):
    plan = Plan(n, 100, 40)
    result = metrics.corpus_result(nll(n) if n else np.zeros(0), plan, COUNTS, BOS[:n], 256)
    assert result.bpc is result.bpc_full is result.nats is None
    assert "shorter than one window" in result.note


@pytest.mark.parametrize(
    ("mean", "vocab_size", "word"),
    [
        (math.log(256), 256, "no better than a model's that knows nothing"),
        (30.0, 50_000, "(ln 50000 = 10.82)"),
        (1e-3, 256, "next to nothing"),
        (5.0, 256, None),
        (0.05, 256, None),
    ],
)
def test_a_loss_far_from_anything_is_noted(mean, vocab_size, word):
    values = np.full(1000, mean, np.float32)
    values[0] = np.nan
    note = metrics.corpus_result(values, PLAN, COUNTS, BOS, vocab_size).note
    assert note is None if word is None else word in note


def test_a_text_that_the_tokenizer_changes_is_noted():
    audit = {
        "documents_not_restored": 2,
        "first_row_not_restored": 7,
        "unknown_tokens": 5,
        "first_row_unknown": 8,
    }
    result = metrics.corpus_result(nll(), PLAN, COUNTS, BOS, 256, audit)
    assert "2 of 3 documents do not come back from their tokens, row 7" in result.note
    assert "5 tokens stand for text that the tokenizer does not know, row 8" in result.note
    assert result.audit == audit


def test_average():
    assert metrics.average_bpc([0.5, 0.25]) == 0.375
    assert metrics.average_bpc([0.5, None]) is None
    assert metrics.average_bpc([]) is None
