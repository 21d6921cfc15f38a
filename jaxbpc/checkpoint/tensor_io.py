"""A checkpoint's tensors by name → shards of a mesh, and back to disk, by Orbax.

Safetensors files, or Orbax's own checkpoints (OCDBT and zarr) of any tree. Orbax reads each
process's own byte ranges; its v1 API is experimental and is imported here alone.
"""

import contextlib
import dataclasses
import functools
import gc
import logging
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from jaxbpc.checkpoint import headers
from jaxbpc.checkpoint.headers import Tensor
from jaxbpc.errors import InputError, short
from jaxbpc.parallel import distributed
from jaxbpc.utils import paths

log = logging.getLogger(__name__)

# As safetensors spells them.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_SPELLINGS = {name: spelling for spelling, name in _DTYPES.items()}
# Of what is written: a process on another mesh reads those that it needs, whole.
_CHUNK_BYTES = 1 << 20
_REMOVALS, _WRITES_END_S = 100, 0.1  # tries, and the pause in which a write would show itself

Wanted = Mapping[str, jax.ShapeDtypeStruct]


@dataclasses.dataclass(frozen=True)
class Stored:
    """A checkpoint's tensors, from its headers alone.

    read: names → shapes, dtypes and shardings wanted → names → arrays. Values are cast. Raises
      InputError where a file cannot be read.
    """

    tensors: dict[str, Tensor]
    read: Callable[[Wanted], dict[str, jax.Array]]


def find(folder: pathlib.Path) -> Stored:
    """The tensors of a model's folder.

    Raises:
      InputError: no weights, those of two kinds, or files that are damaged.
    """
    item = headers.orbax_item(folder)
    if item is None:
        tensors = headers.tensors(folder)
        return Stored(tensors, functools.partial(_read_files, tensors))
    headers.check_lengths(item)
    headers.check_ocdbt(item)
    tree = _tree(item)
    tensors = {
        name: Tensor(item, tuple(leaf.shape), _spelling(leaf.dtype), _pieces(leaf))
        for name, leaf in _leaves(tree).items()
        if hasattr(leaf, "shape") and leaf.dtype is not None
    }
    for name, tensor in tensors.items():
        # A piece is made in memory whole: TensorStore ends the process where it cannot.
        if tensor.pieces and math.prod(tensor.pieces) > max(1, math.prod(tensor.shape)):
            raise InputError(
                f"{item}: {name}, of shape {list(tensor.shape)}, lies in pieces of "
                f"{list(tensor.pieces)}: a damaged Orbax checkpoint, write or copy it again"
            )
    headers.check_lengths(item, sum(tensor.n_bytes for tensor in tensors.values()))
    return Stored(tensors, functools.partial(_read_tree, item, tree))


def dtype_of(tensor: Tensor):
    """The dtype in which a tensor's values can be held (jax has no float64)."""
    name = _DTYPES[tensor.dtype]
    return jnp.dtype("float32" if name == "float64" else name)


def write(path: pathlib.Path, groups: Iterable[Mapping[str, jax.Array]]) -> None:
    """Writes groups of arrays as one Orbax checkpoint; `path` appears when all are written.

    Every process calls it, on the same file system. Each group is dropped as it is written; in a
    bucket, where Orbax cannot write in parts, they are all held until the end.

    Raises:
      InputError: it cannot be written; nothing is left.
    """
    import orbax.checkpoint.experimental.v1 as ocp

    context = ocp.Context()
    context.array.saving.storage_options.chunk_byte_size = _CHUNK_BYTES
    context.array.saving.use_compression = False
    remedy = "make room, or give another folder"
    if paths.is_remote(path):
        whole = {name: array for group in groups for name, array in group.items()}
        with _quiet(path, "written", remedy), context:
            ocp.save(path, whole)
        return
    try:
        for group in groups:
            with _quiet(path, "written", remedy), context:
                ocp.partial.save(path, group)
        with _quiet(path, "written", remedy), context:
            ocp.partial.finalize(path)
    finally:
        if distributed.is_writer():
            for left in epath.Path(path.parent).glob(f"{path.name}.partial_save*"):
                remove(left)


