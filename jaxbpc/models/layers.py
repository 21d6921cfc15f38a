"""The parts that every model is made of: matrices, norms, MLPs, and their one product.

Parameters keep Hugging Face's [out, in] orientation, so that checkpoints map one to one. They are
made abstract (`jax.ShapeDtypeStruct`, with their logical axes); `weights.load` fills in arrays.
Axis legend: `decoder.py`.
"""

import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbpc.models import arch as arch_lib


def param(shape: tuple[int, ...], dtype, *axes: str | None) -> nnx.Param:
    """An abstract parameter with its logical axes."""
    return nnx.Param(jax.ShapeDtypeStruct(shape, dtype), axes=axes)


def dot(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """einsum of operands of one dtype with float32 accumulation and result.

    float32 operands are multiplied as float32 on every backend (a TPU would round them to
    bfloat16, a GPU to TF32).
    """
    precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)


@functools.cache
def cpu_has_bfloat16() -> bool:
    """Whether this machine's CPU multiplies bfloat16; where not, each product converts it."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text(errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


# Rows that a CPU takes through matrices at a time: what comes in, and what an MLP widens it to,
# stay in its caches, where a whole window's would go to memory and back, the more so beside another
# step.
_BLOCK_ROWS = 512


def by_rows(f: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """f(x), where f takes each row of x [..., rows, width] by itself; a CPU goes by blocks."""
    n_rows = x.shape[-2]
    if n_rows <= _BLOCK_ROWS:
        return f(x)

    def in_blocks(x: jax.Array) -> jax.Array:
        size = -(-n_rows // -(-n_rows // _BLOCK_ROWS))  # blocks as equal as can be
        blocks = [x[..., i : i + size, :] for i in range(0, n_rows, size)]
        return jnp.concatenate([f(block) for block in blocks], axis=-2)

    return jax.lax.platform_dependent(x, cpu=in_blocks, default=f)


class Linear(nnx.Module):
    """y = x Wᵀ + b, float32 out of operands in the weights' dtype."""

    def __init__(self, out_axis, n_out: int, in_axis, n_in: int, bias: bool, dtype):
        self.weight = param((n_out, n_in), dtype, out_axis, in_axis)
        self.bias = param((n_out,), dtype, out_axis) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        return by_rows(self._whole, x)

    def _whole(self, x: jax.Array) -> jax.Array:
        weight = self.weight[...]
        y = dot("...d,fd->...f", x.astype(weight.dtype), weight)
        return y if self.bias is None else y + self.bias[...].astype(jnp.float32)


class Norm(nnx.Module):
    """`arch.Norm` over the last axis, in float32: RMS (arXiv 1910.07467) or layer norm.

    Args:
      shape: of the weights; (heads, size) is one norm a head, for arrays [B, heads, T, size].
    """

    def __init__(self, shape: tuple[int, ...], norm: arch_lib.Norm, dtype):
        axes = (None,) * len(shape)
        self.weight = param(shape, dtype, *axes) if norm.weight else None
        self.bias = param(shape, dtype, *axes) if norm.bias else None
        self.norm = norm

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.norm.kind == "layer":
            x = x - jnp.mean(x, axis=-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + self.norm.eps)
        if self.weight is not None:
            x = x * (_over_positions(self.weight[...]) + self.norm.offset)
        return x if self.bias is None else x + _over_positions(self.bias[...])


def _over_positions(weight: jax.Array) -> jax.Array:
    """float32 [size] as it is, [heads, size] as [heads, 1, size]."""
    weight = weight.astype(jnp.float32)
    return weight[:, None] if weight.ndim == 2 else weight


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
}


def gated(activation: str | arch_lib.Clamped, gate: jax.Array, up: jax.Array) -> jax.Array:
    """act(gate) · up, or what `arch.Clamped` says."""
    if isinstance(activation, arch_lib.Clamped):
        limit = activation.limit
        gate, up = jnp.minimum(gate, limit), jnp.clip(up, -limit, limit)
        return gate * jax.nn.sigmoid(activation.slope * gate) * (up + 1.0)
    return ACTIVATIONS[activation](gate) * up


class MLP(nnx.Module):
    """`arch.MLP` over a model's width: [..., rows, width] → float32 of the same shape."""

    def __init__(self, mlp: arch_lib.MLP, embed: int, dtype):
        self.gate = Linear("mlp", mlp.size, "embed", embed, mlp.bias, dtype) if mlp.gated else None
        self.up = Linear("mlp", mlp.size, "embed", embed, mlp.bias, dtype)
        self.down = Linear("embed", embed, "mlp", mlp.size, mlp.bias, dtype)
        self.activation = mlp.activation

    def __call__(self, x: jax.Array) -> jax.Array:
        return by_rows(self._whole, x)

    def _whole(self, x: jax.Array) -> jax.Array:
        if self.gate is None:
            return self.down(ACTIVATIONS[self.activation](self.up(x)))
        return self.down(gated(self.activation, self.gate(x), self.up(x)))


class Table(nnx.Module):
    """A matrix with a row for each id (or position), and perhaps a number."""

    def __init__(self, axis: str | None, n: int, embed: int, dtype, bias: bool = False):
        self.weight = param((n, embed), dtype, axis, "embed")
        self.bias = param((n,), dtype, axis) if bias else None
