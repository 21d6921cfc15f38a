"""The one decoder: an Arch → a Flax NNX module that turns tokens into hidden states.

Axes: B batch, T position, D model, N query heads, K key heads, G = N/K, H head size, F mlp,
V vocabulary, L layers, C scored positions, S keys, R = G·C, E experts, X chosen experts.

Parameters are made abstract, with their logical axes: shapes and shardings come first,
`weights.load` fills in arrays. The residual stream, norms, RoPE and softmax are float32; operands
of matrix products are in the weights' dtype, with float32 accumulation.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxbpc.models import arch as arch_lib
from jaxbpc.models import kernels
from jaxbpc.models.arch import Arch
from jaxbpc.models.attention import GroupedAttention, LatentAttention, Window
from jaxbpc.models.layers import MLP, Linear, Norm, Table
from jaxbpc.models.lm_head import Head
from jaxbpc.models.moe import MoE
from jaxbpc.parallel.sharding import constrain

# Placement → the norms before attention and MLP, and those after them; where they have one alone on
# the sum ('after'), it has the first name: checkpoints call both the same.
_NORMS = {
    "pre": ("attention_norm", "mlp_norm"),
    "post": ("attention_out_norm", "mlp_out_norm"),
    "sandwich": ("attention_norm", "mlp_norm", "attention_out_norm", "mlp_out_norm"),
    "after": ("attention_norm", "mlp_norm"),
    "parallel": ("attention_norm",),
    "parallel2": ("attention_norm", "mlp_norm"),
}


class Layer(nnx.Module):
    """Attention and MLP on the residual stream, with norms where the architecture puts them."""

    def __init__(self, arch: Arch, layer: arch_lib.Layer, dtype, kind: str):
        attention = GroupedAttention if arch.attention.latent is None else LatentAttention
        self.attention = attention(arch, layer, dtype, kind)
        self.mlp = (
            MoE(arch.experts, arch.embed, dtype)
            if layer.experts and arch.experts is not None
            else MLP(arch.mlp, arch.embed, dtype)
        )
        names = _NORMS[arch.placement]
        self.attention_norm, self.mlp_norm, self.attention_out_norm, self.mlp_out_norm = (
            Norm((arch.embed,), arch.norm, dtype) if name in names else None
            for name in _NORMS["sandwich"]
        )
        self.placement, self.scale = arch.placement, arch.residual_scale
        self.dtype = dtype

    def __call__(self, x_BTD: jax.Array, n_rows: int, window: Window) -> jax.Array:
        """[B, n_rows, D]: the last `n_rows` positions after this layer."""
        first = x_BTD.shape[1] - n_rows
        x_BCD = x_BTD[:, first:]
        if self.placement == "after":
            attended = self.attention(self._operand(x_BTD), n_rows, window)
            x_BCD = _normed(self.attention_norm, x_BCD + _done(attended))
            return _normed(self.mlp_norm, x_BCD + self._through_mlp(self._operand(x_BCD)))
        normed_BTD = self._operand(_normed(self.attention_norm, x_BTD))
        attended = _done(self.attention(normed_BTD, n_rows, window))
        if self.placement.startswith("parallel"):
            mlp_in = normed_BTD[:, first:]
            if self.mlp_norm is not None:
                mlp_in = self._operand(self.mlp_norm(x_BCD))
            added = attended + self._through_mlp(mlp_in)
            return constrain(x_BCD + self.scale * added, "batch", None, None)
        x_BCD = x_BCD + self.scale * _normed(self.attention_out_norm, attended)
        x_BCD = constrain(x_BCD, "batch", None, None)
        added = self._through_mlp(self._operand(_normed(self.mlp_norm, x_BCD)))
        added = _normed(self.mlp_out_norm, added)
        return constrain(x_BCD + self.scale * added, "batch", None, None)

    def _through_mlp(self, x: jax.Array) -> jax.Array:
        """A product comes last but in experts, whose sum over choices takes the residual's in."""
        y = self.mlp(x)
        return y if isinstance(self.mlp, MoE) else _done(y)

    def _operand(self, x: jax.Array) -> jax.Array:
        """`x` as products take it, in memory: fused into them it would be made for each tile."""
        return _done(x.astype(self.dtype))


