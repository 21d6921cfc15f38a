"""Mixture of experts, dropless: every token reaches all the experts that it chose.

The idea: sort the (token, choice) pairs by expert, so that each expert's tokens stand together, and
multiply the groups with their experts' matrices in one grouped product (`jax.lax.ragged_dot`).

The complication is the mesh. Experts lie over fsdp and tensor where their number divides, else over
one of them; what is not used for experts splits their matrices as it does all others. Each device
computes what its experts (or its part of each) give to the tokens of its group, and the parts are
added; or, where that moves less, it gathers the experts and keeps its tokens. Nothing has a
capacity: a device whose experts are chosen more often takes more rounds.
Axes: `decoder.py`; E experts, X choices a token, M = B·T·X pairs.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbpc.models import arch as arch_lib
from jaxbpc.models.layers import MLP, Linear, dot, gated, param
from jaxbpc.parallel import sharding

# A layer's experts are gathered where they take at most so many bytes, and so many times those that
# tokens would travel.
MOST_GATHERED = 4 * 2**30
_WORTH = 4
# Else a group's tokens come to the experts, piece by piece: the most bytes that all choices of a
# piece take.
MOST_ROUTED = 2**30


class Router(nnx.Module):
    """Which experts a token goes to, and with what weights; float32."""

    def __init__(self, experts: arch_lib.Experts, embed: int, dtype):
        self.weight = param((experts.n, embed), dtype, None, "embed")
        self.bias = param((experts.n,), dtype, None) if experts.router_bias else None
        # Where it is kept in float32: a choice may hang on its last digits.
        self.correction = param((experts.n,), jnp.float32, None) if experts.correction else None
        self.experts = experts

    def __call__(self, x_BTD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(ids int32, weights float32), [B, T, X] each."""
        e = self.experts
        # In float32 whatever the weights' dtype: a near tie decides where all of a token goes.
        logits_BTE = dot(
            "btd,ed->bte", x_BTD.astype(jnp.float32), self.weight[...].astype(jnp.float32)
        )
        if self.bias is not None:
            logits_BTE = logits_BTE + self.bias[...].astype(jnp.float32)
        if e.score == "softmax_top":
            top, chosen = jax.lax.top_k(logits_BTE, e.top)
            return chosen, jax.nn.softmax(top, axis=-1) * e.scale
        score = jax.nn.sigmoid if e.score == "sigmoid" else jax.nn.softmax
        scores_BTE = score(logits_BTE)
        preferred = scores_BTE
        if self.correction is not None:
            preferred = scores_BTE + self.correction[...]
        if e.groups > 1:
            preferred = _within_best_groups(preferred, e)
        _, chosen = jax.lax.top_k(preferred, e.top)
        weights = jnp.take_along_axis(scores_BTE, chosen, axis=-1)
        if e.normalize:
            weights = weights / (jnp.sum(weights, axis=-1, keepdims=True) + 1e-20)
        return chosen, weights * e.scale


