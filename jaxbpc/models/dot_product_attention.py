"""Causal softmax attention over head-major arrays, exact, by more than one way of computing it.

Queries may be the last C of T positions: a layer whose other outputs nobody reads computes only
those. Axis legend: `decoder.py`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxbpc.models import kernels, layers
from jaxbpc.models.layers import dot

# Queries, and keys, that a CPU takes at a time in a loop: their scores stay in a core's cache.
_LOOP_ROWS = 160
# The same of queries alone, otherwise.
_BLOCK_ROWS = 192
# XLA gives a CPU's products to a library (YNNPACK), which can compute a block in one loop from
# queries to outputs, scores in cache, where only sums, maxima and exponentials stand between its
# two products. So masks are added, and the weights' sum is a column of the second product. It
# would take in what converts keys and values too, and convert them anew for each tile, if they had
# but one reader: so each block's are read by two.
_N_PARTS = 2  # of a block's rows, each its own products
_TILE = 16  # columns that a CPU's matrix instructions take at a time


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is done to scores before the softmax: softcap, then bias and mask.

    window: a position sees itself and window - 1 before it; None: all before it.
    """

    softcap: float | None = None
    window: int | None = None


def attend(
    q_BNCH: jax.Array,
    k_BKTH: jax.Array,
    v_BKTH: jax.Array,
    scores: Scores,
    kind: str,
    bias_NT: np.ndarray | None = None,
    sinks_N: jax.Array | None = None,
) -> jax.Array:
    """Attention of the last C positions on all T before and with them.

    Args:
      q_BNCH, k_BKTH, v_BKTH: operands of one dtype, N a multiple of K; values may have another H.
        Queries are scaled already: a scale costs less there than on scores.
      kind: 'xla' (all scores at once), 'blocked' (blocks of queries, each with the keys that it
        may see: half the work and a fraction of the memory; a CPU takes those by blocks too,
        except with biases and where it multiplies bfloat16), or a kernel: 'splash' (TPU), 'cudnn'
        (NVIDIA GPU, where C = T: its causal mask is aligned at the top).
      bias_NT: float64, added to the scores of each key.
      sinks_N: float32, a score of each head that takes part in the softmax's sum alone.

    Returns:
      [B, N, C, H] in the operands' dtype; the softmax is float32.
    """
    B, N, C, H = q_BNCH.shape
    K, T = k_BKTH.shape[1:3]
    if kind == "splash":
        return kernels.splash(q_BNCH, k_BKTH, v_BKTH, scores.window, scores.softcap, sinks_N)
    if kind == "cudnn" and C == T:
        return kernels.cudnn(q_BNCH, k_BKTH, v_BKTH, scores.window)
    q_BKGCH = q_BNCH.reshape(B, K, N // K, C, H)
    sinks_KG = None if sinks_N is None else sinks_N.reshape(K, N // K)
    in_loop = functools.partial(_attend_in_loop, how=scores, sinks_KG=sinks_KG)
    in_blocks = functools.partial(
        _attend_in_blocks, how=scores, bias_NT=bias_NT, sinks_KG=sinks_KG, whole=kind == "xla"
    )
    operands = (q_BKGCH, k_BKTH, v_BKTH)
    # On CPUs that multiply bfloat16 the loop has not been measured.
    loops = bias_NT is None and not (q_BNCH.dtype == jnp.bfloat16 and layers.cpu_has_bfloat16())
    if kind == "blocked" and loops:
        out = jax.lax.platform_dependent(*operands, cpu=in_loop, default=in_blocks)
    else:
        out = in_blocks(*operands)
    return out.reshape(B, N, C, -1)


def _attend_in_loop(
    q_BKGCH: jax.Array,
    k_BKTH: jax.Array,
    v_BKTH: jax.Array,
    how: Scores,
    sinks_KG: jax.Array | None,
) -> jax.Array:
    """[B, K, G, C, H]: of each block of queries, one block of keys after the other.

    The softmax's maximum and sum are those of the keys until then (arXiv 2205.14135, algorithm 1).
    bfloat16 becomes float32 once, where each product would convert it again.
    """
    dtype = q_BKGCH.dtype
    q_BKGCH, k_BKTH, v_BKTH = (a.astype(jnp.float32) for a in (q_BKGCH, k_BKTH, v_BKTH))
    B, K, G, C, _ = q_BKGCH.shape
    T, H = v_BKTH.shape[2:]
    n_blocks = -(-T // _LOOP_ROWS)
    S = -(-T // (n_blocks * _TILE)) * _TILE
    # Blocks of queries stand where blocks of keys do: beside the C there are rows that are dropped.
    n_after = n_blocks * S - T  # no query sees keys there
    first, n_before = divmod(T - C, S)
    k_BKTH, v_BKTH = (_padded(a, 0, n_after) for a in (k_BKTH, v_BKTH))
    q = _padded(q_BKGCH, n_before, n_after)
    q = jnp.moveaxis(q.reshape(B, K, G, n_blocks - first, S, -1), 3, 0)
    q_nBKRH = q.reshape(n_blocks - first, B, K, G * S, -1)
    distance_SS = np.arange(S)[:, None] - np.arange(S)  # from a block's queries to its own keys
    top = jnp.full((B, K, G * S, 1), -jnp.inf, jnp.float32)
    total = jnp.zeros_like(top)
    if sinks_KG is not None:  # as keys seen before all others, of no value
        top = jnp.broadcast_to(jnp.repeat(sinks_KG, S, axis=1)[..., None], top.shape)
        total = jnp.ones_like(top)
    begin = (top, total, jnp.zeros((B, K, G * S, H), jnp.float32))

    def block_of(a_BKTH, j):
        return jax.lax.dynamic_slice_in_dim(a_BKTH, j * S, S, axis=2)

    def block(_, numbered):
        i, q_BKRH = numbered
        visible_SS = distance_SS >= 0
        if how.window is not None:
            visible_SS &= distance_SS < how.window
        # Its own keys first: each query sees one.
        k, v = block_of(k_BKTH, i), block_of(v_BKTH, i)
        state = _see(q_BKRH, k, v, visible_SS, how.softcap, begin)

        def before(j, state):
            near_SS = None if how.window is None else distance_SS + (i - j) * S < how.window
            k, v = block_of(k_BKTH, j), block_of(v_BKTH, j)
            return _see(q_BKRH, k, v, near_SS, how.softcap, state)

        oldest = 0 if how.window is None else jnp.maximum(0, (i * S - how.window + 1) // S)
        if n_blocks > 1:
            state = jax.lax.fori_loop(oldest, i, before, state)
        _, total, out = state
        return None, out / total

    _, out = jax.lax.scan(block, None, (jnp.arange(first, n_blocks), q_nBKRH))
    out = jnp.moveaxis(out.reshape(-1, B, K, G, S, H), 0, 3).reshape(B, K, G, -1, H)
    return out[..., n_before : n_before + C, :].astype(dtype)


def _see(q_BKRH, k_BKSH, v_BKSH, visible_SS, softcap: float | None, state):
    """The softmax's state, (maximum, sum, weighted values), after S keys more.

    visible_SS: which keys a query sees, the same for all heads; None: all.
    """
    top, total, out = state
    scores = dot("bkrh,bksh->bkrs", q_BKRH, k_BKSH)
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    if visible_SS is not None:
        mask_SS = jnp.where(visible_SS, 0.0, -jnp.inf).astype(jnp.float32)
        scores = scores + jnp.tile(mask_SS, (scores.shape[2] // len(mask_SS), 1))
    highest = jnp.maximum(top, jnp.max(scores, axis=-1, keepdims=True))
    weights, shrunk = jnp.exp(scores - highest), jnp.exp(top - highest)
    total = total * shrunk + jnp.sum(weights, axis=-1, keepdims=True)
    return highest, total, out * shrunk + dot("bkrs,bksh->bkrh", weights, v_BKSH)


def _padded(x: jax.Array, n_before: int, n_after: int) -> jax.Array:
    """[…, T, H] with rows of zeros before and after."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(n_before, n_after), (0, 0)])


def _attend_in_blocks(
    q_BKGCH: jax.Array,
    k_BKTH: jax.Array,
    v_BKTH: jax.Array,
    how: Scores,
    bias_NT: np.ndarray | None,
    sinks_KG: jax.Array | None,
    whole: bool,
) -> jax.Array:
    """[B, K, G, C, H]: each block of queries with the keys that it may see; whole: one block."""
    K, G, C = q_BKGCH.shape[1:4]
    T = k_BKTH.shape[2]
    rows, n_parts, weigh = (C, 1, _weigh) if whole else (_BLOCK_ROWS, _N_PARTS, _weigh_fast)
    outs = []
    for begin in range(0, C, rows):
        end = min(begin + rows, C)
        last = T - C + end  # one past the last key that the block sees
        first = 0
        if how.window is not None:
            first = max(0, last - (end - begin) - how.window + 1)
        bias_KGS = None
        if bias_NT is not None:
            # A softmax does not see a constant: relative to the nearest key, float32 is exact.
            near = bias_NT[:, first:last] - bias_NT[:, last - 1 : last]
            bias_KGS = jnp.asarray(near.reshape(K, G, last - first), jnp.float32)
        k_BKSH, v_BKSH = k_BKTH[:, :, first:last], v_BKTH[:, :, first:last]
        step = -(-(end - begin) // n_parts)
        for row in range(begin, end, step):
            q = q_BKGCH[:, :, :, row : min(row + step, end)]
            place = T - C + row - first
            outs.append(_attend_block(q, k_BKSH, v_BKSH, place, how, bias_KGS, sinks_KG, weigh))
    return jnp.concatenate(outs, axis=3)


def _attend_block(
    q_BKGCH, k_BKSH, v_BKSH, place: int, how: Scores, bias_KGS, sinks_KG, weigh
) -> jax.Array:
    """[B, K, G, C, H]: attention of C rows, the first at key `place`, on S keys: all they see.

    weigh: how weights become weighted values and their sums, `_weigh` or `_weigh_fast`.
    """
    B, K, G, C, H = q_BKGCH.shape
    S = k_BKSH.shape[2]
    # One matrix [G·C, H] a key head: what a matmul library is fastest at.
    q_BKRH = q_BKGCH.reshape(B, K, G * C, H)
    distance = jnp.arange(place, place + C)[:, None] - jnp.arange(S)
    visible = distance >= 0
    if how.window is not None:
        visible &= distance < how.window
    mask_CS = jnp.where(visible, 0.0, -jnp.inf).astype(jnp.float32)
    # Kept from being widened to all heads outside the loop, which XLA does to what layers share.
    q_BKRH, mask_CS = jax.lax.optimization_barrier((q_BKRH, mask_CS))
    scores = dot("bkrh,bksh->bkrs", q_BKRH, k_BKSH).reshape(B, K, G, C, S)
    if how.softcap is not None:
        scores = how.softcap * jnp.tanh(scores / how.softcap)
    if bias_KGS is not None:
        scores = scores + bias_KGS[:, :, None]
    scores = scores + mask_CS
    highest = jnp.max(scores, axis=-1, keepdims=True)
    if sinks_KG is not None:
        highest = jnp.maximum(highest, sinks_KG[:, :, None, None])
    weights = jnp.exp(scores - highest).reshape(B, K, G * C, S)
    out, total = weigh(weights, v_BKSH)
    out, total = (a.reshape(B, K, G, C, -1) for a in (out, total))
    if sinks_KG is not None:
        total = total + jnp.exp(sinks_KG[:, :, None, None] - highest)
    return (out / total).astype(q_BKGCH.dtype)


def _weigh(weights_BKRS: jax.Array, v_BKSH: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(values weighted, sums of weights): [B, K, R, H] and [B, K, R, 1], float32."""
    total = jnp.sum(weights_BKRS, axis=-1, keepdims=True)
    return dot("bkrs,bksh->bkrh", weights_BKRS.astype(v_BKSH.dtype), v_BKSH), total


def _weigh_and_sum(weights_BKRS: jax.Array, v_BKSH: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`_weigh` by one product, with columns of ones for the sums: no weights are kept.

    What is summed are the rounded weights, those that values are multiplied by.
    """
    H = v_BKSH.shape[-1]
    ones = jnp.ones((*v_BKSH.shape[:-1], _TILE), v_BKSH.dtype)
    values = jnp.concatenate([v_BKSH, ones], axis=-1)
    both = dot("bkrs,bksh->bkrh", weights_BKRS.astype(v_BKSH.dtype), values)
    return both[..., :H], both[..., H : H + 1]


def _weigh_fast(weights_BKRS: jax.Array, v_BKSH: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`_weigh` in the way that is fastest on the platform."""
    return jax.lax.platform_dependent(weights_BKRS, v_BKSH, cpu=_weigh_and_sum, default=_weigh)
