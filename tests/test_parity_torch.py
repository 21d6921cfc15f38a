"""The models of `test_parity.py` against torch itself: all tokens, and the golden values too.

For families whose code is another than when their golden values were written: elsewhere that
comparison stands in `golden/`. `python tests/oracle.py CASE` writes them again.
"""

import cases
import numpy as np
import oracle
import pytest
from test_parity import ONE, scored

pytest.importorskip("torch", reason="the live oracle: pip install '.[parity]'")
pytestmark = pytest.mark.long
STATES = oracle.golden_states()
CHANGED = [
    name for name, (kind, _) in cases.CASES.items() if STATES.get(name) != oracle.state(kind)
]


@pytest.mark.parametrize("case", CHANGED)
def test_parity(case, tmp_path):
    oracle.make(case, tmp_path)
    n = cases.n_tokens(case)
    want = oracle.nll(tmp_path, cases.ids(n))
    np.testing.assert_allclose(oracle.thin(want), oracle.golden(case)["nll"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(scored(tmp_path, ONE, n=n), want, rtol=0, atol=2e-5)


def test_the_oracle_gives_the_golden_values(tmp_path):
    """Also where no code has changed: torch and transformers may have."""
    for case in ("llama-gqa", "deepseek_v2", "gemma2"):
        oracle.make(case, tmp_path / case)
        want = oracle.nll(tmp_path / case, cases.ids(cases.n_tokens(case)))
        np.testing.assert_allclose(oracle.thin(want), oracle.golden(case)["nll"], rtol=0, atol=2e-6)
