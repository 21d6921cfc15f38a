"""Compiles the real step for a TPU topology without having one: does it fit, how fast is it.

  python -m jaxbpc.plan --config FILE.py[:argument] --topology v5e:4x4 [--search]
                        [--json FILE] [--dump DIR] [--config.group.field=value …]

--topology   generation:shape, e.g. v4:2x2x1, v5e:4x4, v5p:4x4x4, v6e:2x4
--search     tries layouts and windows a device, and ranks them
--json       the result as a file
--dump       folder for the compiled program's text, to count in

Needs the TPU compiler (pip install 'jaxbpc[tpu]'), no TPU, and of the model its config.json alone.
What the compiler says, what is counted and what is assumed is told apart.
"""

import dataclasses
import importlib.util
import json
import math
import os
import pathlib
import re
import sys
from typing import Any

from absl import flags
from ml_collections import config_flags

from jaxbpc import cli
from jaxbpc.chips import CHIPS, GIB
from jaxbpc.config import Settings
from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
_TOPOLOGY = flags.DEFINE_string("topology", None, "generation:shape")
_SEARCH = flags.DEFINE_bool("search", False, "try layouts and rank them")
_JSON = flags.DEFINE_string("json", None, "file for the result")
_DUMP = flags.DEFINE_string("dump", None, "folder for the compiled text")

# The compiler tells no cycles of kernels. Assumed of their chip's peak: attention by blocks a half,
# grouped products of experts what a large product reaches.
ATTENTION_SHARE, EXPERTS_SHARE = 0.5, 0.7
# Of the paper's three corpora; a token of a recent tokenizer is some 3.5 of their characters.
PAPER_CHARACTERS, CHARACTERS_A_TOKEN = 330e6, 3.5
_MOST_COMPILED = 12


def main() -> None:
    """Flags → topology → compile → table."""
    # Compiling needs no chip, and asking for one that is in use would fail.
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jaxbpc import config as config_lib
    from jaxbpc.weights import load, source

    if not _TOPOLOGY.value:
        raise InputError("--topology is missing: give generation:shape, e.g. v5e:4x4")
    settings = config_lib.validate(_CONFIG.value)
    folder = source.resolve(settings.model_path, settings.model_revision, weights=False)
    arch = load.read_arch(folder)[2]
    make = search if _SEARCH.value else plans
    found = make(settings, arch, _TOPOLOGY.value)
    best = found[0]
    print(ranking(found) if _SEARCH.value else table(best))
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


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is known of a step that did not run.

    From the compiler: fits, bytes, cycles, collectives. Counted: FLOPs. Analytic: kernel_cycles,
    and with them seconds; exchanges that nothing hides are in none of them. flop_per_cycle leaves
    attention out on both sides.
    """

    topology: str
    chip: str
    n_devices: int
    mesh: dict[str, int]
    batch_per_device: int
    stride: int
    dtype: str
    attention: str
    fits: bool
    flops_per_window: float
    parameter_bytes_per_device: int
    peak_bytes_per_device: int | None = None
    cycles: int = 0
    kernel_cycles: float = 0.0
    flop_per_cycle: float | None = None
    windows_per_s: float | None = None
    collectives: tuple[dict[str, Any], ...] = ()
    note: str = ""
    text: str = dataclasses.field(default="", repr=False)

    @property
    def paper_hours(self) -> float | None:
        """Hours for the paper's three corpora at this stride and 3.5 characters a token."""
        if not self.windows_per_s:
            return None
        return PAPER_CHARACTERS / CHARACTERS_A_TOKEN / self.stride / self.windows_per_s / 3600

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        result = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del result["text"]
        hours = self.paper_hours
        result["layout"] = {"mesh": self.mesh, "batch_per_device": self.batch_per_device}
        result["paper_hours"] = hours
        result["paper_device_hours"] = hours and hours * self.n_devices
        return result


