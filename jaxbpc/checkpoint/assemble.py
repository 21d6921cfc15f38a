"""Tensors of a checkpoint → parameters: fused, stacked, transposed and float8 ones, under jit.

What is read spread over the mesh is put into the parameters' own shards by one compiled function
for all layers that are alike.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxbpc.checkpoint import quantization
from jaxbpc.checkpoint.mapping import Fill
from jaxbpc.models.arch import Arch, Parts
from jaxbpc.parallel import sharding


def assemble(
    arch: Arch,
    fills: Sequence[Fill],
    targets: Sequence[jax.ShapeDtypeStruct],
    tensors: Sequence[Sequence[jax.Array]],
    scales: Sequence[Sequence[jax.Array]],
) -> list[jax.Array]:
    """The parameters that tensors fill.

    Args:
      fills: one, or one for each layer that is stacked along the parameters' first axis.
      targets: shapes, dtypes and shardings of the parameters that they fill.
      tensors, scales: of each fill.
    """
    layouts = [
        sharding.gathered(values[0][0].sharding, targets[0].sharding)
        for values in (tensors, scales)
        if values[0]
    ]
    made = _assembler(
        dataclasses.replace(fills[0].parts, parameters=()),
        fills[0].stacked,
        fills[0].packed,
        len(fills) if len(fills) > 1 else None,
        tuple(target.shape for target in targets),
        targets[0].dtype,
        tuple(target.sharding for target in targets),
        (arch.attention.n_heads, arch.attention.n_kv_heads),
        tuple(layouts),
    )
    return made(tensors, scales)


@functools.lru_cache(maxsize=256)
def _assembler(
    parts: Parts, of_experts: bool, packed: bool, n_layers, shapes, dtype, shardings, heads, layouts
) -> Callable:
    own = shapes if n_layers is None else [shape[1:] for shape in shapes]

    def one(tensors, scales):
        gather = jax.lax.with_sharding_constraint
        values = [gather(t, layouts[0]) for t in tensors]
        scales = [gather(s, layouts[-1]) for s in scales]
        if packed:
            columns = own[0][-2 if parts.transposed else -1]
            unpack = functools.partial(quantization.from_mxfp4, columns=columns)
            values = [unpack(t, s) for t, s in zip(values, scales, strict=True)]
        elif scales:
            values = [quantization.from_float8(t, s) for t, s in zip(values, scales, strict=True)]
        value = jnp.stack(values) if of_experts else values[0]
        value = jnp.swapaxes(value, -1, -2) if parts.transposed else value
        pieces = split(value.astype(dtype), parts, [shape[parts.axis] for shape in own], heads)
        return [piece.reshape(shape) for piece, shape in zip(pieces, own, strict=True)]

    def all_layers(tensors, scales):
        layers = [one(t, s) for t, s in zip(tensors, scales, strict=True)]
        if n_layers is None:
            return layers[0]
        return [jnp.stack(values) for values in zip(*layers, strict=True)]

    return jax.jit(all_layers, out_shardings=list(shardings))


def split(
    value: jax.Array, parts: Parts, sizes: list[int], heads: tuple[int, int]
) -> list[jax.Array]:
    """The rows of a fused tensor by `parts.order`: arrays with `sizes` rows along `parts.axis`.

    Args:
      heads: (query heads, key heads), for the order 'groups'.
    """
    if parts.order == "pairs":
        index = [slice(None)] * value.ndim
        pieces = []
        for i in range(len(sizes)):
            index[parts.axis] = slice(i, None, len(sizes))
            pieces.append(value[tuple(index)])
        return pieces
    if parts.order == "groups":  # rows are [K, G + 2, H]
        n_heads, n_kv_heads = heads
        group = n_heads // n_kv_heads
        rows = value.reshape(n_kv_heads, group + 2, -1, *value.shape[1:])
        return [rows[:, :group], rows[:, group], rows[:, group + 1]]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return jnp.split(value, ends, axis=parts.axis)
