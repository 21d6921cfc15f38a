"""What a compiled program's text says it costs: the TPU compiler's cycles, and the collectives.

Every operation of a TPU's HLO carries the compiler's `estimated_cycles`; loop bodies are multiplied
by their trip counts. Pallas kernels carry none, and communication that is not hidden is not in them
either: what is read here is an estimate of XLA's own operations.
"""

import collections
import dataclasses
import functools
import math
import re

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_WHILE = re.compile(r"condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_CALLS = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_CONSTANT = re.compile(r" = s32\[\][^ ]* constant\((\d+)\)")
_COLLECTIVE = re.compile(
    r" = (.+?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
_ARRAY = re.compile(r"(\w+)\[([\d,]+)\]")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CHANNEL = re.compile(r"channel_id=(\d+)")
_GROUP = re.compile(
    r"replica_groups=(?:mesh\[([^\]]*)\][^{]*\{([^}]*)\}|\{\{([\d,]*)\}|\[(\d+),(\d+)\])"
)
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4}


@dataclasses.dataclass(frozen=True)
class Collective:
    """Exchanges that are alike: how many a step, bytes of one's result on a device, group size."""

    kind: str
    n_bytes: int
    group: int
    count: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """cycles: estimated, of one device's step (0 where the backend reports none)."""

    cycles: int
    collectives: tuple[Collective, ...]


def cost(text: str) -> Cost:
    """Reads the text of a compiled program (`compiled.as_text()`)."""
    computations, entry = _computations(text)

    @functools.cache
    def trips(condition: str) -> int:
        # A loop whose end is data (the rounds of experts) counts once: the even share.
        counts = [int(c) for line in computations[condition] for c in _CONSTANT.findall(line)]
        return max(counts, default=1)

    def walk(name: str, times: int, fused: bool) -> int:
        total = 0
        for line in computations.get(name, ()):
            if not fused and (found := _CYCLES.search(line)):
                total += times * int(found[1])
            if found := _COLLECTIVE.search(line):
                _add(seen, line, found, times)
            if " while(" in line and (found := _WHILE.search(line)):
                known = _TRIPS.search(line)
                rounds = int(known[1]) if known else trips(found[1])
                total += walk(found[2], times * rounds, fused)
            elif found := _CALLS.search(line):
                # A fusion's own cycles stand at the fusion.
                total += walk(found[1], times, fused or " fusion(" in line)
        return total

    seen: dict[tuple, Collective] = {}
    cycles = walk(entry, 1, False)
    counts: collections.Counter[Collective] = collections.Counter()
    for one in seen.values():  # those alike together
        counts[dataclasses.replace(one, count=0)] += one.count
    alike = [dataclasses.replace(one, count=n) for one, n in counts.items()]
    return Cost(cycles, tuple(sorted(alike, key=lambda c: -c.n_bytes * c.count)))


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """(lines of each computation by name, name of the entry)."""
    result: dict[str, list[str]] = {}
    name = entry = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found[1]
            result[name] = []
            if line.startswith("ENTRY"):
                entry = name
        elif name:
            result[name].append(line)
    return result, entry


def _add(seen: dict[tuple, Collective], line: str, found: re.Match, times: int) -> None:
    """Counts a collective once, though its start, its pieces and its end all name it."""
    shapes, kind, started = found.groups()
    arrays = [
        _BYTES.get(dtype, 4) * math.prod(map(int, dims.split(",")))
        for dtype, dims in _ARRAY.findall(shapes)
    ]
    if started and kind != "all-reduce":  # operands and results
        arrays = arrays[len(arrays) // 2 :]
    n_bytes = sum(arrays)
    channel = _CHANNEL.search(line)
    key = (kind, channel[1] if channel else line)
    if key not in seen:
        seen[key] = Collective(kind, n_bytes, _group(line), times)


def _group(line: str) -> int:
    """How many devices take part in one exchange; 0 where the text does not say."""
    found = _GROUP.search(line)
    if not found:
        return 0
    sizes, axes, members, _, size = found.groups()
    if sizes is not None:
        of = dict(part.replace("'", "").split("=") for part in sizes.split(","))
        return math.prod(int(of[axis.strip(" '")]) for axis in axes.split(","))
    return len(members.split(",")) if members else int(size)
