"""Attention by hand-written kernels: Pallas splash attention on TPUs, cuDNN's on NVIDIA GPUs.

Both never hold scores in memory. What a kernel does not do is done another way by
`dot_product_attention.attend`: `unsupported` says what and why. Axis legend: `decoder.py`.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxbpc.models.arch import Arch
from jaxbpc.parallel import sharding

TILE = 128  # rows and columns of a TPU's tile: splash takes lengths that are multiples of it
_BLOCK = 640  # the most queries or keys at a time: 1920 = 3 · 640


def unsupported(kind: str, arch: Arch, dtype: np.dtype) -> str | None:
    """Why a model's attention cannot run by `kind`; None where it can."""
    a = arch.attention
    if kind in ("splash", "cudnn") and dtype != jnp.bfloat16:
        return f"{kind} rounds operands to bfloat16, the model runs in {dtype}"
    if kind in ("splash", "cudnn") and arch.key_bias:
        return f"{kind} has no ALiBi"
    if kind == "cudnn":
        size = a.latent.plain_size + a.latent.rope_size if a.latent else a.head_size
        faults = [
            (a.softcap is not None, "soft caps"),
            (a.sinks, "attention sinks"),
            (a.latent is not None, "values of another size than keys"),
            (size > 256 or size % 8 != 0, f"heads of size {size}"),
        ]
        if reasons := [name for fault, name in faults if fault]:
            return f"cudnn has no {', '.join(reasons)}"
    return None


def splash(
    q_BNCH: jax.Array,
    k_BKTH: jax.Array,
    v_BKTH: jax.Array,
    window: int | None,
    softcap: float | None,
    sinks_N: jax.Array | None = None,
    interpret: bool = False,
) -> jax.Array:
    """Pallas splash attention of the last C positions; lengths are multiples of TILE.

    Args:
      interpret: run the kernel in Python, on any device: for tests.
    """
    mesh = jax.sharding.get_abstract_mesh()
    N, K = q_BNCH.shape[1], k_BKTH.shape[1]
    run = functools.partial(_splash, window=window, softcap=softcap, interpret=interpret)
    if mesh.empty or mesh.size == 1:
        return run(q_BNCH, k_BKTH, v_BKTH, sinks_N)
    of_query = sharding.spec(("batch", "heads", None, None), q_BNCH.shape, mesh)
    of_key = sharding.spec(("batch", "kv_heads", None, None), k_BKTH.shape, mesh)
    if of_query != of_key:  # fewer key heads than devices: each query head gets its own copy
        k_BKTH, v_BKTH = (jnp.repeat(a, N // K, axis=1) for a in (k_BKTH, v_BKTH))
        of_key = of_query
    of_sinks = jax.sharding.PartitionSpec(of_query[1])
    specs = (of_query, of_key, of_key, None if sinks_N is None else of_sinks)
    # A kernel is not partitioned by the compiler: each device runs it on its own heads and rows.
    return jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=of_query, check_vma=False)(
        q_BNCH, k_BKTH, v_BKTH, sinks_N
    )


def _splash(q_BNCH, k_BKTH, v_BKTH, sinks_N, window, softcap, interpret) -> jax.Array:
    """On one device."""
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as kernel_lib,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_mask as mask_lib,
    )

    N, C = q_BNCH.shape[1:3]
    T = k_BKTH.shape[2]
    # Query i is at position i + T - C.
    mask: mask_lib.Mask = mask_lib.CausalMask((C, T), offset=T - C)
    if window is not None:
        mask = mask_lib.LocalMask((C, T), (window - 1, 0), offset=T - C)
    sizes = kernel_lib.BlockSizes(block_q=_block(C), block_kv=_block(T))
    run = kernel_lib.make_splash_mha(
        mask_lib.MultiHeadMask([mask] * N),
        block_sizes=sizes,
        attn_logits_soft_cap=softcap,
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    if sinks_N is None:
        return jax.vmap(run)(q_BNCH, k_BKTH, v_BKTH)
    return jax.vmap(lambda q, k, v: run(q, k, v, sinks=sinks_N))(q_BNCH, k_BKTH, v_BKTH)


def _block(length: int) -> int:
    """The largest multiple of TILE that divides `length` and is at most _BLOCK."""
    n_tiles = length // TILE
    return TILE * max(n for n in range(1, _BLOCK // TILE + 1) if n_tiles % n == 0)


def cudnn(q_BNCH: jax.Array, k_BKTH: jax.Array, v_BKTH: jax.Array, window: int | None) -> jax.Array:
    """cuDNN's fused attention of all T positions on each other (C = T), scale 1."""
    q, k, v = (a.transpose(0, 2, 1, 3) for a in (q_BNCH, k_BKTH, v_BKTH))
    out = jax.nn.dot_product_attention(
        q,
        k,
        v,
        scale=1.0,
        is_causal=True,
        local_window_size=None if window is None else (window - 1, 0),
        implementation="cudnn",
    )
    return out.transpose(0, 2, 1, 3)


def refused_by_cudnn(arch: Arch) -> str | None:
    """Why the cuDNN that is installed does not take a model's heads; None where it does."""
    a = arch.attention
    q_BNTH, k_BKTH = (
        jax.ShapeDtypeStruct((1, n, TILE, a.head_size), jnp.bfloat16)
        for n in (a.n_heads, a.n_kv_heads)
    )
    try:
        jax.eval_shape(functools.partial(cudnn, window=None), q_BNTH, k_BKTH, k_BKTH)
    except (RuntimeError, ValueError) as e:  # none is there; or it or its GPU has its limits
        return f"cudnn: {' '.join(str(e).split())[:160]}"
    return None


def padded(length: int, kind: str) -> int:
    """The length that windows of `length` are padded to."""
    return math.ceil(length / TILE) * TILE if kind == "splash" else length
