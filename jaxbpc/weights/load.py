"""Checkpoint → parameters, straight into the shards of a mesh.

Every tensor of the checkpoint is used once and every parameter filled; what does not fit is told in
one error, before a byte of weights is read. Orbax reads each process's own byte ranges; its v1 API
is experimental and is imported here alone.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxbpc import sharding
from jaxbpc.config import fingerprint
from jaxbpc.errors import InputError
from jaxbpc.models.arch import Arch
from jaxbpc.models.decoder import Decoder, parameters
from jaxbpc.models.families import FAMILIES
from jaxbpc.weights import source

_GROUP_BYTES = 1 << 30  # read at once: what the host holds beside the shards


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model's folder, checked: its Arch, and which tensor fills which parameter."""

    folder: pathlib.Path
    arch: Arch
    architecture: str
    tensors: dict[str, source.Tensor]
    names: dict[str, str]  # tensor → parameter
    own_head: bool


def open_checkpoint(folder: pathlib.Path) -> Checkpoint:
    """Reads config.json and the headers of the weights; nothing of the weights themselves.

    Raises:
      InputError: an unknown architecture, or all missing, extra and misshapen tensors at once.
    """
    config = source.read_config(folder)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise InputError(
            f"{folder / 'config.json'}: `model_type` {kind!r} is no architecture that jaxbpc "
            f"knows; it knows {', '.join(sorted(FAMILIES))}"
        )
    family = FAMILIES[kind]
    arch = family.to_arch(config, str(folder / "config.json"))
    tensors = source.tensors(folder)
    # As transformers does: a head in the file wins over `tie_word_embeddings`.
    own_head = not arch.tied or any(
        name in tensors and parameter == "head.weight" for name, parameter in family.NAMES.items()
    )
    layers = range(arch.n_layers)
    names = _expand(family.NAMES.items(), layers)
    unused = dict(_expand(((name, "") for name in family.UNUSED), layers))
    architectures = config.get("architectures")
    architecture = (
        str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    )
    tensors = {name: tensor for name, tensor in tensors.items() if name not in unused}
    model = Decoder(arch, jnp.float32, "xla", own_head)
    _check_names(folder, model, tensors, names)
    names = {name: names[name] for name in tensors}
    return Checkpoint(folder, arch, architecture or kind, tensors, names, own_head)


def load(
    checkpoint: Checkpoint,
    dtype,
    mesh: jax.sharding.Mesh,
    attention: str,
    progress: Callable[[int], Any] | None = None,
) -> tuple[Decoder, str]:
    """The model with its weights on the mesh, and the fingerprint of its weights.

    Args:
      dtype: of the parameters; the file's values are cast.
      progress: called with the bytes of each group of tensors that was read.

    Raises:
      InputError: a file that cannot be read.
    """
    model = abstract(checkpoint, dtype, mesh, attention)
    targets = parameters(model)
    weighted_sum = _weighted_sum(mesh)
    digests = {}
    for group in _groups(checkpoint):
        wanted = {name: targets[checkpoint.names[name]].get_value() for name in group}
        for name, value in _read(checkpoint.tensors[group[0]].file, wanted).items():
            targets[checkpoint.names[name]].set_value(value)
            digests[name] = (list(value.shape), str(value.dtype), weighted_sum(value))
        if progress:
            progress(sum(checkpoint.tensors[name].n_bytes for name in group))
    # One transfer for all sums: each fetched alone would wait for its own kernel.
    sums = jax.device_get({name: digest[2] for name, digest in digests.items()})
    fields = {name: [*digests[name][:2], int(sums[name])] for name in digests}
    return model, fingerprint(fields)


def abstract(checkpoint: Checkpoint, dtype, mesh, attention: str) -> Decoder:
    """The model as `load` returns it, with ShapeDtypeStructs (and their shardings) for arrays."""
    model = Decoder(checkpoint.arch, dtype, attention, checkpoint.own_head)
    shardings = parameter_shardings(model, mesh)
    for name, variable in parameters(model).items():
        shape = variable.get_value().shape
        variable.set_value(jax.ShapeDtypeStruct(shape, dtype, sharding=shardings[name]))
    return model


def n_bytes(checkpoint: Checkpoint) -> int:
    """Bytes of the checkpoint's tensors in its files."""
    return sum(tensor.n_bytes for tensor in checkpoint.tensors.values())


