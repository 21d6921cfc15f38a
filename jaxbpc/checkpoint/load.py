"""Checkpoint → parameters, into the shards of a mesh.

Tensors are read spread over the mesh, each in pieces on end, so that every byte is read by one
process, and put into their places by a jitted function: a shard that is a column of a matrix would
have its process read all of it. A process that is alone reads a parameter that is a tensor as it
stands into its own shards at once. Tensors are read in groups: what is held beside the model is one
group.
"""

import dataclasses
import functools
import hashlib
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbpc.checkpoint import framework_trees, headers, locate, mapping, quantization, tensor_io
from jaxbpc.checkpoint.assemble import assemble
from jaxbpc.checkpoint.tensor_io import Wanted, dtype_of
from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch
from jaxbpc.models.decoder import Decoder, parameters
from jaxbpc.models.families import FAMILIES
from jaxbpc.parallel import sharding
from jaxbpc.utils.files import fingerprint

_GROUP_BYTES = 1 << 30  # read at once: what the host holds beside the shards
_IN_FLIGHT = 16  # sums at a time


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model's folder, checked: its Arch, and which tensors fill which parameters.

    tensors: by their names in the family's table; stored: those names → names in the file; read:
      of `tensor_io.Stored`.
    """

    folder: pathlib.Path
    arch: Arch
    architecture: str
    tensors: dict[str, headers.Tensor]
    stored: dict[str, str]
    read: Callable[[Wanted], dict[str, jax.Array]]
    fills: list[mapping.Fill]
    own_head: bool


def read_arch(folder: pathlib.Path) -> tuple[dict[str, Any], Any, Arch]:
    """(config.json's fields, the family's module, the architecture); needs no weights.

    Raises:
      InputError: an unknown architecture, or one that is not understood.
    """
    config = locate.read_config(locate.holder(folder, "config.json"))
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise InputError(
            f"{folder / 'config.json'}: `model_type` {kind!r} is no architecture that jaxbpc "
            f"knows; it knows {', '.join(sorted(FAMILIES))}"
        )
    family = FAMILIES[kind]
    return config, family, family.to_arch(config, str(folder / "config.json"))


def open_checkpoint(folder: pathlib.Path) -> Checkpoint:
    """Reads config.json and the headers of the weights; nothing of the weights themselves.

    Raises:
      InputError: an unknown architecture, or all missing, extra and misshapen tensors at once.
    """
    config, family, arch = read_arch(folder)
    kind, where = config["model_type"], str(folder / "config.json")
    quantization.check(
        config, where, any(name.endswith(quantization.BLOCKS) for name in family.NAMES)
    )
    found = framework_trees.renamed(tensor_io.find(folder), folder, family, arch)
    in_file = found.tensors
    spelt = mapping.canonical(list(in_file), getattr(family, "PREFIXES", {}))
    tensors = {spelt[name]: tensor for name, tensor in in_file.items()}
    # As transformers does: a head in the file wins over `tie_word_embeddings`.
    own_head = not arch.tied or any(
        name in tensors and parameter == "head.weight" for name, parameter in family.NAMES.items()
    )
    architectures = config.get("architectures")
    named = str(architectures[0]) if isinstance(architectures, list) and architectures else kind
    if not re.fullmatch(r"[\w.-]{1,100}", named, re.ASCII):  # it goes into the results as it stands
        raise InputError(f"{where}: `architectures` has {named[:100]!r}: fix the file")
    model = Decoder(arch, jnp.float32, "xla", own_head)
    wanted = {name: p.get_value().shape for name, p in parameters(model).items()}
    fills = mapping.fills(folder, family, arch, wanted, tensors)
    stored = {spelt[name]: name for name in in_file}
    return Checkpoint(folder, arch, named, tensors, stored, found.read, fills, own_head)


@dataclasses.dataclass(frozen=True)
class _Job:
    """Fills that are read and assembled together: one, or those of all layers of a stack."""

    fills: tuple[mapping.Fill, ...]
    targets: tuple[str, ...]

    @property
    def plain(self) -> bool:
        return len(self.fills) == 1 and self.fills[0].plain


def load(
    checkpoint: Checkpoint,
    dtype,
    mesh: jax.sharding.Mesh,
    attention: str,
    progress: Callable[[int], Any] | None = None,
    stacked: bool = False,
) -> tuple[Decoder, str]:
    """The model with its weights on the mesh, and the fingerprint of its weights.

    Args:
      dtype: of the parameters; the file's values are cast.
      progress: called with the bytes of each group of tensors that was read.
      stacked: layers that are alike share arrays, see `Decoder`.

    Raises:
      InputError: a file that cannot be read.
    """
    model = abstract(checkpoint, dtype, mesh, attention, stacked)
    variables = parameters(model)
    hash_sum = _hash_sum(mesh)
    # CPU devices of a process share threads: several programs with collectives may wait for each
    # other until XLA aborts the process.
    in_flight = 1 if mesh.devices.flat[0].platform == "cpu" else _IN_FLIGHT
    digests: dict[str, tuple] = {}
    for group in _groups(checkpoint, _jobs(checkpoint, model)):
        wanted: dict[str, Any] = {}
        for job in group:
            wanted |= _raw(checkpoint, job, variables, mesh)
        values = _read(checkpoint, wanted)
        for name, value in values.items():
            digests[name] = (list(value.shape), str(value.dtype), hash_sum(value))
            if len(digests) % in_flight == 0:
                jax.block_until_ready(digests[name][2])
        for job in group:
            tensors = [tuple(values.pop(name) for name in fill.tensors) for fill in job.fills]
            scales = [tuple(values.pop(name) for name in fill.scales) for fill in job.fills]
            filled = [variables[name] for name in job.targets]
            targets = [variable.get_value() for variable in filled]
            made: Sequence[jax.Array] = tensors[0]
            if not (job.plain and made[0].sharding == targets[0].sharding):
                made = assemble(checkpoint.arch, job.fills, targets, tensors, scales)
                if in_flight == 1:
                    jax.block_until_ready(made)
            for variable, value in zip(filled, made, strict=True):
                variable.set_value(value)
        if progress:
            progress(sum(_n_bytes(checkpoint, fill) for job in group for fill in job.fills))
    # One transfer for all sums: each fetched alone would wait for its own kernel.
    sums = jax.device_get({name: digest[2] for name, digest in digests.items()})
    fields = {name: [*digests[name][:2], int(sums[name])] for name in digests}
    return model, fingerprint(fields)


def abstract(checkpoint: Checkpoint, dtype, mesh, attention: str, stacked: bool = False) -> Decoder:
    """The model as `load` returns it, with ShapeDtypeStructs (and their shardings) for arrays."""
    return placed(Decoder(checkpoint.arch, dtype, attention, checkpoint.own_head, stacked), mesh)


def placed(model: Decoder, mesh: jax.sharding.Mesh) -> Decoder:
    """An abstract model, now with the shardings of its parameters on a mesh."""
    shardings = parameter_shardings(model, mesh)
    for name, variable in parameters(model).items():
        made = variable.get_value()
        variable.set_value(jax.ShapeDtypeStruct(made.shape, made.dtype, sharding=shardings[name]))
    return model


def as_stored(checkpoint: Checkpoint, mesh, dtype=None) -> list[dict[str, jax.ShapeDtypeStruct]]:
    """What `checkpoint.read` takes to read all that the model needs, spread over `mesh`, in groups.

    Args:
      dtype: to cast to, as `load` would: what is quantised stays so; None: as it is stored.
    """
    model = Decoder(checkpoint.arch, dtype or jnp.float32, "xla", checkpoint.own_head)
    variables = parameters(model)
    result: list[dict[str, jax.ShapeDtypeStruct]] = []
    for group in _groups(checkpoint, _jobs(checkpoint, model)):
        result.append(wanted := {})
        for fill in (fill for job in group for fill in job.fills):
            target = variables[fill.parts.parameters[0]].get_value()
            for name in fill.tensors + fill.scales:
                tensor = checkpoint.tensors[name]
                kept = dtype is None or fill.scales
                wanted[checkpoint.stored[name]] = jax.ShapeDtypeStruct(
                    tensor.shape,
                    dtype_of(tensor) if kept else target.dtype,
                    sharding=sharding.spread(tensor.shape, mesh, tensor.pieces),
                )
    return result


def n_bytes(checkpoint: Checkpoint) -> int:
    """Bytes of the checkpoint's tensors in its files."""
    return sum(_n_bytes(checkpoint, fill) for fill in checkpoint.fills)


