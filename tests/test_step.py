"""The step's reduction of logits to nats, and the memory of a process that runs steps."""

import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbpc.evaluation import step
from jaxbpc.models.lm_head import Head
from jaxbpc.parallel import sharding

B, C, D = 2, 40, 48
pytestmark = pytest.mark.optimized


def case(V: int, dtype: str, **fields):
    """(hidden states, head, targets, nats in float64)."""
    rng = np.random.default_rng(V)
    h = jnp.asarray(0.5 * rng.standard_normal((B, C, D)), dtype)
    weight = jnp.asarray(rng.standard_normal((V, D)), dtype)
    targets = rng.integers(0, V, (B, C)).astype(np.int32)
    bias = fields.get("bias_V")
    w = np.asarray(weight, np.float64)
    if fields.get("normalized"):
        w /= np.linalg.norm(w, axis=-1, keepdims=True)
    logits = np.asarray(h, np.float64) @ w.T
    logits = (logits + (0 if bias is None else np.asarray(bias, np.float64))) * fields.get(
        "scale", 1.0
    )
    if cap := fields.get("softcap"):
        logits = cap * np.tanh(logits / cap)
    highest = logits.max(-1)
    total = np.log(np.exp(logits - highest[..., None]).sum(-1))
    want = highest + total - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return h, Head(weight, **fields), jnp.asarray(targets), want


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("V", [300, 2 * 4096, 2 * 4096 + 77])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scale": 0.25, "softcap": 5.0},
        {"normalized": True, "scale": 3.0},
    ],
    ids=["plain", "capped", "normalized"],
)
def test_nll_is_that_of_float64(platform, dtype, V, fields):
    h, head, targets, want = case(V, dtype, **fields)
    got = step.nll(h, head, targets, platform)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-6)
    assert np.mean(got - want) == pytest.approx(0, abs=1e-6)


def test_no_copy_of_a_bfloat16_head_is_made():
    """A float32 one would be: 33 MB here, a gigabyte for a large vocabulary."""
    V, D, C = 1 << 17, 64, 512
    h = jax.ShapeDtypeStruct((1, C, D), jnp.float32)
    weight = jax.ShapeDtypeStruct((V, D), jnp.bfloat16)
    targets = jax.ShapeDtypeStruct((1, C), jnp.int32)
    nll = jax.jit(lambda h, weight, targets: step.nll(h, Head(weight), targets, "cpu"))
    compiled = nll.lower(h, weight, targets).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < V * D * 4 / 2


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_ids_that_a_bias_rules_out(platform):
    """All of the first block, where blocks are of the vocabulary, and some of the second."""
    bias = np.zeros(4096 + 200, np.float32)
    bias[:4150] = -np.inf
    h, head, targets, want = case(len(bias), "float32", bias_V=jnp.asarray(bias))
    seen = np.asarray(targets) >= 4150
    got = np.asarray(step.nll(h, head, targets, platform))
    assert 0 < seen.sum() < seen.size
    np.testing.assert_allclose(got[seen], want[seen], rtol=0, atol=4e-6)
    assert np.isposinf(got[~seen]).all()


@pytest.mark.parametrize("V", [300, 2 * 4096])
def test_certain_tokens(V):
    """p is never more than 1, whatever the rounding of logits of some hundreds."""
    h, head, _, _ = case(V, "float32", scale=100.0)
    targets = jnp.argmax(head.logits(h), axis=-1).astype(jnp.int32)
    got = np.asarray(step.nll(h, head, targets, "cpu"))
    assert (got >= 0).all()
    assert (got < 1e-3).any()


def test_a_loss_that_is_no_number_is_told():
    h, head, targets, _ = case(300, "float32")
    got = np.asarray(step.nll(h.at[0, 3, 0].set(jnp.nan), head, targets, "cpu"))
    assert np.isnan(got[0, 3])
    assert np.isnan(got).sum() == 1


def test_steps_run_at_the_same_time():
    """Each of two waits for the other; values come in the order of dispatch."""
    both = threading.Barrier(2)

    def meeting(i):
        both.wait(60)
        return jnp.full(3, i)

    with step.dispatcher(2) as dispatch:
        waiting = [dispatch(meeting, i) for i in range(6)]
        assert [int(values_of()[0]) for values_of in waiting] == list(range(6))


def test_a_step_that_fails_is_told_where_it_is_fetched():
    def fails(i):
        if i == 1:
            raise MemoryError("no room")
        return jnp.full(3, i)

    with step.dispatcher(2) as dispatch:
        first, second, third = [dispatch(fails, i) for i in range(3)]
        with pytest.raises(MemoryError, match="no room"):
            second()
        assert (first()[0], third()[0]) == (0, 2)


def test_values_do_not_depend_on_what_runs_beside():
    h, head, targets, _ = case(2 * 4096, "float32")
    mesh = sharding.make_mesh((1, 1, 1), jax.devices()[:1])
    whole = step.Step(
        lambda h, ids, rows: h[:, -rows:] * ids[0, 0].astype(h.dtype), lambda _: head, mesh
    )
    compiled = whole.compile(h, (B, C), C)
    scales = [np.full((B, C), i, np.int32) for i in range(20)]
    values = []
    for at_once in (1, 2):
        with step.dispatcher(at_once) as dispatch:
            waiting = [dispatch(compiled, h, scale, np.asarray(targets)) for scale in scales]
            values.append(np.stack([values_of() for values_of in waiting]))
    np.testing.assert_array_equal(*values)


_FAULTS = """
import ctypes, pathlib, resource
import jax, jax.numpy as jnp
from jaxbpc.evaluation import step
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def faults():
    '''Page faults of ten uses of 8 MiB.'''
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        at = libc.malloc(2**23)
        ctypes.memset(at, 1, 2**23)
        libc.free(at)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def resident_mib():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
print(faults())
small = [libc.malloc(2**16) for _ in range(640)]
for at in small:
    ctypes.memset(at, 1, 2**16)
for at in small[:-1]:  # the last one keeps the others from the heap's top
    libc.free(at)
held = resident_mib()
step.keep_freed_memory([])
print(held - resident_mib())
faults()
print(faults())
held = resident_mib()
at = libc.malloc(2**26)
ctypes.memset(at, 1, 2**26)
libc.free(at)
print(resident_mib() - held)
x = jnp.zeros(2**20)
small_step = jax.jit(lambda x: jnp.sort(x) * jnp.sort(-x)).lower(x).compile()
buffer = small_step.memory_analysis().temp_size_in_bytes
assert 2**21 < buffer < 2**24, buffer
step.keep_freed_memory([small_step])
held = resident_mib()
several = [libc.malloc(buffer) for _ in range(2**27 // buffer)]  # more than is free
for at in several:
    ctypes.memset(at, 1, buffer)
for at in several:
    libc.free(at)
print(resident_mib() - held)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_memory_is_kept():
    ran = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True)
    assert not ran.returncode, ran.stderr
    before, given_back_mib, after, *growth_mib = map(float, ran.stdout.split())
    assert before > 100
    assert after < before / 10
    assert given_back_mib > 30  # of 40 that were freed before
    assert growth_mib[0] < 1  # a large buffer is not kept
    assert growth_mib[1] < 64  # nor are those of 4 MiB, where that is a step's: they have 128
