"""What is chosen where the config leaves it open: dtype, mesh, windows a device, attention, steps.

One cost model for all of it: bytes of parameters and of a window's activations against a device's
memory.
"""

import contextlib
import dataclasses
import logging
import math
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from jaxbpc.config import Settings
from jaxbpc.errors import InputError
from jaxbpc.models import kernels, layers
from jaxbpc.models.arch import Arch
from jaxbpc.models.costs import activation_bytes, gathered_bytes, parameter_bytes
from jaxbpc.parallel import sharding
from jaxbpc.parallel.chips import CHIPS
from jaxbpc.utils import processes

log = logging.getLogger(__name__)

_USABLE = 0.9  # of a device's memory: the rest is the runtime's and fragmentation
_SPREAD = 0.8  # where more devices could share a copy: room to fetch layers ahead
BATCH = {"cpu": 1, "tpu": 2, "gpu": 8}  # windows a device a step, where there is room


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a model runs: settings without anything left open."""

    dtype: np.dtype
    attention: str
    mesh: jax.sharding.Mesh
    batch_per_device: int
    stacked: bool  # see `Decoder`
    steps_at_once: int = 1  # see `step.dispatcher`

    @property
    def batch_size(self) -> int:
        """Windows a step over the whole mesh."""
        return self.batch_per_device * sharding.n_batch_shards(self.mesh)

    def at_most(self, n_windows: int) -> "Layout":
        """This layout with no more rows a step than `n_windows` need: more were padding alone."""
        need = max(1, -(-n_windows // sharding.n_batch_shards(self.mesh)))
        return dataclasses.replace(self, batch_per_device=min(self.batch_per_device, need))


def choose(
    settings: Settings, arch: Arch, own_head: bool, devices: Sequence[jax.Device] | None = None
) -> Layout:
    """The layout of `settings` for a model on `devices` (default: all).

    Raises:
      InputError: a mesh that does not fit the devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    dtype = dtype_on(settings.model_dtype, devices[0])
    memory = _memory_bytes(devices[0])
    sizes = settings.mesh
    n_bytes = parameter_bytes(arch, own_head, dtype)
    window = activation_bytes(arch, settings.window_block_size, dtype)
    gathered = gathered_bytes(arch, n_bytes, dtype)
    if not any(sizes) and memory:
        counts = [n for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        need = {n: n_bytes / n + (gathered if n > 1 else 0) + window for n in counts}
        share = {n: _USABLE if n == 1 else _SPREAD for n in counts}
        fsdp = next((n for n in counts if need[n] <= share[n] * memory), len(devices))
        sizes = (-1, fsdp, 1)
    mesh = sharding.make_mesh(sizes, devices)
    batch = settings.batch_per_device
    if not batch:
        split = mesh.shape["fsdp"] * mesh.shape["tensor"]
        room = _USABLE * memory - n_bytes / split - (gathered if mesh.shape["fsdp"] > 1 else 0)
        batch = max(1, min(BATCH.get(devices[0].platform, 8), int(room // window)))
    kind = attention(settings.model_attention, arch, dtype, devices[0].platform)
    if kind == "cudnn" and (reason := kernels.refused_by_cudnn(arch)):
        kind = _instead(settings.model_attention, reason)
    if devices[0].platform != "cpu":
        return Layout(dtype, kind, mesh, batch, stacked=True)
    # More at once than 2 were no faster, on 2 cores.
    fits = n_bytes + 2 * batch * window <= (host_memory_bytes() or math.inf)
    at_once = 2 if mesh.size == 1 and processes.cores() > 1 and fits else 1
    return Layout(dtype, kind, mesh, batch, stacked=False, steps_at_once=at_once)


def check_memory(layout: Layout, arch: Arch, own_head: bool, block_size: int) -> None:
    """Refuses a model that cannot fit, before its memory is asked for.

    Of an accelerator its parameters alone are counted: the device says itself what else is too
    much. On a CPU nobody does: the system ends the process that asks for more than there is.

    Raises:
      InputError: with what is needed and what there is.
    """
    split = layout.mesh.shape["fsdp"] * layout.mesh.shape["tensor"]
    need = parameter_bytes(arch, own_head, layout.dtype) / split
    device = layout.mesh.devices.flat[0]
    memory, what = _memory_bytes(device), "a device"
    if device.platform == "cpu":
        memory, what = host_memory_bytes(), "this machine's free memory"
        window = activation_bytes(arch, block_size, layout.dtype)
        windows = layout.steps_at_once * layout.batch_per_device
        need = len(layout.mesh.local_devices) * (need + windows * window)
    if memory and need > memory:
        raise InputError(
            f"the model needs {need / 1e9:,.1f} GB or more in {layout.dtype} and "
            f"{layout.batch_per_device} window(s) of {block_size} tokens a step, {what} has "
            f"{memory / 1e9:,.1f} GB: give more devices to --config.mesh.fsdp, a smaller "
            "--config.batch_per_device or --config.window.block_size, "
            "--config.model.dtype=bfloat16, or fix the sizes in config.json"
        )


def host_memory_bytes() -> int:
    """Bytes that this machine, or the container, can give; 0 if unknown."""
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
        kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
        found.append(1024 * (kib["MemAvailable"] + kib["SwapFree"]))
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        found.append(int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=0)


def has_bfloat16(device: jax.Device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; where it does not, it is emulated."""
    if device.platform == "tpu":
        return True
    if device.platform == "gpu":
        major = str(getattr(device, "compute_capability", "0")).split(".")[0]
        return int(major) >= 8 if major.isdigit() else True
    return layers.cpu_has_bfloat16()


def attention(name: str, arch: Arch, dtype: np.dtype, platform: str) -> str:
    """The kind of attention: what was asked for, or what is best on a platform and can be had."""
    kinds = {"tpu": "splash", "gpu": "cudnn"}
    kind = kinds.get(platform, "blocked") if name == "auto" else name
    reason = kernels.unsupported(kind, arch, dtype)
    if kind in kinds.values() and kinds.get(platform) != kind:
        reason = f"{kind} does not run on {platform}"
    return kind if reason is None else _instead(name, reason)


def _instead(name: str, reason: str) -> str:
    """What stands in for a kind of attention that cannot run: an error, where it was asked for."""
    if name != "auto":
        raise InputError(f"config.model.attention is {name!r}: {reason}; give auto or blocked")
    log.warning("attention: %s; blocked is exact and slower", reason)
    return "blocked"


def dtype_on(name: str, device: jax.Device) -> np.dtype:
    """The dtype of weights: 'auto' is bfloat16 where `device` multiplies it, else float32."""
    if name == "auto":
        name = "bfloat16" if has_bfloat16(device) else "float32"
    return jax.numpy.dtype(name)


def _memory_bytes(device: jax.Device) -> int:
    """Bytes that a device may use; 0 if unknown (a CPU)."""
    try:
        stats = device.memory_stats() if device.platform != "cpu" else None
    except jax.errors.JaxRuntimeError:  # of a topology: no device is there
        return CHIPS[device.device_kind].memory_bytes if device.device_kind in CHIPS else 0
    return int((stats or {}).get("bytes_limit", 0))


def check_positions(arch: Arch, block_size: int) -> str | None:
    """A warning where windows are longer than what the model was trained for, else None.

    Raises:
      InputError: the model has no positions for them.
    """
    if block_size <= arch.max_length:
        return None
    if arch.position_limit:
        raise InputError(
            f"config.window.block_size is {block_size}, the model knows {arch.max_length} "
            f"positions: give --config.window.block_size={arch.max_length} or less (the number is "
            "then another than the paper's)"
        )
    return (
        f"windows of {block_size} tokens are longer than the {arch.max_length} that the model was "
        "trained for: expect a worse number"
    )
