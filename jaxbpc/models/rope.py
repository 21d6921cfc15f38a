"""Rotary position embedding (arXiv 2104.09864) and its scalings, in float32.

Source: `modeling_rope_utils.py` of Hugging Face transformers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxbpc.models.arch import Rope


def inverse_frequencies(rope: Rope, head_size: int) -> np.ndarray:
    """[head_size / 2] float32 angles a position, scaled as `rope` says."""
    exponents = np.arange(0, head_size, 2, dtype=np.float32) / np.float32(head_size)
    frequencies = (1.0 / np.float32(rope.theta) ** exponents).astype(np.float32)
    if rope.kind == "linear":
        return frequencies / np.float32(rope.factor)
    if rope.kind == "llama3":
        return _llama3(rope, frequencies)
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


def tables(rope: Rope, head_size: int, length: int) -> tuple[jax.Array, jax.Array]:
    """(cos, sin), [length, head_size] float32 each, for positions 0 … length - 1.

    The angles are products of float32 numbers, as transformers computes them.
    """
    frequencies = inverse_frequencies(rope, head_size)
    angles = np.arange(length, dtype=np.float32)[:, None] * frequencies
    angles = np.concatenate([angles, angles], axis=-1)
    return jnp.asarray(np.cos(angles)), jnp.asarray(np.sin(angles))


def rotate(x_BNTH: jax.Array, cos_TH: jax.Array, sin_TH: jax.Array) -> jax.Array:
    """Turns each pair (i, i + H/2) of the last axis by its position's angle; float32."""
    first, second = jnp.split(x_BNTH, 2, axis=-1)
    return x_BNTH * cos_TH + jnp.concatenate([-second, first], axis=-1) * sin_TH