def parameter_shardings(model: nnx.Module, mesh) -> dict[str, jax.sharding.NamedSharding]:
    """The sharding of each parameter by name; a head is never split between devices."""
    arch: Any = getattr(model, "arch", None)
    units = {}
    if arch:
        units = {"heads": arch.attention.n_heads, "kv_heads": arch.attention.n_kv_heads}
    result = {}
    for name, variable in parameters(model).items():
        axes = variable.get_metadata("axes")
        counts = [
            units.get(axis, size)
            for axis, size in zip(axes, variable.get_value().shape, strict=True)
        ]
        result[name] = sharding.named(axes, counts, mesh)
    return result


def _n_bytes(checkpoint: Checkpoint, fill: mapping.Fill) -> int:
    return sum(checkpoint.tensors[name].n_bytes for name in fill.tensors + fill.scales)


def _jobs(checkpoint: Checkpoint, model: Decoder) -> list[_Job]:
    """The fills, those of stacked layers together and in the layers' order."""
    jobs: dict[tuple[str, ...], dict[int, mapping.Fill]] = {}
    for fill in checkpoint.fills:
        places = [model.place(name) for name in fill.parts.parameters]
        jobs.setdefault(tuple(p[0] for p in places), {})[places[0][1]] = fill
    return [_Job(tuple(fills[i] for i in sorted(fills)), to) for to, fills in jobs.items()]


