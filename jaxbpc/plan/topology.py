"""Devices that are not here, described well enough to compile for them: TPU slices, GPU hosts."""

import importlib.util
import math
import re
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.parallel import chips

_EXAMPLES = "v5e:4x4, v5p:4x4x4, h100:8 or h100:2x8 (hosts x GPUs)"


def describe(name: str, n_slices: int = 1) -> list:
    """The JAX devices of `generation:shape`.

    Args:
      name: a TPU generation and the shape of a slice, or a GPU's name and its number in a host, or
        hosts x GPUs of each.
      n_slices: TPU slices of that shape, connected by the network.

    Raises:
      InputError: no such topology, or its compiler is not installed.
    """
    generation, _, shape = name.partition(":")
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){0,2}", shape):
        raise InputError(f"--topology {name!r}: give generation:shape, e.g. {_EXAMPLES}")
    if n_slices < 1 or (n_slices > 1 and generation in chips.GPUS):
        raise InputError(f"--slices={n_slices}: give 1 or more, and for TPUs alone")
    known = [chip.name for chip in chips.CHIPS.values()]
    if generation not in known:
        raise InputError(f"--topology {name!r}: no {generation!r}: give one of {', '.join(known)}")
    sizes = [int(n) for n in shape.split("x")]
    if generation in chips.GPUS:
        return _gpus(name, chips.GPUS[generation], sizes)
    return _tpus(name, generation, sizes, n_slices)


def _tpus(name: str, generation: str, sizes: list[int], n_slices: int) -> list:
    more: dict[str, Any] = {"chip_config_name": "megacore"} if generation == "v4" else {}
    if math.prod(sizes) < 4:  # less than a host
        more["chips_per_host_bounds"] = tuple([*sizes, 1, 1][:3])
    if n_slices > 1:
        more["num_slices"] = n_slices
    return _described(name, "libtpu", "tpu", topology_name=name, platform="tpu", **more)


def _gpus(name: str, kind: str, sizes: list[int]) -> list:
    if len(sizes) > 2:
        raise InputError(f"--topology {name!r}: give hosts x GPUs of each, e.g. h100:2x8")
    hosts, each = ([1, *sizes])[-2:]
    return _described(
        name,
        "jax_plugins",  # the folder of JAX's plugins for other devices
        "plan-gpu",
        platform="cuda",
        target_config=chips.target_config(kind),
        topology=f"1x{hosts}x{each}",
    )


def _described(name: str, package: str, extra: str, **how: Any) -> list:
    """Asks JAX for a topology. Raises InputError with the remedy."""
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(**how).devices)
    except Exception as e:  # the compiler is missing, or refuses the name
        reason = " ".join(str(e).split())[:200]
        if importlib.util.find_spec(package) is None:
            reason = f"its compiler is missing: pip install 'jaxbpc[{extra}]' (no device is needed)"
        raise InputError(f"--topology {name!r}: {reason}")
