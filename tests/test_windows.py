"""Gold windows, and the law that each token is scored at most once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxbpc.data.windows import Plan
from jaxbpc.errors import InputError


@pytest.mark.parametrize(
    ("n_tokens", "n_windows", "n_tail"),
    [(1900, 0, 1899), (1901, 1, 0), (2412, 1, 511), (2413, 2, 0), (100_000, 192, 307)],
)
def test_gold(n_tokens, n_windows, n_tail):
    plan = Plan(n_tokens, 1900, 512)
    assert (plan.n_windows, plan.n_tail) == (n_windows, n_tail)


def test_gold_scored():
    assert Plan(100_000, 1900, 512).n_scored == 99_692


@given(st.integers(0, 400), st.integers(1, 50), st.data())
def test_each_token_once(n_tokens, block_size, data):
    plan = Plan(n_tokens, block_size, data.draw(st.integers(1, block_size)))
    scored = []
    for i in range(plan.n_all_windows):
        window = plan.window(i)
        assert window.begin >= 0
        assert window.end <= n_tokens
        assert window.begin < window.first_scored
        assert 0 < window.n_scored <= plan.rows(i)
        scored += range(window.first_scored, window.end)
        if i + 1 == plan.n_windows:
            assert scored == list(range(1, 1 + plan.n_scored))
    assert scored == list(range(1, n_tokens)) if n_tokens > 1 else not scored


@pytest.mark.parametrize("stride", [0, 1901])
def test_bad_stride(stride):
    with pytest.raises(InputError, match=r"config\.window\.stride"):
        Plan(5000, 1900, stride)