def _groups(checkpoint: Checkpoint, jobs: list[_Job]) -> Iterator[list[_Job]]:
    """Jobs in pieces that are read at once, file by file where they can be."""
    group: list[_Job] = []
    size = 0
    for job in sorted(jobs, key=lambda j: str(checkpoint.tensors[j.fills[0].tensors[0]].file)):
        n = sum(_n_bytes(checkpoint, fill) for fill in job.fills)
        if group and size + n > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(job)
        size += n
    if group:
        yield group


def _raw(checkpoint: Checkpoint, job: _Job, variables, mesh) -> dict[str, Any]:
    """The arrays to read for a job: name in the table → shape, dtype and sharding."""
    target = variables[job.targets[0]].get_value()
    result: dict[str, Any] = {}
    alone = jax.process_count() == 1
    for fill in job.fills:
        for name in fill.tensors + fill.scales:
            tensor = checkpoint.tensors[name]
            layout = sharding.spread(tensor.shape, mesh, tensor.pieces, target.sharding)
            if fill.plain and alone:  # of one layer of a stack: the shards are those of the stack
                spec = target.sharding.spec[0 if job.plain else 1 :]
                layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
            # What is quantised stays as it is until its scales are there.
            dtype = target.dtype
            if fill.packed:
                dtype = jnp.uint8
            elif fill.scales:
                dtype = jnp.float32 if name in fill.scales else jnp.float8_e4m3fn
            result[name] = jax.ShapeDtypeStruct(tensor.shape, dtype, sharding=layout)
    return result


def _read(checkpoint: Checkpoint, wanted: dict[str, Any]) -> dict[str, jax.Array]:
    """Reads tensors by their names in the table."""
    read = checkpoint.read({checkpoint.stored[name]: array for name, array in wanted.items()})
    return {name: read[checkpoint.stored[name]] for name in wanted}


@functools.lru_cache(maxsize=4)
def _hash_sum(mesh: jax.sharding.Mesh) -> Callable[[jax.Array], jax.Array]:
    """A wrap-around uint32 sum of a hash of each element: of its bits and its position.

    Integer sums do not depend on their order: the same on any mesh. Each element is hashed: a sum
    that is linear in the bits cannot distinguish a tensor from its negative, or from its double.
    """

    def hash_sum(x: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{x.dtype.itemsize * 8}"))
        position = jnp.zeros(x.shape, jnp.uint32)
        for axis, size in enumerate(x.shape):
            index = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
            position = position * jnp.uint32(size) + index
        return jnp.sum(_mixed(bits.astype(jnp.uint32) ^ _mixed(position)), dtype=jnp.uint32)

    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(hash_sum, out_shardings=replicated)


def _mixed(x: jax.Array) -> jax.Array:
    """Each bit of the result depends on all of x: the last step of MurmurHash3 (uint32)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def architecture_hash(arch: Arch) -> str:
    """A short name of an Arch's values: two checkpoints of equal weights may still differ here."""
    return hashlib.sha256(repr(arch).encode()).hexdigest()
