"""What a step that did not run would do: it is compiled for devices that are not here and read.

The compiler reports whether it fits, the bytes, the collectives and, on TPUs, cycles. FLOPs are
counted. The rest is analytic: cycles of kernels, and a GPU's time, a roofline.
"""

import dataclasses
import math
import re
import sys
from typing import Any

from jaxbpc.checkpoint import load
from jaxbpc.config import Settings
from jaxbpc.evaluation import layout
from jaxbpc.evaluation import step as step_lib
from jaxbpc.models import costs
from jaxbpc.models.arch import Arch
from jaxbpc.models.decoder import Decoder, parameters
from jaxbpc.parallel.chips import CHIPS, GIB, Chip
from jaxbpc.plan import hlo_cost

# The compiler reports no cycles of kernels. Assumed shares of the chip's peak: attention by blocks
# a half, grouped products of experts as a large product. For GPUs there are no cycles: their
# products are assumed to reach what good training runs on them do.
ATTENTION_SHARE, EXPERTS_SHARE, GPU_SHARE = 0.5, 0.7, 0.6
# Of the paper's corpora; a token of a recent tokenizer is some 3.5 of their characters.
PAPER_CHARACTERS = {"commoncraw": 131e6, "python": 98e6, "arxiv_math": 101e6}
CHARACTERS_A_TOKEN = 3.5
_MOST_COMPILED = 12


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is known of a step that did not run.

    From the compiler: fits, bytes, cycles, collectives. Counted: FLOPs. Analytic: kernel_cycles and
    step_s, what a step takes by what could bound it, the longest of which gives windows_per_s: as
    if exchanges were hidden behind products. flop_per_cycle (TPU) leaves attention out on both
    sides.
    """

    topology: str
    chip: str
    n_devices: int
    devices_per_host: int
    mesh: dict[str, int]
    batch_per_device: int
    stride: int
    dtype: str
    attention: str
    fits: bool
    flops_per_window: float
    parameter_bytes_per_device: int
    temporary_bytes_per_device: int | None = None
    peak_bytes_per_device: int | None = None
    cycles: int = 0
    kernel_cycles: float = 0.0
    flop_per_cycle: float | None = None
    step_s: dict[str, float] | None = None
    windows_per_s: float | None = None
    collectives: tuple[dict[str, Any], ...] = ()
    note: str = ""
    characters_per_token: float = CHARACTERS_A_TOKEN  # assumed for paper_hours
    text: str = dataclasses.field(default="", repr=False)

    @property
    def paper_hours(self) -> dict[str, float] | None:
        """Hours for each of the paper's corpora, at this stride and 3.5 characters a token."""
        if not self.windows_per_s:
            return None
        windows = self.characters_per_token * self.stride
        return {
            name: characters / windows / self.windows_per_s / 3600
            for name, characters in PAPER_CHARACTERS.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        result = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del result["text"]
        hours = self.paper_hours
        result["layout"] = {"mesh": self.mesh, "batch_per_device": self.batch_per_device}
        result["paper_hours"] = hours
        result["paper_device_hours"] = hours and sum(hours.values()) * self.n_devices
        return result


def plan(settings: Settings, arch: Arch, name: str, devices: list) -> Plan:
    """The plan of a run on `devices` (see `topology.describe`), by the layout that it would choose
    where `settings` leaves it open. Compiles the step: seconds to minutes.
    """
    chosen = layout.choose(settings, arch, not arch.tied, devices)
    chip = CHIPS.get(devices[0].device_kind)
    kind = chosen.attention
    made = Decoder(arch, chosen.dtype, kind, not arch.tied, chosen.stacked)
    model = load.placed(made, chosen.mesh)
    known = Plan(
        topology=name,
        chip=chip.name if chip else devices[0].device_kind,
        n_devices=len(devices),
        devices_per_host=len(devices) // len({d.process_index for d in devices}),
        mesh=dict(chosen.mesh.shape),
        batch_per_device=chosen.batch_per_device,
        stride=settings.window_stride,
        dtype=chosen.dtype.name,
        attention=kind,
        fits=False,
        flops_per_window=costs.flops(
            arch, settings.window_block_size, settings.window_stride
        ).total,
        parameter_bytes_per_device=_bytes_per_device(model),
    )
    step = step_lib.Step(Decoder.hidden, Decoder.output, chosen.mesh)
    shape = (chosen.batch_size, settings.window_block_size)
    try:
        compiled = step.compile(model, shape, settings.window_stride)
    except Exception as e:  # jaxlib's own, of many classes
        if "RESOURCE_EXHAUSTED" not in str(e) and "xceeded hbm" not in str(e):
            raise
        return dataclasses.replace(known, note=_too_large(_over(str(e)), known, chip))
    return _costed(known, settings, arch, chosen, compiled, chip)


def _costed(
    known: Plan, settings: Settings, arch: Arch, chosen: layout.Layout, compiled, chip: Chip | None
) -> Plan:
    """`known` with what the compiled step says of itself."""
    text = compiled.as_text() or ""
    cost = hlo_cost.cost(text)
    useful = costs.flops(arch, settings.window_block_size, settings.window_stride)
    memory = compiled.memory_analysis()
    peak = getattr(memory, "peak_memory_in_bytes", 0) or (
        memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    )
    known = dataclasses.replace(
        known,
        fits=True,
        temporary_bytes_per_device=memory.temp_size_in_bytes,
        peak_bytes_per_device=peak,
        cycles=cost.cycles,
        collectives=tuple(_named(c, chosen.mesh) for c in cost.collectives),
        text=text,
    )
    if chip and chip.cuda:  # its compiler refuses nothing and reports no cycles
        if peak > chip.memory_bytes:
            over = f"{(peak - chip.memory_bytes) / GIB:.1f} GiB"
            return dataclasses.replace(known, fits=False, note=_too_large(over, known, chip))
        parts = _roofline(useful, known, chip, chosen.batch_size)
        return dataclasses.replace(
            known, step_s=parts, windows_per_s=chosen.batch_size / max(parts.values())
        )
    windows = chosen.batch_size / known.n_devices
    products = (useful.total - useful.attention) * windows
    if not chip:  # nothing is known of its kernels and its clock
        return dataclasses.replace(known, flop_per_cycle=products / cost.cycles)
    attention, experts = 0.0, useful.experts / EXPERTS_SHARE
    if chosen.attention == "splash":
        attention = useful.attention / ATTENTION_SHARE
    attention, experts = (f * windows / chip.flop_per_cycle for f in (attention, experts))
    parts = {
        "cycles": (cost.cycles + attention + experts) / chip.clock_hz,
        "exchanges": _exchanges_s(known, chip),
    }
    return dataclasses.replace(
        known,
        kernel_cycles=attention + experts,
        flop_per_cycle=products / (cost.cycles + experts),
        step_s=parts,
        windows_per_s=chosen.batch_size / max(parts.values()),
    )


def _roofline(useful: costs.Flops, known: Plan, chip: Chip, batch_size: int) -> dict[str, float]:
    """Seconds of a GPU's step by what could bound it: FLOPs, memory, exchanges; all analytic."""
    flops = useful.attention / ATTENTION_SHARE + (useful.total - useful.attention) / GPU_SHARE
    n_bytes = known.parameter_bytes_per_device * known.mesh["fsdp"]
    return {
        "products": flops * batch_size / known.n_devices / chip.peak_flop_per_s,
        "memory": n_bytes / chip.memory_bytes_per_s,
        "exchanges": _exchanges_s(known, chip),
    }


def _exchanges_s(known: Plan, chip: Chip) -> float:
    """Seconds of a step's exchanges at the links' rate, were nothing else in their way; analytic.

    A device has its own part of what is exchanged. GPUs of one host use its links, those of several
    the network.
    """
    total = 0.0
    for c in known.collectives:
        network = chip.cuda is not None and c["group"] > known.devices_per_host
        rate = chip.network_bytes_per_s if network else chip.link_bytes_per_s
        total += c["count"] * c["n_bytes"] * (1 - 1 / max(c["group"], 1)) / rate
    return total


def search(settings: Settings, arch: Arch, name: str, devices: list) -> list[Plan]:
    """Plans of layouts that may fit, the fastest first; those that do not fit last."""
    found = []
    candidates = _candidates(settings, arch, devices)
    for i, (mesh, batch) in enumerate(candidates):
        one = dataclasses.replace(settings, mesh=mesh, batch_per_device=batch)
        found.append(plan(one, arch, name, devices))
        rate = found[-1].windows_per_s or 0
        outcome = f"{rate:.1f} windows/s" if found[-1].fits else "does not fit"
        print(
            f"[{i + 1}/{len(candidates)}] data={mesh[0]} fsdp={mesh[1]} tensor={mesh[2]}, "
            f"{batch} windows a device: {outcome}",
            file=sys.stderr,
        )
    return sorted(found, key=lambda p: (not p.fits, -(p.windows_per_s or p.flop_per_cycle or 0)))


def _candidates(settings: Settings, arch: Arch, devices: list) -> list[tuple[tuple, int]]:
    """(mesh, windows a device) to try: what would be chosen first, then what is like it."""
    left_open = dataclasses.replace(settings, mesh=(0, 0, 0), batch_per_device=0)
    chosen = layout.choose(left_open, arch, not arch.tied, devices)
    first = (tuple(chosen.mesh.shape.values()), chosen.batch_per_device)
    n, dtype = len(devices), chosen.dtype
    chip = CHIPS.get(devices[0].device_kind)
    window = costs.activation_bytes(arch, settings.window_block_size, dtype)
    n_bytes = costs.parameter_bytes(arch, not arch.tied, dtype)
    result = {}
    for fsdp, tensor in ((f, t) for f in _divisors(n) for t in _divisors(n // f)):
        # The other batches of the same mesh, then other groups of devices, tensor parallelism last.
        far = abs(math.log2(fsdp * tensor / first[0][1]))
        for batch in (1, 2, 4):
            need = n_bytes / (fsdp * tensor) + batch * window
            fits = not chip or need < chip.memory_bytes
            if arch.attention.n_heads % tensor == 0 and tensor <= 16 and fits:
                result[(n // (fsdp * tensor), fsdp, tensor), batch] = (tensor, far, batch)
    return [first, *(c for c in sorted(result, key=result.__getitem__) if c != first)][
        :_MOST_COMPILED
    ]


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _bytes_per_device(model) -> int:
    """Bytes of a placed model's parameters on one device."""
    total = 0
    for variable in parameters(model).values():
        value = variable.get_value()
        total += math.prod(value.sharding.shard_shape(value.shape)) * value.dtype.itemsize
    return total


def _named(collective: Any, mesh) -> dict[str, Any]:
    """A collective with the axes of the mesh whose devices take part in it."""
    names = list(mesh.shape)
    axes = [
        [names[i] for i in range(len(names)) if bits >> i & 1] for bits in range(1, 2 ** len(names))
    ]
    fitting = [
        chosen
        for chosen in axes
        if all(mesh.shape[a] > 1 for a in chosen)
        and math.prod(mesh.shape[a] for a in chosen) == collective.group
    ]
    axis = "+".join(fitting[0]) if len(fitting) == 1 else None
    return dataclasses.asdict(collective) | {"axis": axis}


_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def _over(message: str) -> str:
    """By how much a device's memory is too small, of the compiler's message; "" if it says not."""
    found = re.search(r"[Ee]xceeded hbm capacity by ([\d.]+)([KMGT])", message)
    if found:
        n_bytes = float(found[1]) * _SIZES[found[2]]
    else:
        found = re.search(r"\(([\d.]+)([KMGT])\) exceeds available HBM \(([\d.]+)([KMGT])", message)
        if not found:
            return ""
        wanted, has = (float(found[i]) * _SIZES[found[i + 1]] for i in (1, 3))
        n_bytes = wanted - has
    return f"{n_bytes / GIB:.1f} GiB"


def _too_large(over: str, known: Plan, chip: Chip | None) -> str:
    """By how much it does not fit, and what would."""
    fault = f"does not fit, by {over} a device" if over else "does not fit"
    shards = known.mesh["fsdp"] * known.mesh["tensor"]
    n_bytes = known.parameter_bytes_per_device * shards
    if chip and n_bytes / known.n_devices > 0.8 * chip.memory_bytes:
        devices = 2 ** math.ceil(math.log2(n_bytes / (0.7 * chip.memory_bytes)))
        return f"{fault}: {n_bytes / GIB:.0f} GiB of parameters want {devices} {chip.name} or more"
    if known.batch_per_device > 1:
        return f"{fault}: give --config.batch_per_device=1"
    return f"{fault}: give --config.mesh.fsdp=-1, or more devices"
