"""Weights in eight and four bits, as published: which are known, and what numbers they stand for.

float8 (DeepSeek-V3, arXiv 2412.19437): NAME is e4m3, NAME_scale_inv has a factor for each block of
128 × 128. MXFP4 (gpt-oss; OCP Microscaling Formats, v1.0): NAME_blocks has two e2m1 numbers a byte,
the lower four bits first, [..., rows, groups, 16]; NAME_scales an exponent of 2 for each group,
127 for 1. Both are multiplied out as they are loaded; activations are never quantised.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxbpc.errors import InputError
from jaxbpc.models.hf_config import Fields

BLOCKS, SCALES, SCALE_INV = "_blocks", "_scales", "_scale_inv"
_SIDE = 128  # rows and columns of float8 with one scale
_GROUP = 32  # numbers of MXFP4 with one exponent
_E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]

Shape = tuple[int, ...]


def check(config: Mapping[str, Any], where: str, packed: bool) -> None:
    """Refuses a `quantization_config` that is not one of these.

    Args:
      packed: whether the family has weights in MXFP4.

    Raises:
      InputError: another method, or another way of it.
    """
    given = config.get("quantization_config")
    if given is None:
        return
    where = f"{where}: `quantization_config`"
    if not isinstance(given, Mapping):
        raise InputError(f"{where} is {given!r}: it is an object, fix the file")
    fields = Fields(given, where)
    method = fields.choice("quant_method", ("fp8", "mxfp4") if packed else ("fp8",), "none")
    # The tensors themselves show which are quantised.
    fields.ignore("modules_to_not_convert", "ignored_layers", "dequantize")
    if method == "fp8":
        fields.refuse_unless(
            weight_block_size=([_SIDE, _SIDE],),
            fmt=("e4m3",),
            scale_fmt=("float", "ue8m0"),
            activation_scheme=("dynamic",),
        )
    fields.finish()


def scales_of(name: str) -> str:
    """The name of a tensor's scales."""
    if name.endswith(BLOCKS):
        return name.removesuffix(BLOCKS) + SCALES
    return name + SCALE_INV


def stored_shape(shape: Shape, packed: bool) -> Shape:
    """The shape in the file of a tensor of `shape`."""
    if not packed:
        return shape
    return (*shape[:-1], math.ceil(shape[-1] / _GROUP), _GROUP // 2)


def scales_shape(shape: Shape, packed: bool) -> Shape:
    """The shape of the scales of a tensor of `shape`."""
    if packed:
        return stored_shape(shape, True)[:-1]
    return tuple(math.ceil(size / _SIDE) for size in shape)


def from_float8(value: jax.Array, scale: jax.Array) -> jax.Array:
    """A float8 matrix times the scales of its blocks, in float32."""
    rows, columns = value.shape
    scale = jnp.repeat(scale, _SIDE, axis=0)[:rows]
    return value.astype(jnp.float32) * jnp.repeat(scale, _SIDE, axis=1)[:, :columns]


def from_mxfp4(blocks: jax.Array, scales: jax.Array, columns: int) -> jax.Array:
    """[..., rows, groups, 16] and [..., rows, groups] bytes → [..., rows, columns] float32."""
    pairs = jnp.stack([blocks & 15, blocks >> 4], axis=-1)
    table = jnp.asarray(_E2M1 + [-x for x in _E2M1], jnp.float32)
    numbers = table[pairs.reshape(*scales.shape, _GROUP)]
    numbers = jnp.ldexp(numbers, scales.astype(jnp.int32)[..., None] - 127)
    return numbers.reshape(*scales.shape[:-1], -1)[..., :columns]
