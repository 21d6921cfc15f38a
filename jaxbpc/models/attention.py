"""Causal attention over head-major arrays, exact, by more than one way of computing it.

Queries may be the last C of T positions: a layer whose other outputs nobody reads computes only
those. Axis legend: `decoder.py`.
"""

import jax
import jax.numpy as jnp

_BLOCK_ROWS = 256


def attend(
    q_BNCH: jax.Array, k_BKTH: jax.Array, v_BKTH: jax.Array, scale: float, kind: str
) -> jax.Array:
    """Softmax attention of the last C positions on all T before and with them.

    Args:
      q_BNCH, k_BKTH, v_BKTH: operands of one dtype, N a multiple of K.
      scale: multiplies the scores.
      kind: 'xla' (all scores at once) or 'blocked' (blocks of queries, each with the keys that it
        may see: half the work and a fraction of the memory).

    Returns:
      [B, N, C, H] in the operands' dtype; the softmax is float32.
    """
    B, N, C, H = q_BNCH.shape
    K, T = k_BKTH.shape[1:3]
    q_BKGCH = q_BNCH.reshape(B, K, N // K, C, H)
    rows = _BLOCK_ROWS if kind == "blocked" else C
    blocks = []
    for begin in range(0, C, rows):
        end = min(begin + rows, C)
        seen = T - C + end  # keys that the block's last row sees
        blocks.append(
            _attend_block(
                q_BKGCH[:, :, :, begin:end], k_BKTH[:, :, :seen], v_BKTH[:, :, :seen], scale
            )
        )
    return jnp.concatenate(blocks, axis=3).reshape(B, N, C, H)


def _attend_block(q_BKGCH: jax.Array, k_BKSH: jax.Array, v_BKSH: jax.Array, scale: float):
    """Attention of C rows of which the last sees all S keys."""
    B, K, G, C, H = q_BKGCH.shape
    S = k_BKSH.shape[2]
    # One matrix [G·C, H] a key head: what a matmul library is fastest at.
    q_BKRH = q_BKGCH.reshape(B, K, G * C, H)
    scores = dot("bkrh,bksh->bkrs", q_BKRH, k_BKSH).reshape(B, K, G, C, S) * scale
    visible = jnp.arange(S) <= jnp.arange(C)[:, None] + (S - C)
    scores = jnp.where(visible, scores, -jnp.inf)
    scores = scores - jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    p_BKRS = weights.astype(q_BKGCH.dtype).reshape(B, K, G * C, S)
    out = dot("bkrs,bksh->bkrh", p_BKRS, v_BKSH).reshape(B, K, G, C, H) / total
    return out.astype(q_BKGCH.dtype)


def dot(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """einsum of operands of one dtype with float32 accumulation and result.

    float32 operands are multiplied as float32 on every backend (a TPU would round them to
    bfloat16, a GPU to TF32).
    """
    precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)
