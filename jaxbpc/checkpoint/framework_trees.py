"""A training framework's tree of tensors → tensors by the names of a family's table.

A family's TREES say, as data, how the known frameworks store its tensors; which of them a
checkpoint is shows in its names. All else sees Hugging Face's names and shapes.
"""

import collections
import dataclasses
import functools
import math
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxbpc.checkpoint import mapping
from jaxbpc.checkpoint.headers import Tensor
from jaxbpc.checkpoint.tensor_io import Stored, Wanted, dtype_of
from jaxbpc.models.arch import Arch, Moved, Tree
from jaxbpc.parallel import sharding


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a tensor of the family's table is: in which tensor of the tree, at which layer."""

    name: str
    moved: Moved
    layer: int


def renamed(stored: Stored, folder: pathlib.Path, family: Any, arch: Arch) -> Stored:
    """`stored` by the family's names, where its own are those of a framework that is known.

    Raises:
      InputError: all missing, extra and misshapen tensors of the framework's tree at once.
    """
    found = [(_places(tree, arch, stored), tree) for tree in getattr(family, "TREES", ())]
    places, tree = max(found, key=lambda each: len(each[0]), default=({}, None))
    if tree is None or not places:
        return _parameters(stored)
    _check(stored, folder, tree, arch)
    tensors = {}
    for name, place in places.items():
        whole = stored.tensors[place.name]
        # Tensors are read file by file: what is in one of the tree's is read on end.
        file, shape = whole.file / place.name, _shape(place.moved, arch)
        tensors[name] = Tensor(file, shape, _dtype(place.moved, whole, arch))
    return Stored(tensors, _Reader(stored, places, arch).read)


# What a training's state holds beside its parameters.
_PARAMETERS, _STATE = "params.", re.compile(r"(opt_state|opt|optimizer|step|rngs?)(\.|$)")


def _parameters(stored: Stored) -> Stored:
    """A training's state → its parameters by their own names; what is none as it is."""
    kept = {name for name in stored.tensors if name.startswith(_PARAMETERS)}
    if not kept or not all(_STATE.match(name) for name in stored.tensors.keys() - kept):
        return stored

    def read(wanted: Wanted) -> dict[str, jax.Array]:
        found = stored.read({_PARAMETERS + name: array for name, array in wanted.items()})
        return {name.removeprefix(_PARAMETERS): array for name, array in found.items()}

    tensors = {name.removeprefix(_PARAMETERS): stored.tensors[name] for name in kept}
    return _parameters(Stored(tensors, read))


class _Reader:
    """Reads the tree's tensors and keeps each until all that it holds was asked for."""

    def __init__(self, stored: Stored, places: dict[str, _Place], arch: Arch):
        self._stored, self._places, self._arch = stored, places, arch
        self._n = collections.Counter(place.name for place in places.values())
        self._held: dict[str, jax.Array] = {}
        self._served: dict[str, set[str]] = collections.defaultdict(set)

    def read(self, wanted: Wanted) -> dict[str, jax.Array]:
        """As `Stored.read`."""
        needed = {self._places[name].name: array for name, array in wanted.items()}
        self._held |= self._stored.read(
            {
                name: self._whole(name, array.sharding)
                for name, array in needed.items()
                if name not in self._held
            }
        )
        result = {}
        for name, array in wanted.items():
            place = self._places[name]
            whole = self._held[place.name]
            layouts = (sharding.gathered(whole.sharding, array.sharding), array.sharding)
            move = _mover(place.moved, self._arch, array.shape, array.dtype, layouts)
            result[name] = move(whole, place.layer)
            self._served[place.name].add(name)
            if len(self._served[place.name]) == self._n[place.name]:
                del self._held[place.name], self._served[place.name]
        return result

    def _whole(self, name: str, target: jax.sharding.NamedSharding) -> jax.ShapeDtypeStruct:
        tensor = self._stored.tensors[name]
        layout = sharding.spread(tensor.shape, target.mesh, tensor.pieces, target)
        return jax.ShapeDtypeStruct(tensor.shape, dtype_of(tensor), sharding=layout)