def topology(name: str) -> list:
    """The devices of a TPU topology that is not here.

    Raises:
      InputError: no such topology, or no libtpu.
    """
    from jax.experimental import topologies

    generation, _, shape = name.partition(":")
    if not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        raise InputError(f"--topology {name!r}: give generation:shape, e.g. v5e:4x4 or v5p:4x4x4")
    more: dict[str, Any] = {"chip_config_name": "megacore"} if generation == "v4" else {}
    sizes = [int(n) for n in shape.split("x")]
    if math.prod(sizes) < 4:  # less than a host
        more["chips_per_host_bounds"] = tuple([*sizes, 1][:3])
    try:
        described = topologies.get_topology_desc(topology_name=name, platform="tpu", **more)
    except Exception as e:  # libtpu is missing, or refuses the name
        reason = " ".join(str(e).split())[:200]
        if importlib.util.find_spec("libtpu") is None:
            reason = "the TPU compiler is missing: pip install 'jaxbpc[tpu]' (no TPU is needed)"
        raise InputError(f"--topology {name!r}: {reason}")
    return list(described.devices)


def plans(settings: Settings, arch: Arch, name: str) -> list[Plan]:
    """One plan, of the layout that a run would choose where `settings` leaves it open."""
    return [_plan(settings, arch, name, topology(name))]


def _plan(settings: Settings, arch: Arch, name: str, devices: list) -> Plan:
    """Compiles the step: seconds to minutes."""
    from jaxbpc import layout, score
    from jaxbpc.models.decoder import Decoder, n_parameters
    from jaxbpc.weights import load

    chosen = layout.choose(settings, arch, not arch.tied, devices)
    chip = CHIPS.get(devices[0].device_kind)
    kind = chosen.attention
    made = Decoder(arch, chosen.dtype, kind, not arch.tied, chosen.stacked)
    model = load.placed(made, chosen.mesh)
    known = Plan(
        topology=name,
        chip=chip.name if chip else devices[0].device_kind,
        n_devices=len(devices),
        mesh=dict(chosen.mesh.shape),
        batch_per_device=chosen.batch_per_device,
        stride=settings.window_stride,
        dtype=chosen.dtype.name,
        attention=kind,
        fits=False,
        flops_per_window=layout.flops(
            arch, settings.window_block_size, settings.window_stride
        ).total,
        parameter_bytes_per_device=_bytes_per_device(model),
    )
    step = score.Step(Decoder.hidden, Decoder.output, chosen.mesh)
    shape = (chosen.batch_size, settings.window_block_size)
    try:
        compiled = step.compile(model, shape, settings.window_stride)
    except Exception as e:  # jaxlib's own, of many classes
        if "RESOURCE_EXHAUSTED" not in str(e) and "xceeded hbm" not in str(e):
            raise
        needed = n_parameters(model) * chosen.dtype.itemsize
        return dataclasses.replace(known, note=_too_large(str(e), known, needed, chip))
    return _costed(known, settings, arch, chosen, compiled, chip)


def _costed(known: Plan, settings: Settings, arch: Arch, chosen, compiled, chip) -> Plan:
    """`known` with what the compiled step says of itself."""
    from jaxbpc import hlo, layout

    text = compiled.as_text() or ""
    cost = hlo.cost(text)
    useful = layout.flops(arch, settings.window_block_size, settings.window_stride)
    windows = chosen.batch_size / known.n_devices
    attention = experts = 0.0
    rate = None
    if chip:
        a_cycle = chip.flop_per_cycle / windows
        if chosen.attention == "splash":
            attention = useful.attention / ATTENTION_SHARE / a_cycle
        experts = useful.experts / EXPERTS_SHARE / a_cycle
        rate = chosen.batch_size / ((cost.cycles + attention + experts) / chip.clock_hz)
    products = (useful.total - useful.attention) * windows
    memory = compiled.memory_analysis()
    return dataclasses.replace(
        known,
        fits=True,
        peak_bytes_per_device=memory and memory.peak_memory_in_bytes,
        cycles=cost.cycles,
        kernel_cycles=attention + experts,
        flop_per_cycle=products / (cost.cycles + experts),
        windows_per_s=rate,
        collectives=tuple(_named(c, chosen.mesh) for c in cost.collectives),
        text=text,
    )


