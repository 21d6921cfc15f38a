"""Which tensors of a checkpoint fill which parameters: a family's table, spelt out and checked.

A family's NAMES has patterns: {l} stands for each layer, {e} for each expert (or head). Every
tensor is used once and every parameter filled once; all faults are reported in one error,
before a byte of weights is read.
"""

import dataclasses
import fnmatch
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from jaxbpc.checkpoint import quantization
from jaxbpc.checkpoint.headers import Tensor
from jaxbpc.checkpoint.quantization import Shape
from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch, Parts

FLOATS = ("F32", "BF16", "F16", "F64")


@dataclasses.dataclass(frozen=True)
class Fill:
    """Tensors that together fill parameters: one, or one an expert, and how.

    scales: those of each tensor, where it is quantised.
    """

    tensors: tuple[str, ...]
    parts: Parts
    stacked: bool = False
    scales: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the tensor is the parameter as it stands."""
        return not (self.stacked or self.scales or self.parts.transposed) and (
            len(self.parts.parameters) == 1
        )

    @property
    def packed(self) -> bool:
        """Whether the tensors are MXFP4."""
        return self.tensors[0].endswith(quantization.BLOCKS)

    def shape(self, wanted: Mapping[str, Shape]) -> Shape:
        """The shape that each tensor must stand for, for parameters of shapes `wanted`."""
        shapes = [wanted[name] for name in self.parts.parameters]
        shape, axis = list(shapes[0]), self.parts.axis
        shape[axis] = sum(s[axis] for s in shapes)
        if self.parts.transposed:
            shape[-1], shape[-2] = shape[-2], shape[-1]
        return tuple(shape[1:] if self.stacked else shape)


def canonical(names: list[str], prefixes: Mapping[str, str]) -> dict[str, str]:
    """Name in the file → name in the family's table, by the prefixes that a family goes under."""
    result = {}
    for name in names:
        old = next((p for p in prefixes if name.startswith(p)), "")
        result[name] = prefixes.get(old, "") + name.removeprefix(old)
    return result


def fills(
    folder: pathlib.Path,
    family: Any,
    arch: Arch,
    wanted: Mapping[str, Shape],
    tensors: Mapping[str, Tensor],
) -> list[Fill]:
    """The fills of all parameters of shapes `wanted` from `tensors`, by their names in the table.

    Raises:
      InputError: all missing, extra and misshapen tensors at once.
    """
    result, missing, misshapen, used = [], [], [], set()
    filled: set[str] = set()
    most = 10_000 + 10 * len(tensors)  # what other spellings would have filled is missing, too
    for fill in _spelt_out(family.NAMES, arch):
        parameters = fill.parts.parameters
        if not set(parameters) <= wanted.keys() or filled & set(parameters):
            continue
        absent = [name for name in fill.tensors if name not in tensors]
        if absent:
            missing += [(name, parameters) for name in absent]
            if len(missing) > most:  # by a config.json of absurd sizes: their list has no end
                refuse(folder, [name for name, _ in missing], [], [])
            continue
        filled |= set(parameters)
        scales = tuple(map(quantization.scales_of, fill.tensors))
        if fill.packed or all(name in tensors for name in scales):
            fill = dataclasses.replace(fill, scales=scales)
        missing += [(name, (name,)) for name in fill.scales if name not in tensors]
        used |= {*fill.tensors, *fill.scales}
        misshapen += _misshapen(fill, fill.shape(wanted), tensors)
        result.append(fill)
    # What another spelling has filled is not missing.
    lost = [name for name, parameters in missing if not set(parameters) <= filled]
    nowhere = sorted(wanted.keys() - filled - {p for _, ps in missing for p in ps})
    extra = [n for n in tensors if n not in used and not is_unused(n, family.UNUSED, arch)]
    refuse(folder, lost + nowhere, extra, misshapen)
    return result


def _misshapen(fill: Fill, shape: Shape, tensors: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with the shapes and dtypes of the tensors of a fill that stand for `shape`."""
    of_scales = ("U8",) if fill.packed else FLOATS
    of_tensors = ("U8",) if fill.packed else ("F8_E4M3",) if fill.scales else FLOATS
    wanted = [
        (fill.tensors, quantization.stored_shape(shape, fill.packed), of_tensors),
        (fill.scales, quantization.scales_shape(shape, fill.packed), of_scales),
    ]
    return [
        f"{name} {tensors[name].dtype} {list(tensors[name].shape)} instead of "
        f"{dtypes[0]} {list(stored)}"
        for group, stored, dtypes in wanted
        for name in group
        if name in tensors
        if tensors[name].shape != stored or tensors[name].dtype not in dtypes
    ]


def _spelt_out(names: Mapping[str, str | Parts], arch: Arch) -> Iterator[Fill]:
    """The table with {l} and {e} filled in."""
    n_experts = arch.experts.n if arch.experts else 0
    for tensor, value in names.items():
        parts = value if isinstance(value, Parts) else Parts((value,))
        for layer in map(str, range(arch.n_layers if "{l}" in tensor else 1)):
            spelt = dataclasses.replace(
                parts, parameters=tuple(p.replace("{l}", layer) for p in parts.parameters)
            )
            name = tensor.replace("{l}", layer)
            stacked = "{e}" in name
            if not stacked:
                yield Fill((name,), spelt)
                continue
            count = n_experts if "expert" in name else _n_heads(name, arch)
            yield Fill(tuple(name.replace("{e}", str(e)) for e in range(count)), spelt, True)


def _n_heads(name: str, arch: Arch) -> int:
    """Of a norm for each head: how many."""
    return arch.attention.n_kv_heads if ".k_" in name else arch.attention.n_heads


def is_unused(name: str, patterns: tuple[str, ...], arch: Arch) -> bool:
    """Whether a tensor is none of the model's: a stored table, another head."""
    extra = range(arch.n_layers, arch.n_layers + arch.n_unused_layers)
    for pattern in patterns:
        if "{u}" in pattern:
            spelt = [pattern.replace("{u}", str(u)) for u in extra]
        else:
            spelt = [pattern.replace("{l}", "*")]
        if any(fnmatch.fnmatchcase(name, p) for p in spelt):
            return True
    return False


def refuse(folder: pathlib.Path, missing, extra, misshapen) -> None:
    """Raises InputError with all that is wrong with a folder's tensors, if anything is."""
    faults = []
    for what, names in (
        ("missing", missing),
        ("extra", extra),
        ("wrong shape or dtype", misshapen),
    ):
        if names:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            faults.append(f"{what}: {', '.join(names[:20])}{more}")
    if faults:
        raise InputError(
            f"{folder}: its tensors are not those of config.json ({'; '.join(faults)}): fix "
            "config.json or download the weights again"
        )
