"""The one decoder: an Arch → a Flax NNX module that turns tokens into hidden states.

Axes: B batch, T position, D model, N query heads, K key heads, G = N/K, H head size, F mlp,
V vocabulary, L layers, C scored positions, S keys, R = G·C.

Parameters keep Hugging Face's [out, in] orientation, so that checkpoints map one to one. They are
made abstract (`jax.ShapeDtypeStruct`, with their logical axes): shapes and shardings come first,
`weights.load` fills in arrays. The residual stream, norms, RoPE and softmax are float32; operands
of matrix products are in the weights' dtype, with float32 accumulation.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbpc.models import rope
from jaxbpc.models.arch import Arch
from jaxbpc.models.attention import attend, dot
from jaxbpc.sharding import constrain

ACTIVATIONS = {"silu": jax.nn.silu}


def _param(shape: tuple[int, ...], dtype, *axes: str | None) -> nnx.Param:
    """An abstract parameter with its logical axes."""
    return nnx.Param(jax.ShapeDtypeStruct(shape, dtype), axes=axes)


class Linear(nnx.Module):
    """y = x Wᵀ + b, float32 out of operands in the weights' dtype."""

    def __init__(self, out_axis, n_out: int, in_axis, n_in: int, bias: bool, dtype):
        self.weight = _param((n_out, n_in), dtype, out_axis, in_axis)
        self.bias = _param((n_out,), dtype, out_axis) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.weight[...]
        y = dot("...d,fd->...f", x.astype(weight.dtype), weight)
        return y if self.bias is None else y + self.bias[...].astype(jnp.float32)


class RMSNorm(nnx.Module):
    """Root-mean-square norm (arXiv 1910.07467) in float32."""

    def __init__(self, size: int, eps: float, dtype):
        self.weight = _param((size,), dtype, None)
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        mean_square = jnp.mean(x * x, axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(mean_square + self.eps) * self.weight[...].astype(jnp.float32)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, arch: Arch, dtype, kind: str):
        n, k, h, d = arch.n_heads, arch.n_kv_heads, arch.head_size, arch.embed
        bias = arch.attention_bias
        self.query = Linear("heads", n * h, "embed", d, bias, dtype)
        self.key = Linear("kv_heads", k * h, "embed", d, bias, dtype)
        self.value = Linear("kv_heads", k * h, "embed", d, bias, dtype)
        self.out = Linear("embed", d, "heads", n * h, arch.attention_out_bias, dtype)
        self.head_size, self.kind, self.dtype = h, kind, dtype

    def __call__(self, x_BTD: jax.Array, rotation, n_rows: int) -> jax.Array:
        """[B, n_rows, D] for the last `n_rows` positions."""
        cos_TH, sin_TH = rotation
        first = x_BTD.shape[1] - n_rows
        q_BNCH = self._heads(self.query(x_BTD[:, first:]))
        k_BKTH = self._heads(self.key(x_BTD))
        v_BKTH = self._heads(self.value(x_BTD))
        q_BNCH = rope.rotate(q_BNCH, cos_TH[first:], sin_TH[first:])
        k_BKTH = rope.rotate(k_BKTH, cos_TH, sin_TH)
        q_BNCH, k_BKTH, v_BKTH = (a.astype(self.dtype) for a in (q_BNCH, k_BKTH, v_BKTH))
        q_BNCH = constrain(q_BNCH, "batch", "heads", None, None)
        o_BNCH = attend(q_BNCH, k_BKTH, v_BKTH, self.head_size**-0.5, self.kind)
        B, N, C, H = o_BNCH.shape
        return self.out(o_BNCH.transpose(0, 2, 1, 3).reshape(B, C, N * H))

    def _heads(self, x: jax.Array) -> jax.Array:
        """[B, T, N·H] → [B, N, T, H]."""
        B, T, _ = x.shape
        return x.reshape(B, T, -1, self.head_size).transpose(0, 2, 1, 3)


class GatedMLP(nnx.Module):
    """down(act(gate(x)) * up(x))."""

    def __init__(self, arch: Arch, dtype):
        d, f, bias = arch.embed, arch.mlp, arch.mlp_bias
        self.gate = Linear("mlp", f, "embed", d, bias, dtype)
        self.up = Linear("mlp", f, "embed", d, bias, dtype)
        self.down = Linear("embed", d, "mlp", f, bias, dtype)
        self.activation = ACTIVATIONS[arch.activation]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(self.activation(self.gate(x)) * self.up(x))


class Layer(nnx.Module):
    """Pre-norm attention and MLP on the residual stream."""

    def __init__(self, arch: Arch, dtype, kind: str):
        self.attention_norm = RMSNorm(arch.embed, arch.norm_eps, dtype)
        self.attention = Attention(arch, dtype, kind)
        self.mlp_norm = RMSNorm(arch.embed, arch.norm_eps, dtype)
        self.mlp = GatedMLP(arch, dtype)

    def __call__(self, x_BTD: jax.Array, rotation, n_rows: int) -> jax.Array:
        """[B, n_rows, D]: the last `n_rows` positions after this layer."""
        attended = self.attention(self.attention_norm(x_BTD), rotation, n_rows)
        x_BCD = constrain(x_BTD[:, x_BTD.shape[1] - n_rows :] + attended, "batch", None, None)
        return constrain(x_BCD + self.mlp(self.mlp_norm(x_BCD)), "batch", None, None)


class Table(nnx.Module):
    """A matrix with a row for each id of the vocabulary."""

    def __init__(self, vocab_size: int, embed: int, dtype):
        self.weight = _param((vocab_size, embed), dtype, "vocab", "embed")


class Decoder(nnx.Module):
    """A causal language model, abstract until its parameters are loaded.

    Args:
      arch: what it is.
      dtype: of weights and matrix operands, bfloat16 or float32.
      attention: how attention is computed, see `attention.attend`.
      own_head: an output matrix of its own; else the embedding's (default: as `arch.tied` says).
    """

    def __init__(self, arch: Arch, dtype, attention: str, own_head: bool | None = None):
        self.arch = arch
        self.embed = Table(arch.vocab_size, arch.embed, dtype)
        self.layers = nnx.List([Layer(arch, dtype, attention) for _ in range(arch.n_layers)])
        self.norm = RMSNorm(arch.embed, arch.norm_eps, dtype)
        has_head = own_head if own_head is not None else not arch.tied
        self.head = Table(arch.vocab_size, arch.embed, dtype) if has_head else None

    def hidden(self, tokens_BT: jax.Array, rows: int) -> jax.Array:
        """Hidden states after the last norm at the last `rows` positions: [B, rows, D] float32."""
        T = tokens_BT.shape[1]
        rotation = rope.tables(self.arch.rope, self.arch.head_size, T)
        x_BTD = constrain(
            self.embed.weight[...][tokens_BT].astype(jnp.float32), "batch", None, None
        )
        for i, layer in enumerate(self.layers):
            # Nothing reads the other rows of the last layer.
            x_BTD = layer(x_BTD, rotation, rows if i == len(self.layers) - 1 else T)
        return self.norm(x_BTD)

    def head_VD(self) -> jax.Array:
        """The output matrix [V, D] in the weights' dtype."""
        return (self.embed if self.head is None else self.head).weight[...]


def parameters(model: nnx.Module) -> dict[str, nnx.Param]:
    """All parameters of a model by dotted name, e.g. 'layers.0.attention.query.weight'."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(str(key) for key in path): variable for path, variable in flat}


def n_parameters(model: nnx.Module) -> int:
    """How many numbers the model has."""
    return sum(int(np.prod(p.get_value().shape)) for p in parameters(model).values())
