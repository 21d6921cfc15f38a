"""Compiles the real step for TPUs or GPUs without having one: does it fit, how fast is it.

  python -m jaxbpc.plan --config FILE.py[:argument] --topology v5e:4x4 [--slices N] [--search]
                        [--json FILE] [--dump DIR] [--config.group.field=value …]

--topology   TPU generation:shape, e.g. v4:2x2x1, v5e:4x4, v5p:4x4x4, v6e:2x4, tpu7x:2x2x1; or
             GPU:number, GPU:hosts x number, of a100, h100, h200, b200: h100:8, h100:2x8
--slices     TPU slices of that shape, connected by the network
--search     tries layouts and windows a device, and ranks them
--json       the result as a file
--dump       folder for the compiled program's text, to count in

Needs the compiler (pip install 'jaxbpc[tpu]' or 'jaxbpc[plan-gpu]'), no device, and of the model
its config.json alone. The output marks numbers of the compiler, counts and assumptions.
"""

import json
import os
import pathlib
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from jaxbpc import cli
from jaxbpc.errors import InputError
from jaxbpc.parallel.chips import GIB

if TYPE_CHECKING:  # jax is imported once the flags are read
    from jaxbpc.plan.estimate import Plan

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_TOPOLOGY = flags.DEFINE_string("topology", None, "generation:shape")
_SLICES = flags.DEFINE_integer("slices", 1, "TPU slices")
_SEARCH = flags.DEFINE_bool("search", False, "try layouts and rank them")
_JSON = flags.DEFINE_string("json", None, "file for the result")
_DUMP = flags.DEFINE_string("dump", None, "folder for the compiled text")


def main() -> None:
    """Flags → topology → compile → table."""
    # Compiling needs no chip, and asking for one that is in use would fail.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    # The TPU's library looks for the host that it runs on, and says at length that there is none.
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    from jaxbpc import config as config_lib
    from jaxbpc.checkpoint import load, locate
    from jaxbpc.plan import estimate, topology

    if not _TOPOLOGY.value:
        raise InputError("--topology is missing: give generation:shape, e.g. v5e:4x4")
    settings = config_lib.validate(_CONFIG.value)
    folder = locate.resolve(settings.model_path, settings.model_revision, weights=False)
    arch = load.read_arch(folder)[2]
    devices = topology.describe(_TOPOLOGY.value, _SLICES.value)
    name = _TOPOLOGY.value if _SLICES.value == 1 else f"{_SLICES.value} slices of {_TOPOLOGY.value}"
    if _SEARCH.value:
        found = estimate.search(settings, arch, name, devices)
    else:
        found = [estimate.plan(settings, arch, name, devices)]
    best = found[0]
    try:
        if _DUMP.value and best.text:
            place = pathlib.Path(_DUMP.value)
            place.mkdir(parents=True, exist_ok=True)
            (place / "step.hlo.txt").write_text(best.text)
        if _JSON.value:
            result = best.as_dict()
            if _SEARCH.value:
                result["searched"] = [p.as_dict() for p in found]
            pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=1) + "\n")
    except OSError as e:
        raise InputError(
            f"{e.filename}: cannot be written ({e.strerror}): give another --json or --dump"
        )
    shown = ranking(found) if _SEARCH.value else table(best)
    cli.show(shown, "give --json FILE to keep the plan")


def table(p: "Plan") -> str:
    """A plan as lines for people."""
    layout = " ".join(f"{axis}={size}" for axis, size in p.mesh.items())
    lines = [
        f"{p.topology}: {p.n_devices} x {p.chip}, {layout}, {p.batch_per_device} windows a device, "
        f"{p.dtype}, attention {p.attention}",
        f"parameters      {p.parameter_bytes_per_device / GIB:10.2f} GiB a device",
    ]
    if p.peak_bytes_per_device is not None and p.temporary_bytes_per_device is not None:
        lines += [
            f"temporaries     {p.temporary_bytes_per_device / GIB:10.2f} GiB a device (compiler)",
            f"peak memory     {p.peak_bytes_per_device / GIB:10.2f} GiB a device (compiler)",
        ]
    lines.append(f"useful FLOPs    {p.flops_per_window / 1e9:10,.0f} G a window (counted)")
    if not p.fits:
        return "\n".join([*lines, p.note])
    if p.flop_per_cycle:
        lines += [
            f"cycles          {p.cycles:10,.0f} a step (compiler) + {p.kernel_cycles:,.0f} of "
            "kernels (analytic)",
            f"FLOP a cycle    {p.flop_per_cycle:10,.0f} of products, without attention",
        ]
    if p.step_s:
        times = ", ".join(f"{name} {1e3 * seconds:,.0f} ms" for name, seconds in p.step_s.items())
        lines.append(f"a step          {times} (analytic; the longest is taken)")
    if p.windows_per_s and p.paper_hours:
        hours = sum(p.paper_hours.values())
        each = ", ".join(f"{name} {h:.2f}" for name, h in p.paper_hours.items())
        lines += [
            f"windows/s       {p.windows_per_s:10.1f} (estimate, as if products hid all exchanges)",
            f"paper's corpora {hours:10.2f} hours, {hours * p.n_devices:.1f} device hours "
            f"({each}; {p.characters_per_token} characters a token)",
        ]
    for c in p.collectives[:6]:
        lines.append(
            f"{c['kind']:<20}{c['count']:>5} x {c['n_bytes'] / 2**20:10.1f} MiB over "
            f"{c['axis'] or c['group']}"
        )
    return "\n".join(lines)


def ranking(found: "list[Plan]") -> str:
    """Plans as a table, the best first."""
    lines = [f"{'data':>5}{'fsdp':>6}{'tensor':>8}{'batch':>7}{'windows/s':>11}{'peak GiB':>10}"]
    for p in found:
        rate, peak = p.windows_per_s, p.peak_bytes_per_device
        lines.append(
            f"{p.mesh['data']:>5}{p.mesh['fsdp']:>6}{p.mesh['tensor']:>8}{p.batch_per_device:>7}"
            + (f"{rate or 0:>11.1f}{(peak or 0) / GIB:>10.2f}" if p.fits else f"  {p.note}")
        )
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, __doc__)
