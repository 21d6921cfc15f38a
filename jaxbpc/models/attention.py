"""Attention layers: grouped queries (arXiv 2305.13245) and latent (arXiv 2405.04434).

Both compute queries for the last rows only where nobody reads the others. Axis legend:
`decoder.py`; the softmax itself: `dot_product_attention.py`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbpc.models import rope
from jaxbpc.models.arch import Arch, Layer
from jaxbpc.models.dot_product_attention import Scores, attend
from jaxbpc.models.layers import Linear, Norm, param
from jaxbpc.parallel.sharding import constrain


@dataclasses.dataclass(frozen=True)
class Window:
    """What attention knows of the windows beside their hidden states.

    length: of the real tokens; the arrays may have padding after them, which nothing sees.
    bias_NT: float64, added to the scores of each key; None: nothing is.
    """

    length: int
    bias_NT: np.ndarray | None = None


class GroupedAttention(nnx.Module):
    """Every n_heads / n_kv_heads query heads share a key and a value."""

    def __init__(self, arch: Arch, layer: Layer, dtype, kind: str):
        a, d = arch.attention, arch.embed
        n, k, h = a.n_heads, a.n_kv_heads, a.head_size
        self.query = Linear("heads", n * h, "embed", d, a.bias, dtype)
        self.key = Linear("kv_heads", k * h, "embed", d, a.bias, dtype)
        self.value = Linear("kv_heads", k * h, "embed", d, a.bias, dtype)
        self.out = Linear("embed", d, "heads", n * h, a.out_bias, dtype)
        shapes: dict[str, tuple] = {
            "head": ((h,), (h,)),
            "heads": ((n, h), (k, h)),
            "all": ((n * h,), (k * h,)),
        }
        of_query, of_key = shapes[a.norm_over]
        self.query_norm = Norm(of_query, a.norm, dtype) if a.norm else None
        self.key_norm = Norm(of_key, a.norm, dtype) if a.norm else None
        self.sinks = param((n,), dtype, "heads") if a.sinks else None
        self.config, self.rope, self.kind, self.dtype = a, layer.rope, kind, dtype
        self.scale = a.scale * layer.scale
        self.scores = Scores(a.softcap, layer.window)

    def __call__(self, x_BTD: jax.Array, n_rows: int, window: Window) -> jax.Array:
        """[B, n_rows, D] for the last `n_rows` positions."""
        first = x_BTD.shape[1] - n_rows
        q_BNCH = self._heads(self.query, self.query_norm, x_BTD[:, first:])
        k_BKTH = self._heads(self.key, self.key_norm, x_BTD)
        v_BKTH = self._heads(self.value, None, x_BTD)
        q_BNCH = rope.rotate(q_BNCH, self.rope, window.length, first)
        k_BKTH = rope.rotate(k_BKTH, self.rope, window.length)
        if self.config.log_length is not None and x_BTD.shape[1] > self.config.log_length:
            q_BNCH = q_BNCH * log_growth(self.config.log_length, first, x_BTD.shape[1])[:, None]
        operands = (q_BNCH * self.scale, k_BKTH, v_BKTH)
        q_BNCH, k_BKTH, v_BKTH = (a.astype(self.dtype) for a in operands)
        q_BNCH = constrain(q_BNCH, "batch", "heads", None, None)
        sinks = None if self.sinks is None else self.sinks[...].astype(jnp.float32)
        o_BNCH = attend(q_BNCH, k_BKTH, v_BKTH, self.scores, self.kind, window.bias_NT, sinks)
        return self.out(merge_heads(o_BNCH))

    def _heads(self, project: Linear, norm: Norm | None, x: jax.Array) -> jax.Array:
        """[B, T, D] → [B, heads, T, H], projected, clipped and normed."""
        y = project(x)
        if self.config.clip is not None:
            y = jnp.clip(y, -self.config.clip, self.config.clip)
        if norm is not None and self.config.norm_over == "all":
            return split_heads(norm(y), self.config.head_size)
        y = split_heads(y, self.config.head_size)
        return y if norm is None else norm(y)


class LatentAttention(nnx.Module):
    """Keys and values come from one compressed state; positions from a small shared key."""

    def __init__(self, arch: Arch, layer: Layer, dtype, kind: str):
        a, d = arch.attention, arch.embed
        c, n = a.latent, a.n_heads
        assert c is not None
        n_query = n * (c.plain_size + c.rope_size)
        rank = c.query_rank
        self.query_down = Linear(None, rank, "embed", d, a.bias, dtype) if rank else None
        self.query_norm = Norm((rank,), c.norm, dtype) if rank else None
        # Matrices of compressed states are split by them as others are by the model's dimension.
        self.query = Linear("heads", n_query, "embed", rank or d, False, dtype)
        self.kv_down = Linear(None, c.kv_rank + c.rope_size, "embed", d, a.bias, dtype)
        self.kv_norm = Norm((c.kv_rank,), c.norm, dtype)
        n_kv = n * (c.plain_size + c.value_size)
        self.kv = Linear("heads", n_kv, "embed", c.kv_rank, False, dtype)
        self.out = Linear("embed", d, "heads", n * c.value_size, a.out_bias, dtype)
        self.latent, self.rope, self.kind, self.dtype = c, layer.rope, kind, dtype
        self.scale = a.scale * layer.scale
        self.scores = Scores(a.softcap, layer.window)

    def __call__(self, x_BTD: jax.Array, n_rows: int, window: Window) -> jax.Array:
        """[B, n_rows, D] for the last `n_rows` positions."""
        c, T = self.latent, x_BTD.shape[1]
        x_BCD = x_BTD[:, T - n_rows :]
        if self.query_down is not None and self.query_norm is not None:
            x_BCD = self.query_norm(self.query_down(x_BCD))
        q_BNCH = split_heads(self.query(x_BCD), c.plain_size + c.rope_size)
        down = self.kv_down(x_BTD)
        k_rope_B1TH = rope.rotate(down[:, None, :, c.kv_rank :], self.rope, window.length)
        kv = split_heads(self.kv(self.kv_norm(down[..., : c.kv_rank])), c.plain_size + c.value_size)
        k_plain, v_BNTH = kv[..., : c.plain_size], kv[..., c.plain_size :]
        q_rope = rope.rotate(q_BNCH[..., c.plain_size :], self.rope, window.length, T - n_rows)
        q_BNCH = jnp.concatenate([q_BNCH[..., : c.plain_size], q_rope], axis=-1)
        k_rope = jnp.broadcast_to(k_rope_B1TH, (*k_plain.shape[:-1], c.rope_size))
        k_BNTH = jnp.concatenate([k_plain, k_rope], axis=-1)
        operands = (q_BNCH * self.scale, k_BNTH, v_BNTH)
        q_BNCH, k_BNTH, v_BNTH = (a.astype(self.dtype) for a in operands)
        q_BNCH = constrain(q_BNCH, "batch", "heads", None, None)
        return self.out(
            merge_heads(attend(q_BNCH, k_BNTH, v_BNTH, self.scores, self.kind, window.bias_NT))
        )


def log_growth(length: int, first: int, end: int) -> np.ndarray:
    """What `arch.Attention.log_length` multiplies the queries at `first` … `end` - 1 by."""
    n_seen = np.arange(first + 1, end + 1)
    return np.maximum(np.log(n_seen) / np.log(length), 1.0).astype(np.float32)


def split_heads(x: jax.Array, head_size: int) -> jax.Array:
    """[B, T, N·H] → [B, N, T, H]."""
    B, T, _ = x.shape
    return x.reshape(B, T, -1, head_size).transpose(0, 2, 1, 3)


def merge_heads(x: jax.Array) -> jax.Array:
    """[B, N, T, H] → [B, T, N·H]."""
    B, N, T, H = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, N * H)
