"""The step: windows → nats of each scored token, jit-compiled and sharded over the mesh.

The idea: nll = logsumexp(h Wᵀ) - (h Wᵀ)[y]. The complication: logits of a window are large (1900 x
262,144 float32 are 2 GB), so the head runs at the scored positions only, in chunks of them or of
the vocabulary: a window's logits never exist whole. The log-sum-exp is float32 over all of it.

Knows only a function `hidden(params, tokens_BT, rows) -> h_BCD` and a head: any model.
"""

import concurrent.futures
import contextlib
import ctypes
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbpc.models.lm_head import Head
from jaxbpc.parallel import sharding
from jaxbpc.parallel.sharding import constrain, is_split

_CHUNK_ROWS = 128
_BLOCK_VOCAB = 4096
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
# The activations' buffer, asked for once a step, goes back to the system: were it kept, scratch cut
# out of it would leave no place for the next one, and memory would grow with the windows. Scratch
# is less than it: 6 MiB at most, of a model of 270 million parameters.
_OWN_MAPPING_BYTES = 2**20, 2**24
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
    platform: str | None = None,
) -> jax.Array:
    """-ln p(target) in float32, [B, C], chunk by chunk of positions.

    Args:
      h_BCD: hidden states, rounded to a `Head`'s dtype for the product.
      head: how they become logits; if no `Head`, then h_BRD → logits_BRV.
      targets_BC: int32 ids.
      platform: on a 'cpu' the chunks are of a `Head`'s vocabulary, where no mesh splits it.
    """
    B, C, D = h_BCD.shape
    to_logits: Callable[[jax.Array], jax.Array]
    if isinstance(head, Head):
        # Gathered once, not for each chunk; a vocabulary that is split stays so.
        head = dataclasses.replace(head, weight_VD=constrain(head.weight_VD, "vocab", None))
        h_BCD, to_logits = h_BCD.astype(head.weight_VD.dtype), head.logits
        if platform == "cpu" and not is_split("vocab", len(head.weight_VD)):
            return _nll_by_vocabulary(h_BCD, head, targets_BC)
    else:
        to_logits = head
    n_chunks = -(-C // _CHUNK_ROWS)
    rows = -(-C // n_chunks)

    def chunk(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        h_BRD, y_BR = inputs
        logits_BRV = to_logits(h_BRD).astype(jnp.float32)
        target_BR = jnp.take_along_axis(logits_BRV, y_BR[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(logits_BRV, axis=-1) - target_BR

    pad = n_chunks * rows - C
    h_BCD = jnp.pad(h_BCD, ((0, 0), (0, pad), (0, 0)))
    targets_BC = jnp.pad(targets_BC, ((0, 0), (0, pad)))
    h_chunks = h_BCD.reshape(B, n_chunks, rows, D).swapaxes(0, 1)
    target_chunks = targets_BC.reshape(B, n_chunks, rows).swapaxes(0, 1)
    nll_chunks = jax.lax.map(chunk, (h_chunks, target_chunks))
    return nll_chunks.swapaxes(0, 1).reshape(B, n_chunks * rows)[:, :C]


def _nll_by_vocabulary(h_BCD: jax.Array, head: Head, targets_BC: jax.Array) -> jax.Array:
    """`nll` by blocks of the vocabulary: weights are read once, a CPU's cache holds the logits.

    N in the axes: blocks. Of each, the largest logit and the sum of exponentials relative to it.
    """
    V = len(head.weight_VD)
    size = min(V, _BLOCK_VOCAB)

    def block(begin: jax.Array | int, n: int = size) -> tuple[jax.Array, jax.Array]:
        # Else the compiler slices a float32 copy of a bfloat16 head, made before the loop.
        tables, begin = jax.lax.optimization_barrier((head, begin))
        part = jax.tree.map(lambda t: jax.lax.dynamic_slice_in_dim(t, begin, n), tables)
        logits_BCV = part.logits(h_BCD)
        # Finite where all of a block is -inf, as a bias may say of ids that are not used.
        most_BC = jnp.maximum(jnp.max(logits_BCV, axis=-1), jnp.finfo(jnp.float32).min)
        return most_BC, jnp.sum(jnp.exp(logits_BCV - most_BC[..., None]), axis=-1)

    most_NBC, sum_NBC = jax.lax.map(block, size * jnp.arange(V // size))
    if rest := V % size:
        last = block(V - rest, rest)
        most_NBC = jnp.concatenate([most_NBC, last[0][None]])
        sum_NBC = jnp.concatenate([sum_NBC, last[1][None]])
    # Of what is relative to the target's logit: large logits would cost digits. That one's product
    # is rounded in another order than its block's: p stays 1 at most.
    target_BC = head.logit(h_BCD, targets_BC)
    return jnp.maximum(jax.nn.logsumexp(most_NBC - target_BC, axis=0, b=sum_NBC), 0.0)


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

        def step(params: Any, inputs_BT: jax.Array, targets_BT: jax.Array, rows: int) -> jax.Array:
            h_BCD = hidden(params, inputs_BT, rows)
            targets_BC = targets_BT[:, targets_BT.shape[1] - rows :]
            return nll(h_BCD, head(params), targets_BC, self.platform)

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


@contextlib.contextmanager
def dispatcher(at_once: int) -> Iterator[Callable[..., Callable[[], np.ndarray]]]:
    """Gives dispatch(step, *arguments) → a function that waits for the step's values [B, rows].

    That function raises what the step did; where steps run one by one, dispatch may.

    Args:
      at_once: steps that run at the same time; 1: in the order of dispatch, as collectives need it.

    A CPU's runtime runs what one thread has dispatched in turn, and a step does not keep all cores
    busy: parts of it are small or wait for memory. Steps of two threads fill each other's gaps.
    """

    def dispatch(step: Callable[..., jax.Array], *arguments: Any) -> Callable[[], np.ndarray]:
        nll_BC = step(*arguments)
        return lambda: np.asarray(nll_BC)

    if at_once == 1:
        yield dispatch
        return
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        yield lambda step, *arguments: pool.submit(lambda: np.asarray(step(*arguments))).result


def keep_freed_memory(steps: Iterable[jax.stages.Compiled]) -> None:
    """Has the process keep memory that is freed: for one that runs `steps` on a CPU. Linux's glibc.

    Each operation of a step asks for scratch memory and frees it. By default much of it goes back
    to the system every time: up to 400,000 page faults a step, a tenth of its time. What loading
    and compiling have freed goes back now.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "malloc_trim"):  # glibc's own, as are the names of the options
        least, most = _OWN_MAPPING_BYTES
        analyses = [step.memory_analysis() for step in steps]
        smallest = min((memory.temp_size_in_bytes for memory in analyses if memory), default=most)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_MMAP_THRESHOLD, min(max(smallest, least), most))
        libc.malloc_trim(0)