def _done(x: jax.Array) -> jax.Array:
    """Keeps the compiler from fusing across `x`: a TPU's product with a sum in it is 30% slower."""
    return jax.lax.optimization_barrier(x)


def _normed(norm: Norm | None, x: jax.Array) -> jax.Array:
    return x if norm is None else norm(x)


class Decoder(nnx.Module):
    """A causal language model, abstract until its parameters are loaded.

    Args:
      arch: what it is.
      dtype: of weights and matrix operands, bfloat16 or float32.
      attention: how attention is computed, see `dot_product_attention.attend`.
      own_head: an output matrix of its own; else the embedding's (default: as `arch.tied` says).
      stacked: layers that repeat are compiled once and scanned over, each of their parameters one
        array with an axis for the repetitions. For accelerators: what is compiled does not grow
        with depth. On a CPU the scan would hoist a float32 copy of the whole bfloat16 stack.
    """

    def __init__(
        self,
        arch: Arch,
        dtype,
        attention: str,
        own_head: bool | None = None,
        stacked: bool = False,
    ):
        self.arch, self.kind = arch, attention
        size = arch.embed_size or arch.embed
        self.embed = Table("vocab", arch.vocab_size, size, dtype)
        n_positions = arch.positions + arch.position_offset
        self.positions = Table(None, n_positions, arch.embed, dtype) if arch.positions else None
        narrow = size != arch.embed
        d = arch.embed
        self.embed_in = Linear("embed", d, None, size, False, dtype) if narrow else None
        self.embed_out = Linear(None, size, "embed", d, False, dtype) if narrow else None
        self.runs = runs(arch.layers) if stacked else _each(len(arch.layers))
        self.layers = nnx.Dict(
            {
                str(run.first + j): Layer(arch, arch.layers[run.first + j], dtype, attention)
                for run in self.runs
                for j in range(run.period)
            }
        )
        for run in self.runs:
            for j in range(run.period if run.repeats > 1 else 0):
                _stack(self.layers[str(run.first + j)], run.repeats)
        self.norm = Norm((arch.embed,), arch.norm, dtype) if arch.final_norm else None
        has_head = own_head if own_head is not None else not arch.tied
        bias = arch.head_bias
        self.head = Table("vocab", arch.vocab_size, size, dtype, bias) if has_head else None

    def hidden(self, tokens_BT: jax.Array, rows: int) -> jax.Array:
        """Hidden states after the last norm at the last `rows` positions: [B, rows, D] float32."""
        arch, length = self.arch, tokens_BT.shape[1]
        # Positions that a kernel wants beside the real ones stand at the end: nothing sees them.
        T = kernels.padded(length, self.kind)
        n_pad = T - length
        tokens_BT = jnp.pad(tokens_BT, ((0, 0), (0, n_pad)))
        n_last = kernels.padded(rows + n_pad, self.kind)
        x_BTD = self.embed.weight[...][tokens_BT].astype(jnp.float32) * arch.embed_scale
        if self.embed_in is not None:
            x_BTD = self.embed_in(x_BTD)
        if self.positions is not None:
            places = self.positions.weight[...][arch.position_offset : arch.position_offset + T]
            x_BTD = x_BTD + places.astype(jnp.float32)
        x_BTD = constrain(x_BTD, "batch", None, None)
        window = Window(length, key_bias(arch, T))
        for run in self.runs:
            layers = [self.layers[str(run.first + j)] for j in range(run.period)]
            # Nothing reads the other rows of the last layer.
            n_rows = n_last if run.end == arch.n_layers else T
            if run.repeats == 1:
                x_BTD = layers[0](x_BTD, n_rows, window)
                continue

            def through(x_BTD, layers):
                for layer in layers:
                    x_BTD = layer(x_BTD, T, window)
                return x_BTD, None

            x_BTD, _ = jax.lax.scan(through, x_BTD, layers)
        x_BTD = _normed(self.norm, x_BTD[:, n_last - n_pad - rows : n_last - n_pad])
        return x_BTD if self.embed_out is None else self.embed_out(x_BTD)

    def place(self, name: str) -> tuple[str, int]:
        """(parameter, index along its stacked axis) of a layer's parameter 'layers.7.…'."""
        if not name.startswith("layers."):
            return name, 0
        _, layer, rest = name.split(".", 2)
        run = next(run for run in self.runs if int(layer) < run.end)
        index, j = divmod(int(layer) - run.first, run.period)
        return f"layers.{run.first + j}.{rest}", index

    def output(self) -> Head:
        """What turns hidden states into logits."""
        table = self.embed if self.head is None else self.head
        bias = None if table.bias is None else table.bias[...]
        arch = self.arch
        return Head(
            table.weight[...], bias, arch.logit_scale, arch.logit_softcap, arch.head_normalized
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """Layers first, first + 1, …: a pattern of `period` layers, `repeats` times."""

    first: int
    period: int
    repeats: int

    @property
    def end(self) -> int:
        """One past the last layer."""
        return self.first + self.period * self.repeats


def runs(layers: Sequence[arch_lib.Layer], longest: int = 16) -> tuple[Run, ...]:
    """Splits layers into repeated patterns, each as long as can be; the last layer stands alone.

    The last one computes fewer rows than the others.
    """
    result = []
    first, n = 0, len(layers) - 1
    while first < n:
        best = Run(first, 1, 1)
        for period in range(1, min(longest, n - first) + 1):
            repeats = 1
            pattern = layers[first : first + period]
            while layers[first + period * repeats :][:period] == pattern and (
                first + period * (repeats + 1) <= n
            ):
                repeats += 1
            if repeats > 1 and period * repeats > best.period * best.repeats:
                best = Run(first, period, repeats)
        result.append(best)
        first = best.end
    return (*result, Run(n, 1, 1))


def _each(n_layers: int) -> tuple[Run, ...]:
    return tuple(Run(i, 1, 1) for i in range(n_layers))


def _stack(layer: Layer, repeats: int) -> None:
    """Gives each parameter of an abstract layer a first axis for its repetitions."""
    for variable in parameters(layer).values():
        one = variable.get_value()
        variable.set_value(jax.ShapeDtypeStruct((repeats, *one.shape), one.dtype))
        variable.set_metadata("axes", (None, *variable.get_metadata("axes")))


def key_bias(arch: Arch, length: int) -> np.ndarray | None:
    """ALiBi (arXiv 2108.12409): [N, length] float64, what each head adds to a key's score."""
    if not arch.key_bias:
        return None
    slopes = np.asarray(arch.key_bias, np.float64)[:, None]
    if arch.key_bias_bfloat16:
        # As Falcon's published code rounds: products of absolute positions.
        low = jnp.bfloat16
        bias = slopes.astype(low).astype(np.float32) * np.arange(length).astype(low).astype(
            np.float32
        )
        return bias.astype(low).astype(np.float64) * arch.key_bias_scale
    return slopes * np.arange(length) * arch.key_bias_scale


def parameters(model: nnx.Module) -> dict[str, nnx.Param]:
    """All parameters of a model by dotted name, e.g. 'layers.0.attention.query.weight'."""
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(str(key) for key in path): variable for path, variable in flat}


def n_parameters(model: nnx.Module) -> int:
    """How many numbers the model has."""
    return sum(int(np.prod(p.get_value().shape)) for p in parameters(model).values())
