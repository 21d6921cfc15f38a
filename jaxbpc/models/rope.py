"""Rotary position embedding (arXiv 2104.09864) and its scalings, in float32.

Source: `modeling_rope_utils.py` of Hugging Face transformers.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxbpc.models.arch import Rope


def inverse_frequencies(rope: Rope, size: int, length: int) -> np.ndarray:
    """[size / 2] float32 angles a position, for `size` rotated dimensions and windows of `length`.

    'dynamic', 'steps' and 'longrope' depend on the length of what is read.
    """
    theta = rope.theta
    if rope.kind == "dynamic":
        length = max(length, rope.original_length)
        growth = rope.factor * length / rope.original_length - (rope.factor - 1)
        theta = theta * growth ** (size / (size - 2))
    if rope.kind == "steps":  # 1 up to the original length, 3 up to twice, 7 up to four times it
        growth = max(2 ** math.ceil(math.log2(length / rope.original_length) + 1) - 1, 1)
        theta = theta * growth ** (size / (size - 2))
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    if rope.kind == "linear":
        return frequencies / np.float32(rope.factor)
    if rope.kind == "llama3":
        return _llama3(rope, frequencies)
    if rope.kind == "yarn":
        return _yarn(rope, frequencies, size)
    if rope.kind == "longrope":
        factors = rope.long_factor if length > rope.original_length else rope.short_factor
        # One rounding less or more is 0.01 rad at position 131,072: as transformers rounds.
        return 1.0 / (np.asarray(factors, np.float32) * np.float32(theta) ** exponents)
    return frequencies


def _llama3(rope: Rope, frequencies: np.ndarray) -> np.ndarray:
    """Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended."""
    wavelength = 2 * math.pi / frequencies
    low = rope.original_length / rope.low_freq_factor
    high = rope.original_length / rope.high_freq_factor
    slowed = np.where(wavelength > low, frequencies / rope.factor, frequencies)
    smooth = (rope.original_length / wavelength - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    blended = (1 - smooth) * slowed / rope.factor + smooth * slowed
    between = (wavelength >= high) & (wavelength <= low)
    return np.where(between, blended, slowed).astype(np.float32)


def _yarn(rope: Rope, frequencies: np.ndarray, size: int) -> np.ndarray:
    """YaRN (arXiv 2309.00071): a ramp over dimensions from kept to slowed by `factor`."""

    def dimension(n_rotations: float) -> float:
        ratio = rope.original_length / (n_rotations * 2 * math.pi)
        return size * math.log(ratio) / (2 * math.log(rope.theta))

    low, high = dimension(rope.beta_fast), dimension(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    high = high + 0.001 if high == low else high
    ramp = np.clip((np.arange(size // 2, dtype=np.float32) - low) / (high - low), 0, 1)
    return (frequencies / rope.factor * ramp + frequencies * (1 - ramp)).astype(np.float32)


@functools.lru_cache(maxsize=64)
def tables(rope: Rope, size: int, length: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(cos, sin), [n, size / 2] float32 each, for positions 0 … n - 1 of a window of `length`.

    The angles are products of float32 numbers, as transformers computes them.
    """
    frequencies = inverse_frequencies(rope, size, length)
    angles = np.arange(n, dtype=np.float32)[:, None] * frequencies
    factor = np.float32(rope.attention_factor)
    return np.cos(angles) * factor, np.sin(angles) * factor


def rotate(x_BNTH: jax.Array, rope: Rope | None, length: int, first: int = 0) -> jax.Array:
    """Turns pairs of the last axis by their position's angle; float32.

    Pairs (i, i + size/2), or (2i, 2i + 1) where interleaved; these come out as (i, i + size/2):
    queries and keys in the same order have the same products. Dimensions beyond the rotated ones
    stay.

    Args:
      x_BNTH: positions `first` … of a window of `length`, and padding after them.
    """
    if rope is None:
        return x_BNTH
    size = rope.size or int(x_BNTH.shape[-1] * rope.share)
    both = tables(rope, size, length, first + x_BNTH.shape[-2])
    cos, sin = (jnp.asarray(table[first:]) for table in both)
    turned, rest = x_BNTH[..., :size], x_BNTH[..., size:]
    if rope.interleaved:
        one, two = turned[..., 0::2], turned[..., 1::2]
    else:
        one, two = jnp.split(turned, 2, axis=-1)
    return jnp.concatenate([one * cos - two * sin, two * cos + one * sin, rest], axis=-1)