def _within_best_groups(preferred: jax.Array, e: arch_lib.Experts) -> jax.Array:
    """-inf for experts outside of the `top_groups` best groups (arXiv 2405.04434, 2.1.2)."""
    grouped = preferred.reshape(*preferred.shape[:-1], e.groups, e.n // e.groups)
    best = jnp.sum(jax.lax.top_k(grouped, e.group_best)[0], axis=-1)
    _, chosen = jax.lax.top_k(best, e.top_groups)
    keep = jnp.any(chosen[..., None] == jnp.arange(e.groups), axis=-2)
    return jnp.where(keep[..., None], grouped, -jnp.inf).reshape(preferred.shape)


class MoE(nnx.Module):
    """Routed experts, and those that every token goes through.

    Experts' matrices are [E, in, out], as the grouped product takes them.
    """

    def __init__(self, experts: arch_lib.Experts, embed: int, dtype):
        e, n, f = experts, experts.n, experts.size
        self.router = Router(e, embed, dtype)
        self.gate = param((n, embed, f), dtype, "experts", "embed", "mlp")
        self.up = param((n, embed, f), dtype, "experts", "embed", "mlp")
        self.down = param((n, f, embed), dtype, "experts", "mlp", "embed")
        self.gate_bias = param((n, f), dtype, "experts", "mlp") if e.bias else None
        self.up_bias = param((n, f), dtype, "experts", "mlp") if e.bias else None
        self.down_bias = param((n, embed), dtype, "experts", None) if e.bias else None
        shared = arch_lib.MLP(e.shared, e.activation)
        self.shared = MLP(shared, embed, dtype) if e.shared else None
        self.shared_gate = Linear(None, 1, "embed", embed, False, dtype) if e.shared_gate else None
        self.experts = experts

    def __call__(self, x_BTD: jax.Array) -> jax.Array:
        """[B, T, D] float32."""
        chosen_BTX, weights_BTX = self.router(x_BTD)
        biases = (self.gate_bias, self.up_bias, self.down_bias)
        parameters = [self.gate, self.up, self.down, *(b for b in biases if b is not None)]
        operands = x_BTD.astype(self.gate.dtype)
        activation = self.experts.clamped or self.experts.activation
        y_BTD = _routed(operands, chosen_BTX, weights_BTX, parameters, activation)
        if self.shared is not None:
            shared = self.shared(x_BTD)
            if self.shared_gate is not None:
                shared = shared * jax.nn.sigmoid(self.shared_gate(x_BTD))
            y_BTD = y_BTD + shared
        return y_BTD


def _routed(x_BTD, chosen, weights, parameters: list[nnx.Param], activation) -> jax.Array:
    """The experts' weighted sum, over the mesh that is set, if any."""
    values = [p[...] for p in parameters]
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return _local(x_BTD, chosen, weights, values, 0, 1, activation)
    # Of stacked layers a scan gives one, whose metadata still name the stack's axis.
    axes = [p.get_metadata("axes")[-v.ndim :] for p, v in zip(parameters, values, strict=True)]
    specs = [sharding.spec(a, v.shape, mesh) for a, v in zip(axes, values, strict=True)]
    batch = sharding.spec(("batch", None, None), x_BTD.shape, mesh)
    body = functools.partial(_on_device, specs=specs, batch=batch, activation=activation)
    return jax.shard_map(
        body,
        mesh=mesh,
        in_specs=(batch, batch, batch, specs),
        out_specs=batch,
        check_vma=False,
    )(x_BTD, chosen, weights, values)


def _on_device(x, chosen, weights, values, specs, batch, activation) -> jax.Array:
    """What one device does; see the top of the file."""
    over = _axes(specs[0][0])  # of the mesh, for experts
    spread = "fsdp" in over and "fsdp" in _axes(batch[0])
    if spread and over == ("fsdp",) and _worth_gathering(x, values):
        values = [jax.lax.all_gather(v, "fsdp", axis=0, tiled=True) for v in values]
        over, spread = (), False
    if not spread and "fsdp" in _axes(specs[0][1]):  # the matrices come to the tokens
        axes = [["fsdp" in _axes(entry) for entry in spec].index(True) for spec in specs[:3]]
        values[:3] = [
            jax.lax.all_gather(v, "fsdp", axis=axis, tiled=True)
            for v, axis in zip(values[:3], axes, strict=True)
        ]
    first: Any = 0
    n_parts = 1
    for name in over:
        first = first * jax.lax.axis_size(name) + jax.lax.axis_index(name)
        n_parts *= jax.lax.axis_size(name)
    split = "tensor" not in over and "tensor" in _axes(specs[0][2])
    if split and len(values) == 6:  # each device adds its part of a sum: the bias once
        values[5] = jnp.where(jax.lax.axis_index("tensor") == 0, values[5], 0)

    def routed(x, chosen, weights) -> jax.Array:
        if spread:  # the group's tokens come to the experts
            x, chosen, weights = (
                jax.lax.all_gather(a, "fsdp", axis=0, tiled=True) for a in (x, chosen, weights)
            )
        y = _local(x, chosen, weights, values, first * values[0].shape[0], n_parts, activation)
        if split or "tensor" in over:
            y = jax.lax.psum(y, "tensor")
        if spread:
            return jax.lax.psum_scatter(y, "fsdp", scatter_dimension=0, tiled=True)
        return jax.lax.psum(y, "fsdp") if "fsdp" in over else y

    n = _n_pieces(x, chosen.shape[-1] * jax.lax.axis_size("fsdp")) if spread else 1
    if n == 1:
        return routed(x, chosen, weights)
    B, T = x.shape[:2]
    pieces = (a.reshape(B, n, T // n, -1).swapaxes(0, 1) for a in (x, chosen, weights))
    return jax.lax.map(lambda piece: routed(*piece), tuple(pieces)).swapaxes(0, 1).reshape(x.shape)


def _n_pieces(x_BTD: jax.Array, times: int) -> int:
    """In how many pieces of a length tokens go, each of which is held `times` times at once."""
    T, n_bytes = x_BTD.shape[1], x_BTD.nbytes * times
    fitting = (n for n in range(1, T) if T % n == 0 and n_bytes <= n * MOST_ROUTED)
    return next(fitting, T)


def _worth_gathering(x_BTD: jax.Array, values: list[jax.Array]) -> bool:
    """Whether experts' matrices come to the tokens, not the tokens to the experts.

    All experts are then on each device, so that the load is even, and matrices, unlike tokens, can
    arrive while the layer before is computed. Tokens travel as operands and return
    as float32.
    """
    n_bytes = sum(v.nbytes for v in values) * jax.lax.axis_size("fsdp")
    travel = x_BTD.size * (x_BTD.dtype.itemsize + 4) * jax.lax.axis_size("fsdp")
    return n_bytes <= min(MOST_GATHERED, _WORTH * travel)


def _axes(entry) -> tuple[str, ...]:
    """The mesh axes of one entry of a PartitionSpec."""
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)


def _local(x_BTD, chosen_BTX, weights_BTX, values, first, n_parts: int, activation) -> jax.Array:
    """What experts `first` … (those of `values`) give to the tokens: [B, T, D] float32.

    Args:
      n_parts: over how many devices the experts are split. One of them may get all of the pairs, or
        none: it takes its own in rounds of an even share, as many as it needs.
    """
    B, T, D = x_BTD.shape
    n_experts, n_choices = values[0].shape[0], chosen_BTX.shape[-1]
    n_pairs = B * T * n_choices
    share = -(-n_pairs // n_parts)
    expert_M = chosen_BTX.reshape(-1) - first
    mine_M = (expert_M >= 0) & (expert_M < n_experts)
    expert_M = jnp.where(mine_M, expert_M, n_experts)  # others' pairs stand last, in no group
    order_M = jnp.argsort(expert_M, stable=True)
    sizes_E = jnp.sum(expert_M[:, None] == jnp.arange(n_experts), axis=0, dtype=jnp.int32)
    ends_E = jnp.cumsum(sizes_E)
    padded_M = jnp.pad(order_M, (0, share * n_parts - n_pairs))
    x_ND = x_BTD.reshape(-1, D)

    def take(begin) -> jax.Array:
        """The sorted pairs from `begin` on: [share, D]."""
        pairs = jax.lax.dynamic_slice_in_dim(padded_M, begin, share)
        inside = jnp.minimum(ends_E, begin + share) - jnp.maximum(ends_E - sizes_E, begin)
        experts = jnp.minimum(expert_M[pairs], n_experts - 1)
        x = x_ND[pairs // n_choices]
        return _through(x, experts, jnp.maximum(inside, 0), values, activation)

    weights_M, token_M = weights_BTX.reshape(-1), jnp.arange(n_pairs) // n_choices
    if n_parts == 1:
        return _each_choice(take(0), jnp.argsort(order_M), weights_BTX)
    # A token's place among the choices that are here: of one place, each token has one at most.
    nth_M = jnp.cumsum(mine_M.reshape(-1, n_choices), axis=1).reshape(-1) - 1

    def round_of(state: tuple) -> tuple:
        begin, total_ND = state
        pairs = jax.lax.dynamic_slice_in_dim(padded_M, begin, share)
        y_SD = take(begin) * weights_M[pairs][:, None]
        row = jnp.arange(share)
        for nth in range(min(n_choices, n_experts)):
            here = (begin + row < ends_E[-1]) & (nth_M[pairs] == nth)
            # Without two rows for one place, a sum's order is no matter of chance.
            place = jnp.where(here, token_M[pairs], B * T + row)
            total_ND = total_ND.at[place].add(y_SD, mode="drop", unique_indices=True)
        return begin + share, total_ND

    start = (jnp.int32(0), jnp.zeros((B * T, D), jnp.float32))
    return jax.lax.while_loop(lambda s: s[0] < ends_E[-1], round_of, start)[1].reshape(B, T, D)


def _each_choice(y_MD, places_M, weights_BTX) -> jax.Array:
    """The weighted sum of each token's rows: [B, T, D]."""
    B, T, n_choices = weights_BTX.shape
    # A sum over the choices one by one: as an axis, so short, they would fill an eighth of a tile.
    places_NX, weights_NX = (a.reshape(-1, n_choices) for a in (places_M, weights_BTX))
    total_ND = jnp.zeros((), jnp.float32)
    for i in range(n_choices):
        total_ND = total_ND + y_MD[places_NX[:, i]] * weights_NX[:, i, None]
    return total_ND.reshape(B, T, -1)


def _through(x_MD, experts_M, sizes_E, values, activation) -> jax.Array:
    """Rows, grouped by expert, through their experts' MLPs: [M, D] float32."""
    gate, up, down = values[:3]
    biases = [b[experts_M].astype(jnp.float32) for b in values[3:]] or [0.0, 0.0, 0.0]
    hidden_MF = gated(
        activation,
        _grouped(x_MD, gate, sizes_E) + biases[0],
        _grouped(x_MD, up, sizes_E) + biases[1],
    )
    return _grouped(hidden_MF.astype(down.dtype), down, sizes_E) + biases[2]


def _grouped(x_MK, w_EKN, sizes_E) -> jax.Array:
    """Rows of each group times its matrix, float32; rows in no group may hold anything."""
    precision = jax.lax.Precision.HIGHEST if x_MK.dtype == jnp.float32 else None
    return jax.lax.ragged_dot(
        x_MK, w_EKN, sizes_E, precision=precision, preferred_element_type=jnp.float32
    )
