"""Causal softmax attention over head-major arrays, exact, by more than one way of computing it.

Queries may be the last C of T positions: a layer whose other outputs nobody reads computes only
those. Axis legend: `decoder.py`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxbpc.models import kernels
from jaxbpc.models.dense import dot

_BLOCK_ROWS = 192


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
        may see: half the work and a fraction of the memory), or a kernel: 'splash' (TPU), 'cudnn'
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
    rows = C if kind == "xla" else _BLOCK_ROWS
    blocks = []
    for begin in range(0, C, rows):
        end = min(begin + rows, C)
        last = T - C + end  # one past the last key that the block sees
        first = 0
        if scores.window is not None:
            first = max(0, last - (end - begin) - scores.window + 1)
        bias_KGS = None
        if bias_NT is not None:
            # A softmax does not see a constant: relative to the nearest key, float32 is exact.
            near = bias_NT[:, first:last] - bias_NT[:, last - 1 : last]
            bias_KGS = jnp.asarray(near.reshape(K, N // K, last - first), jnp.float32)
        blocks.append(
            _attend_block(
                q_BKGCH[:, :, :, begin:end],
                k_BKTH[:, :, first:last],
                v_BKTH[:, :, first:last],
                scores,
                bias_KGS,
                None if sinks_N is None else sinks_N.reshape(K, N // K),
            )
        )
    return jnp.concatenate(blocks, axis=3).reshape(B, N, C, -1)


def _attend_block(q_BKGCH, k_BKSH, v_BKSH, how: Scores, bias_KGS, sinks_KG) -> jax.Array:
    """Attention of C rows of which the last sees all S keys (but those before its window)."""
    B, K, G, C, H = q_BKGCH.shape
    S = k_BKSH.shape[2]
    # One matrix [G·C, H] a key head: what a matmul library is fastest at.
    q_BKRH = q_BKGCH.reshape(B, K, G * C, H)
    scores = dot("bkrh,bksh->bkrs", q_BKRH, k_BKSH).reshape(B, K, G, C, S)
    if how.softcap is not None:
        scores = how.softcap * jnp.tanh(scores / how.softcap)
    if bias_KGS is not None:
        scores = scores + bias_KGS[:, :, None]
    distance = jnp.arange(C)[:, None] + (S - C) - jnp.arange(S)
    visible = distance >= 0
    if how.window is not None:
        visible &= distance < how.window
    scores = jnp.where(visible, scores, -jnp.inf)
    highest = jnp.max(scores, axis=-1, keepdims=True)
    if sinks_KG is not None:
        highest = jnp.maximum(highest, sinks_KG[:, :, None, None])
    weights = jnp.exp(scores - highest)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    if sinks_KG is not None:
        total = total + jnp.exp(sinks_KG[:, :, None, None] - highest)
    p_BKRS = weights.astype(q_BKGCH.dtype).reshape(B, K, G * C, S)
    out = dot("bkrs,bksh->bkrh", p_BKRS, v_BKSH).reshape(B, K, G, C, -1) / total
    return out.astype(q_BKGCH.dtype)