def parameter_shardings(model: nnx.Module, mesh) -> dict[str, jax.sharding.NamedSharding]:
    """The sharding of each parameter by name; a head is never split between devices."""
    arch: Any = getattr(model, "arch", None)
    units = {"heads": arch.n_heads, "kv_heads": arch.n_kv_heads} if arch else {}
    result = {}
    for name, variable in parameters(model).items():
        axes = variable.get_metadata("axes")
        counts = [
            units.get(axis, size)
            for axis, size in zip(axes, variable.get_value().shape, strict=True)
        ]
        result[name] = sharding.named(axes, counts, mesh)
    return result


def _expand(names: Iterable[tuple[str, str]], layers: range) -> dict[str, str]:
    """Fills {l} in names of tensors and parameters with every layer."""
    result = {}
    for tensor, parameter in names:
        for l in layers if "{l}" in tensor else range(1):  # noqa: E741
            result[tensor.replace("{l}", str(l))] = parameter.replace("{l}", str(l))
    return result


def _check_names(folder, model, tensors: dict[str, source.Tensor], names: dict[str, str]) -> None:
    """Every parameter has its tensor, well shaped, and no tensor is left; else InputError."""
    wanted = {name: p.get_value().shape for name, p in parameters(model).items()}
    missing = [t for t, parameter in names.items() if parameter in wanted and t not in tensors]
    extra = [t for t in tensors if names.get(t) not in wanted]
    misshapen = [
        f"{t} {list(tensor.shape)} instead of {list(wanted[names[t]])}"
        for t, tensor in tensors.items()
        if names.get(t) in wanted and tensor.shape != wanted[names[t]]
    ]
    faults = []
    for what, tensor_names in (("missing", missing), ("extra", extra), ("wrong shape", misshapen)):
        if tensor_names:
            more = f" and {len(tensor_names) - 20} more" if len(tensor_names) > 20 else ""
            faults.append(f"{what}: {', '.join(tensor_names[:20])}{more}")
    if faults:
        raise InputError(
            f"{folder}: its tensors are not those of config.json ({'; '.join(faults)}): mend "
            "config.json or download the weights again"
        )


def _groups(checkpoint: Checkpoint) -> Iterator[list[str]]:
    """Tensor names in pieces that lie in one file and are read at once."""
    by_file: dict[pathlib.Path, list[str]] = {}
    for name, tensor in checkpoint.tensors.items():
        by_file.setdefault(tensor.file, []).append(name)
    for names in by_file.values():
        group: list[str] = []
        size = 0
        for name in names:
            size += checkpoint.tensors[name].n_bytes
            if group and size > _GROUP_BYTES:
                yield group
                group, size = [], checkpoint.tensors[name].n_bytes
            group.append(name)
        if group:
            yield group


def _read(file: pathlib.Path, abstract: dict[str, jax.ShapeDtypeStruct]) -> dict[str, jax.Array]:
    """Reads tensors of one safetensors file into the shards that `abstract` describes."""
    import orbax.checkpoint.experimental.v1 as ocp

    context = ocp.Context()
    # The layout must be named: the automatic choice does not see single files.
    context.checkpoint_layout = ocp.options.CheckpointLayout.SAFETENSORS
    try:
        with context:
            return ocp.load(file.resolve(), abstract)
    except (OSError, ValueError) as e:
        reason = " ".join(str(e).split())[:160]
        raise InputError(f"{file}: cannot be read ({reason}): download it again")


def _weighted_sum(mesh: jax.sharding.Mesh) -> Callable[[jax.Array], jax.Array]:
    """A wrap-around uint32 sum of a tensor's bits, each times an odd number of its position.

    Integer sums do not depend on their order: the same on any mesh.
    """

    def weighted_sum(x: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{x.dtype.itemsize * 8}"))
        position = jnp.zeros(x.shape, jnp.uint32)
        for axis, size in enumerate(x.shape):
            index = jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
            position = position * jnp.uint32(size) + index
        return jnp.sum(bits.astype(jnp.uint32) * (2 * position + 1), dtype=jnp.uint32)

    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.jit(weighted_sum, out_shardings=replicated)


def architecture_hash(arch: Arch) -> str:
    """A short name of an Arch's values: two checkpoints of equal weights may still differ here."""
    return hashlib.sha256(repr(arch).encode()).hexdigest()