def remove(folder: Any) -> None:
    """Removes what a failed write left in `folder`, of which threads may still write more.

    Orbax reports the first failure; TensorStore's other writes go on and cannot be waited for.
    Gone is therefore what did not come back; what cannot be removed is left and said in the log.
    """
    folder, why = epath.Path(folder), "it comes back"
    for _ in range(_REMOVALS):
        try:
            if not folder.exists():
                return
            folder.rmtree(missing_ok=True)
        except OSError as e:  # filled, or emptied by its writer, while it was being removed
            why = e.strerror or str(e)
        time.sleep(_WRITES_END_S)
    log.warning("%s cannot be removed (%s): remove it by hand", folder, why)


def _read_files(tensors: Mapping[str, Tensor], wanted: Wanted) -> dict[str, jax.Array]:
    """Reads tensors of safetensors files, one file after the other."""
    import orbax.checkpoint.experimental.v1 as ocp

    calls: dict[tuple[pathlib.Path, bool], list[str]] = {}
    for name, array in wanted.items():
        # Orbax reads either all short pieces of a call apart, or all from the first to the last.
        inner = any(getattr(array.sharding, "spec", ())[1:])
        calls.setdefault((tensors[name].file, inner), []).append(name)
    values: dict[str, jax.Array] = {}
    for (file, _), names in calls.items():
        context = ocp.Context()
        # The layout must be named: the automatic choice does not see single files.
        context.checkpoint_layout = ocp.options.CheckpointLayout.SAFETENSORS
        with _quiet(file, "read", "download it again"), context:
            values |= ocp.load(file.absolute(), {name: wanted[name] for name in names})
    return values


def _read_tree(item: pathlib.Path, tree: Any, wanted: Wanted) -> dict[str, jax.Array]:
    """Reads leaves of an Orbax checkpoint's tree."""
    import orbax.checkpoint.experimental.v1 as ocp

    abstract = jax.tree_util.tree_map_with_path(
        lambda path, _: wanted.get(_name(path), ocp.PLACEHOLDER), tree
    )
    path, name = _address(item)
    with _quiet(item, "read", "write or copy it again"):
        leaves = _leaves(ocp.load(path, abstract, checkpointable_name=name))
    return {name: leaves[name] for name in wanted}


def _tree(item: pathlib.Path) -> Any:
    """An Orbax checkpoint's tree of shapes and dtypes."""
    import orbax.checkpoint.experimental.v1 as ocp

    path, name = _address(item)
    with _quiet(item, "read", "write or copy it again"):
        tree = ocp.metadata(path, checkpointable_name=name).metadata
        if not _leaves(tree):
            raise ValueError("no tree of tensors in it")
    return tree


def _address(item: pathlib.Path) -> tuple[pathlib.Path, str | None]:
    """A checkpoint's path and its tree's name in it, as Orbax wants them."""
    item = item if paths.is_remote(item) else item.absolute()
    if (item.parent / "_CHECKPOINT_METADATA").exists():
        return item.parent, item.name
    return item, None


def _leaves(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _spelling(dtype: Any) -> str:
    name = jnp.dtype(dtype).name
    return _SPELLINGS.get(name, name.upper())


def _pieces(leaf: Any) -> tuple[int, ...] | None:
    storage = getattr(leaf, "storage_metadata", None)
    return tuple(storage.chunk_shape) if storage and storage.chunk_shape else None


@contextlib.contextmanager
def _quiet(path: pathlib.Path, what: str, remedy: str) -> Iterator[None]:
    """Turns any failure of Orbax into one line; it raises plain Exceptions, and logs them too."""
    from absl import logging as absl_logging

    loud, hook, loop = (
        absl_logging.get_verbosity(),
        sys.unraisablehook,
        logging.getLogger("asyncio"),
    )

    def interrupts_alone(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            hook(unraisable)

    absl_logging.set_verbosity(absl_logging.FATAL)
    loop.disabled, sys.unraisablehook = True, interrupts_alone
    failed = ""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError):  # a device's memory, a lost process
        raise
    except Exception as e:
        cause = e.__cause__ or e.__context__ or e
        failed = short(cause)
    finally:
        if failed:
            gc.collect()  # or each read that was given up would print
        absl_logging.set_verbosity(loud)
        loop.disabled, sys.unraisablehook = False, hook
    if failed:
        raise InputError(f"{path}: cannot be {what} ({failed}): {remedy}")
