"""The device mesh, and one table from logical axes to its axes.

`data` and `fsdp` split the windows of a batch; `fsdp` and `tensor` split the parameters: over fsdp
each matrix by its model dimension (gathered layer by layer), over tensor by heads, mlp and
vocabulary. An axis that does not divide a dimension leaves it whole: XLA's partitioner never
changes what is computed, only where.
"""

import itertools
import math
from collections.abc import Sequence

import jax
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxbpc.config import MESH_AXES
from jaxbpc.errors import InputError

# Logical axis → axes of the mesh; where there are alternatives, the first that divides is taken.
RULES: dict[str | None, tuple[tuple[str, ...], ...]] = {
    None: (),
    "batch": (("data", "fsdp"),),
    "embed": (("fsdp",),),
    "heads": (("tensor",),),
    "kv_heads": (("tensor",),),
    "mlp": (("tensor",),),
    "vocab": (("tensor",),),
    "experts": (("fsdp", "tensor"), ("fsdp",), ("tensor",)),
}


def mesh_shape(sizes: tuple[int, int, int], n_devices: int) -> tuple[int, int, int]:
    """Resolves 0 and -1 in (data, fsdp, tensor) for `n_devices`.

    All 0: data parallel. One -1: the rest of the devices; where others are given, data 0 takes the
    rest and another 0 counts as 1.

    Raises:
      InputError: the product is not the number of devices.
    """
    if not any(sizes):
        return (n_devices, 1, 1)
    data, fsdp, tensor = sizes
    resolved = [data or (1 if -1 in sizes else -1), fsdp or 1, tensor or 1]
    given = math.prod(size for size in resolved if size != -1)
    if -1 in resolved and n_devices % given == 0:
        resolved[resolved.index(-1)] = n_devices // given
    if -1 in resolved or math.prod(resolved) != n_devices:
        wanted = ", ".join(f"{a}={s}" for a, s in zip(MESH_AXES, sizes, strict=True))
        raise InputError(
            f"config.mesh ({wanted}) does not fit {n_devices} device(s): its product must be "
            f"{n_devices}; -1 takes the rest"
        )
    return (resolved[0], resolved[1], resolved[2])


def make_mesh(sizes: tuple[int, int, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh (data, fsdp, tensor) over all devices. Raises InputError where it does not fit."""
    devices = list(jax.devices() if devices is None else devices)
    shape = mesh_shape(sizes, len(devices))
    # Explicit axes, the default of make_mesh, are another programming model: shardings in types.
    auto = (AxisType.Auto,) * len(MESH_AXES)
    n_slices = len({getattr(d, "slice_index", 0) for d in devices if d.platform == "tpu"}) or 1
    # The network between slices is slow: the axes that exchange least cross it, data first.
    between, left = [], n_slices
    for size in shape:
        between.append(math.gcd(size, left))
        left //= between[-1]
    within = [size // n for size, n in zip(shape, between, strict=True)]
    # An axis may take a part of a torus's axis: 64 of 16x16 chips.
    if n_slices == 1:
        placed = mesh_utils.create_device_mesh(within, devices, allow_split_physical_axes=True)
    else:
        placed = mesh_utils.create_hybrid_device_mesh(
            within, between, devices, allow_split_physical_axes=True
        )
    return Mesh(placed, MESH_AXES, axis_types=auto)


def spec(axes: Sequence[str | None], counts: Sequence[int], mesh) -> PartitionSpec:
    """The PartitionSpec of logical `axes`; `counts`: the units of each that must stay whole.

    An axis of the mesh splits one dimension of an array at most: the first that it divides.
    """
    entries: list[tuple[str, ...] | None] = []
    used: set[str] = set()
    for axis, count in zip(axes, counts, strict=True):
        entry = None
        for alternative in RULES[axis]:
            names = tuple(name for name in alternative if mesh.shape.get(name, 1) > 1)
            divides = count % math.prod(mesh.shape[name] for name in names) == 0
            if names and divides and not used & set(names):
                entry = names
                used |= set(names)
                break
        entries.append(entry)
    return PartitionSpec(*entries)


def spread(
    shape: Sequence[int],
    mesh,
    pieces: Sequence[int] | None = None,
    target: NamedSharding | None = None,
) -> NamedSharding:
    """A sharding that splits an array's first dimension over all of the mesh, where that divides.

    Else another dimension, or over fewer of the mesh's axes, or whole copies. For arrays on their
    way to another layout, so that no device or host holds all of one.

    Args:
      pieces: the shape of those in which it is stored, that are read whole: a dimension that is
        split between them goes first.
      target: the layout that it is on its way to: the mesh's axes are taken in its order, see
        `gathered`.
    """
    entries: list[tuple[str, ...] | None] = [None] * len(shape)
    pieces = pieces or [1] * len(shape)
    order = dict.fromkeys([*(_axes(target) if target else ()), *mesh.axis_names])
    axes = [name for name in order if mesh.shape[name] > 1]
    choices = [names for n in range(len(axes), 0, -1) for names in itertools.combinations(axes, n)]
    for names in sorted(choices, key=lambda names: -math.prod(mesh.shape[n] for n in names)):
        n = math.prod(mesh.shape[name] for name in names)
        split = [i for i, size in enumerate(shape) if size and size % n == 0]
        if split:
            first = min(split, key=lambda i: shape[i] // n % pieces[i] != 0)
            entries[first] = names
            break
    return NamedSharding(mesh, PartitionSpec(*entries))


def gathered(layout, target) -> NamedSharding:
    """`layout` without the axes of the mesh that `target` does not use.

    Between the two: XLA finds no way from one to the other but by a whole copy on every device.
    """
    kept = [tuple(name for name in _names(entry) if name in _axes(target)) for entry in layout.spec]
    return NamedSharding(layout.mesh, PartitionSpec(*(names or None for names in kept)))


def _axes(layout: NamedSharding) -> list[str]:
    return [name for entry in layout.spec for name in _names(entry)]


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else entry or ()


def named(axes: Sequence[str | None], counts: Sequence[int], mesh: Mesh) -> NamedSharding:
    """The sharding on `mesh` of an array with logical `axes`."""
    return NamedSharding(mesh, spec(axes, counts, mesh))


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Holds an activation to its layout inside of jit; nothing where no mesh is set."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or math.prod(mesh.shape.values()) == 1:
        return x
    return jax.lax.with_sharding_constraint(x, spec(axes, x.shape, mesh))


def is_split(axis: str, count: int) -> bool:
    """Whether the mesh inside of jit splits a dimension of `count` along logical `axis`."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and spec([axis], [count], mesh)[0] is not None


def n_batch_shards(mesh: Mesh) -> int:
    """In how many parts a batch is split."""
    return math.prod(mesh.shape[name] for name in RULES["batch"][0])
