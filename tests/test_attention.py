"""Ways of computing attention against a plain float64 one: masks, windows, caps, sinks, ALiBi."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbpc.models import kernels, layers
from jaxbpc.models.dot_product_attention import Scores
from jaxbpc.models.dot_product_attention import attend as attend_eagerly

pytestmark = pytest.mark.optimized


def plain(q, k, v, scores, bias=None, sinks=None):
    """float64 numpy, with all scores at once: out of softmax(cap(q k) + bias), or 1 for a sink."""
    (_, N, C, _), (K, T) = q.shape, k.shape[1:3]
    k, v = (np.repeat(a, N // K, axis=1) for a in (k, v))
    s = q @ k.swapaxes(2, 3)
    if scores.softcap:
        s = scores.softcap * np.tanh(s / scores.softcap)
    if bias is not None:
        s = s + bias[:, None, :]
    behind = np.arange(T - C, T)[:, None] - np.arange(T)  # a query's place less a key's
    seen = (behind >= 0) & (behind < (scores.window or T))
    s = np.where(seen, s, -np.inf)
    if sinks is not None:
        s = np.concatenate([s, np.broadcast_to(sinks[:, None, None], (*s.shape[:3], 1))], axis=-1)
    w = np.exp(s - s.max(-1, keepdims=True))
    w /= w.sum(-1, keepdims=True)
    return w[..., :T] @ v


def attend(q, k, v, scores, kind, sinks_N=None, bias_NT=None):
    """The product's, compiled as a whole."""
    how = functools.partial(attend_eagerly, scores=scores, kind=kind, bias_NT=bias_NT)
    return jax.jit(how)(q, k, v, sinks_N=sinks_N)


def operands(N, K, C, T, H=16, H_v=16, dtype=np.float32):
    random = np.random.RandomState(0)
    shapes = (2, N, C, H), (2, K, T, H), (2, K, T, H_v)
    q, k, v = (random.standard_normal(s) for s in shapes)
    return [jnp.asarray(a, dtype) for a in (q * H**-0.5, k, v)]


CASES = {
    "causal": Scores(),
    "window": Scores(window=70),
    "softcap": Scores(softcap=1.5),
    "window-softcap": Scores(softcap=2.0, window=200),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["xla", "blocked"])
@pytest.mark.parametrize("C", [300, 193, 40])
def test_exact(kind, case, C):
    q, k, v = operands(4, 2, C, 300, H_v=8)
    sinks = np.array([0.5, -1.0, 3.0, 0.0])
    bias = np.arange(300) * np.array([0.5, 0.1, 0.02, 0.0])[:, None]
    for extra in [{}, {"sinks": sinks}, {"bias": bias}][: 3 if C == 193 else 1]:
        given = {"sinks_N": jnp.asarray(sinks, np.float32)} if "sinks" in extra else {}
        given |= {"bias_NT": bias} if "bias" in extra else {}
        got = attend(q, k, v, CASES[case], kind, **given)
        want = plain(*(np.asarray(a, np.float64) for a in (q, k, v)), CASES[case], **extra)
        # Scores with biases reach 150, where float32 numbers are 1.5e-5 apart.
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 if "bias" in extra else 2e-6)


@pytest.mark.parametrize("case", CASES)
def test_exact_over_many_blocks(case):
    """Of seven blocks of keys, queries see all that are before them, or those in their window."""
    q, k, v = operands(2, 1, 500, 1000)
    sinks = np.array([0.5, 3.0])
    got = attend(q, k, v, CASES[case], "blocked", sinks_N=jnp.asarray(sinks, np.float32))
    want = plain(*(np.asarray(a, np.float64) for a in (q, k, v)), CASES[case], sinks=sinks)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)


# Each two values of two columns stand together in a row.
@pytest.mark.smoke
@pytest.mark.parametrize(
    ("case", "C", "n_kv_heads", "has_sinks"),
    [
        ("causal", 256, 1, False),
        ("causal", 128, 2, True),
        ("window", 256, 2, True),
        ("window", 128, 1, False),
        ("softcap", 256, 1, True),
        ("softcap", 128, 2, False),
        ("window-softcap", 256, 2, False),
        ("window-softcap", 128, 1, True),
    ],
)
def test_splash(case, C, n_kv_heads, has_sinks):
    """The TPU's kernel, interpreted, differs from exact attention by rounding alone."""
    how = CASES[case]
    q, k, v = operands(2, n_kv_heads, C, 256, H=32, H_v=32)
    sinks = jnp.asarray([0.5, 2.0], jnp.float32) if has_sinks else None
    got = kernels.splash(q, k, v, how.window, how.softcap, sinks, interpret=True)
    want = attend(q, k, v, how, "xla", sinks_N=sinks)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.smoke
def test_splash_on_a_mesh():
    """Each device runs the kernel on its own heads, also where key heads are fewer."""
    auto = (jax.sharding.AxisType.Auto,) * 3
    mesh = jax.make_mesh((2, 1, 4), ("data", "fsdp", "tensor"), axis_types=auto)
    for n_kv_heads in (1, 2, 4):
        q, k, v = operands(4, n_kv_heads, 128, 256, H=32, H_v=32)
        want = attend(q, k, v, Scores(), "xla")
        with jax.set_mesh(mesh):
            got = jax.jit(lambda *a: kernels.splash(*a, window=None, softcap=None, interpret=True))(
                q, k, v
            )
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("own", [True, False])
def test_bfloat16_differs_by_its_rounding(own, monkeypatch):
    """Both on a CPU that multiplies bfloat16 and on one that converts it."""
    monkeypatch.setattr(layers, "cpu_has_bfloat16", lambda: own)
    exact = operands(4, 2, 300, 300)
    low = [a.astype(jnp.bfloat16) for a in exact]
    got = attend(*low, Scores(), "blocked").astype(np.float32)
    want = attend(*(a.astype(np.float32) for a in low), Scores(), "xla")
    # Weights and outputs are rounded to 8 bits once each.
    np.testing.assert_allclose(got, want, rtol=2**-7, atol=2**-8)