@functools.lru_cache(maxsize=256)
def _mover(moved: Moved, arch: Arch, shape: tuple[int, ...], dtype, layouts):
    """A function of (a tensor of the tree, a layer) → the family's tensor.

    layouts: between what is read and what is made, and the latter's.
    """
    axes, order = moved.axes.replace("L", ""), moved.order.replace(" ", "")

    def move(x, layer):
        x = jax.lax.with_sharding_constraint(x, layouts[0])
        if "L" in moved.axes:
            x = jax.lax.dynamic_index_in_dim(x, layer, moved.axes.index("L"), keepdims=False)
        x = x.transpose([axes.index(axis) for axis in order])
        if moved.root:
            x = x.astype(jnp.float32) * math.sqrt(_sizes(arch)[moved.root])
        if _in_pairs(moved, arch):
            x = jnp.moveaxis(x, order.index("H"), -1)
            x = jnp.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1)
            x = jnp.moveaxis(x, -1, order.index("H"))
        return x.reshape(shape).astype(dtype)

    return jax.jit(move, out_shardings=layouts[1])


def _in_pairs(moved: Moved, arch: Arch) -> bool:
    rope = arch.layers[0].rope
    return rope is not None and rope.kind in moved.pairs


def _sizes(arch: Arch) -> dict[str, int]:
    """Of the axes of `Moved`."""
    a = arch.attention
    heads = {"N": a.n_heads, "K": a.n_kv_heads, "H": a.head_size}
    sizes = {"L": arch.n_layers, "D": arch.embed, "F": arch.mlp.size, "V": arch.vocab_size}
    return sizes | heads


def _shape(moved: Moved, arch: Arch) -> tuple[int, ...]:
    sizes = _sizes(arch)
    return tuple(math.prod(sizes[axis] for axis in word) for word in moved.order.split())


def _dtype(moved: Moved, whole: Tensor, arch: Arch) -> str:
    """The stored one, where a multiplication is exact in it."""
    exact = not moved.root or math.frexp(math.sqrt(_sizes(arch)[moved.root]))[0] == 0.5
    return whole.dtype if exact else "F32"


def _names(tree: Tree, arch: Arch) -> Iterator[tuple[str, Moved, int]]:
    """The tree's names, spelt out: (name, what it holds, its layer)."""
    for name, moved in tree.names.items():
        for layer in range(arch.n_layers if "{l}" in name else 1):
            yield tree.root + name.replace("{l}", str(layer)), moved, layer


def _places(tree: Tree, arch: Arch, stored: Stored) -> dict[str, _Place]:
    """Names in the family's table → where they are, of those of a tree that `stored` has."""
    result = {}
    for name, moved, layer in _names(tree, arch):
        layers = range(arch.n_layers) if "L" in moved.axes else [layer]
        for i in layers if name in stored.tensors else ():
            result[moved.tensor.replace("{l}", str(i))] = _Place(name, moved, i)
    return result


def _check(stored: Stored, folder: pathlib.Path, tree: Tree, arch: Arch) -> None:
    """Refuses what is not this tree, all of it, with the sizes of config.json."""
    sizes, missing, misshapen = _sizes(arch), [], []
    wanted = {name: moved for name, moved, _ in _names(tree, arch)}
    for name, moved in wanted.items():
        shape = tuple(sizes[axis] for axis in moved.axes)
        tensor = stored.tensors.get(name)
        if tensor is None:
            missing.append(name)
        elif tensor.shape != shape or tensor.dtype not in mapping.FLOATS:
            misshapen.append(f"{name} {tensor.dtype} {list(tensor.shape)} instead of {list(shape)}")
    unused = [name for name in stored.tensors if mapping.is_unused(name, tree.unused, arch)]
    extra = sorted(stored.tensors.keys() - wanted.keys() - set(unused))
    mapping.refuse(folder, missing, extra, misshapen)
