"""The step: windows → nats of each scored token, jit-compiled and sharded over the mesh.

The idea: nll = logsumexp(h Wᵀ) - (h Wᵀ)[y]. The complication: logits of a window are large (1900 x
262,144 float32 are 2 GB), so the head runs at the scored positions only and in chunks of them; the
logits of a window never exist whole. The log-sum-exp is float32 over the full vocabulary.

Knows only a function `hidden(params, tokens_BT, rows) -> h_BCD` and a head: any model.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxbpc import sharding
from jaxbpc.models.head import Head
from jaxbpc.sharding import constrain

_CHUNK_ROWS = 128
# By default the TPU compiler splits large products over an fsdp axis into rings of small ones; with
# parameters that are gathered layer by layer that costs half of the speed (70B over 16 chips).
# The CPU compiler starts whatever could run: all blocks of attention at once, 100 MB of scores. One
# after the other they stay in the cache: attention takes four fifths of the time.
_OPTIONS: dict[str, dict[str, str | bool]] = {
    "tpu": {"xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000"},
    "cpu": {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"},
}


def nll(
    h_BCD: jax.Array,
    head: Head | Callable[[jax.Array], jax.Array],
    targets_BC: jax.Array,
    unroll: bool = False,
) -> jax.Array:
    """-ln p(target) in float32, [B, C], chunk by chunk of positions.

    Args:
      h_BCD: hidden states, rounded to a `Head`'s dtype for the product.
      head: how they become logits; if no `Head`, then h_BRD → logits_BRV.
      targets_BC: int32 ids.
      unroll: no loop. In a loop the CPU compiler transposes a bfloat16 head, in a copy.
    """
    B, C, D = h_BCD.shape
    to_logits: Callable[[jax.Array], jax.Array]
    if isinstance(head, Head):
        # Gathered once, not for each chunk; a vocabulary that is split stays so.
        head = dataclasses.replace(head, weight_VD=constrain(head.weight_VD, "vocab", None))
        h_BCD, to_logits = h_BCD.astype(head.weight_VD.dtype), head.logits
    else:
        to_logits = head
    n_chunks = -(-C // _CHUNK_ROWS)
    rows = -(-C // n_chunks)

    def chunk(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        h_BRD, y_BR = inputs
        logits_BRV = to_logits(h_BRD).astype(jnp.float32)
        target_BR = jnp.take_along_axis(logits_BRV, y_BR[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(logits_BRV, axis=-1) - target_BR

    if unroll:
        begins = range(0, C, rows)
        pairs = ((h_BCD[:, i : i + rows], targets_BC[:, i : i + rows]) for i in begins)
        return jnp.concatenate([chunk(pair) for pair in pairs], axis=1)
    pad = n_chunks * rows - C
    h_BCD = jnp.pad(h_BCD, ((0, 0), (0, pad), (0, 0)))
    targets_BC = jnp.pad(targets_BC, ((0, 0), (0, pad)))
    h_chunks = h_BCD.reshape(B, n_chunks, rows, D).swapaxes(0, 1)
    target_chunks = targets_BC.reshape(B, n_chunks, rows).swapaxes(0, 1)
    nll_chunks = jax.lax.map(chunk, (h_chunks, target_chunks))
    return nll_chunks.swapaxes(0, 1).reshape(B, n_chunks * rows)[:, :C]


class Step:
    """The step of a model on a mesh: (params, inputs_BT, targets_BT, rows) → [B, rows] float32.

    Args:
      hidden: (params, tokens_BT, rows) → hidden states [B, rows, D] at the last `rows` positions.
      head: params → how hidden states become logits.
      mesh: where it runs; the output is replicated, so that one process can write all of it.

    `rows` is static: a step is compiled once for each value.
    """

    def __init__(
        self,
        hidden: Callable[[Any, jax.Array, int], jax.Array],
        head: Callable[[Any], Head | Callable[[jax.Array], jax.Array]],
        mesh: jax.sharding.Mesh,
    ):
        self.mesh, self.platform = mesh, mesh.devices.flat[0].platform
        unroll = self.platform == "cpu"

        def step(params: Any, inputs_BT: jax.Array, targets_BT: jax.Array, rows: int) -> jax.Array:
            h_BCD = hidden(params, inputs_BT, rows)
            return nll(h_BCD, head(params), targets_BT[:, targets_BT.shape[1] - rows :], unroll)

        replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        self._step = jax.jit(
            step,
            static_argnums=3,
            out_shardings=replicated,
            compiler_options=_OPTIONS.get(self.platform),
        )

    def __call__(
        self, params: Any, inputs_BT: jax.Array, targets_BT: jax.Array, rows: int
    ) -> jax.Array:
        with jax.set_mesh(self.mesh):
            return self._step(params, inputs_BT, targets_BT, rows)

    def compile(self, params: Any, shape: tuple[int, int], rows: int) -> jax.stages.Compiled:
        """The executable for batches of `shape` [B, T]: (params, inputs_BT, targets_BT) → nats.

        Args:
          params: arrays or ShapeDtypeStructs, with their shardings.
        """
        layout = sharding.named(("batch", None), shape, self.mesh)
        tokens_BT = jax.ShapeDtypeStruct(shape, jnp.int32, sharding=layout)
        with jax.set_mesh(self.mesh):
            return self._step.lower(params, tokens_BT, tokens_BT, rows).compile()