def search(settings: Settings, arch: Arch, name: str) -> list[Plan]:
    """Plans of layouts that may fit, the fastest first; those that do not fit last."""
    from jaxbpc import layout

    devices = topology(name)
    n = len(devices)
    chip = CHIPS.get(devices[0].device_kind)
    dtype = layout.dtype_on(settings.model_dtype, devices[0])
    window = layout.activation_bytes(arch, settings.window_block_size, dtype)
    n_bytes = layout.parameter_bytes(arch, not arch.tied, dtype)
    candidates = []
    for fsdp, tensor in ((f, t) for f in _divisors(n) for t in _divisors(n // f)):
        heads = arch.attention.n_heads % tensor == 0
        for batch in (1, 2, 4, 8):
            need = n_bytes / (fsdp * tensor) + batch * window
            if heads and tensor <= 16 and (not chip or need < 1.2 * chip.memory_bytes):
                candidates.append((tensor, -batch, n // (fsdp * tensor), fsdp))
    if not candidates:
        return [_plan(settings, arch, name, devices)]  # it says what would fit
    found = []
    # Tensor parallelism last; of the rest the largest batches first: they hide exchanges.
    for i, (tensor, batch, data, fsdp) in enumerate(sorted(candidates)[:_MOST_COMPILED]):
        one = dataclasses.replace(settings, mesh=(data, fsdp, tensor), batch_per_device=-batch)
        found.append(_plan(one, arch, name, devices))
        told = "does not fit"
        if found[-1].fits:
            told = f"{found[-1].windows_per_s or 0:.1f} windows/s"
        print(
            f"[{i + 1}/{min(len(candidates), _MOST_COMPILED)}] data={data} fsdp={fsdp} "
            f"tensor={tensor}, {-batch} windows a device: {told}",
            file=sys.stderr,
        )
    return sorted(found, key=lambda p: (not p.fits, -(p.windows_per_s or p.flop_per_cycle or 0)))


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _bytes_per_device(model) -> int:
    """Bytes of a placed model's parameters on one device."""
    from jaxbpc.models.decoder import parameters

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


def _too_large(message: str, known: Plan, n_bytes: int, chip) -> str:
    """By how much it does not fit, and what would."""
    over = re.search(r"[Ee]xceeded hbm capacity by ([\d.]+\w)", message)
    told = f"does not fit, by {over[1]}B a device" if over else "does not fit"
    if known.batch_per_device > 1:
        return f"{told}: give --config.batch_per_device=1"
    if chip and n_bytes / known.n_devices > 0.8 * chip.memory_bytes:
        devices = 2 ** math.ceil(math.log2(n_bytes / (0.7 * chip.memory_bytes)))
        return f"{told}: {n_bytes / GIB:.0f} GiB of parameters want {devices} {chip.name} or more"
    return f"{told}: give --config.mesh.fsdp=-1, or more devices"


def table(p: Plan) -> str:
    """A plan as lines for people."""
    layout = " ".join(f"{axis}={size}" for axis, size in p.mesh.items())
    lines = [
        f"{p.topology}: {p.n_devices} x {p.chip}, {layout}, {p.batch_per_device} windows a device, "
        f"{p.dtype}, attention {p.attention}",
        f"parameters      {p.parameter_bytes_per_device / GIB:10.2f} GiB a device",
        f"useful FLOPs    {p.flops_per_window / 1e9:10,.0f} G a window",
    ]
    if not p.fits or p.peak_bytes_per_device is None:
        return "\n".join([*lines, p.note])
    lines += [
        f"peak memory     {p.peak_bytes_per_device / GIB:10.2f} GiB a device (compiler)",
        f"cycles          {p.cycles:10,.0f} a step (compiler) + {p.kernel_cycles:,.0f} of kernels "
        "(analytic)",
        f"FLOP a cycle    {p.flop_per_cycle:10,.0f} of products, without attention",
    ]
    if p.windows_per_s and p.paper_hours:
        lines += [
            f"windows/s       {p.windows_per_s:10.1f} (estimate, without the host and exchanges "
            "that nothing hides)",
            f"paper's corpora {p.paper_hours:10.2f} hours, {p.paper_hours * p.n_devices:.1f} "
            f"device hours (330 M characters, {CHARACTERS_A_TOKEN} a token)",
        ]
    for c in p.collectives[:6]:
        lines.append(
            f"{c['kind']:<20}{c['count']:>5} x {c['n_bytes'] / 2**20:10.1f} MiB over "
            f"{c['axis'] or c['group']}"
        )
    return "\n".join(lines)


def ranking(found: list[Plan]) -> str:
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
