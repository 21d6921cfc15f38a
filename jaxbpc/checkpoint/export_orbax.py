"""Any model that can be read → an Orbax checkpoint with config.json and the tokenizer beside it.

Tensors keep Hugging Face's names and shapes, and what is quantised stays so: the folder is read by
the same table and scored with the same digits and fingerprint. They are read and written in groups,
spread over all processes: each holds its part of a group.
"""

import contextlib
import math
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxbpc.checkpoint import load, locate, tensor_io
from jaxbpc.errors import InputError
from jaxbpc.parallel import distributed, sharding
from jaxbpc.utils import paths


def convert(
    path: str,
    out: str,
    dtype: str | None = None,
    revision: str | None = None,
    progress: Callable[[int], Any] | None = None,
) -> None:
    """Writes the model of `path` to a folder `out`, which is a model only when it is complete.

    Every process calls it; `out` is on a file system that they share.

    Args:
      path: hub id (at `revision`) or folder.
      dtype: of the weights, as a run in it would cast them; None: as they are stored.
      progress: called with the bytes of each group that is written.

    Raises:
      InputError: not a readable model, `out` exists, no room, or it cannot be written.
    """
    to = paths.place(out if paths.is_remote(out) else os.path.abspath(os.path.expanduser(out)))
    with distributed.together("reading the model"):
        folder = locate.resolve(path, revision)
        checkpoint = load.open_checkpoint(folder)
        groups = load.as_stored(checkpoint, sharding.make_mesh((0, 0, 0)), dtype)
        if distributed.is_writer():
            _make_room(to, sum(map(_n_bytes, groups)))
    # A bucket does not rename: there the last file that is written, config.json, makes it a model.
    token = distributed.json_from_writer(secrets.token_hex(4))
    unfinished = to if paths.is_remote(out) else to.parent / f"{to.name}.unfinished-{token}"

    def read() -> Iterator[dict[str, jax.Array]]:
        for group in groups:
            yield checkpoint.read(group)
            if progress:
                progress(_n_bytes(group))

    with distributed.none_waits(), _removed(unfinished):
        tensor_io.write(unfinished, read())
    with distributed.together("writing the model"), _removed(unfinished):
        if distributed.is_writer():
            _check(unfinished, groups)
            _finish(locate.holder(folder, "config.json"), unfinished, to)


def _n_bytes(group: dict[str, jax.ShapeDtypeStruct]) -> int:
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in group.values())


def _make_room(out: Any, n_bytes: int) -> None:
    """Raises InputError where `out` exists or, as far as is known before, cannot be written."""
    try:
        if out.exists():
            raise InputError(f"{out} exists already: give a folder that does not")
        out.parent.mkdir(parents=True, exist_ok=True)
        if not paths.is_remote(out) and n_bytes > shutil.disk_usage(out.parent).free:
            raise InputError(f"{out}: {n_bytes / 1e9:.3g} GB are needed there: make room")
    except OSError as e:
        raise InputError(f"{out}: cannot be written ({e.strerror or e}): give another folder")


def _check(unfinished: Any, groups: list[dict[str, jax.ShapeDtypeStruct]]) -> None:
    """Raises InputError where what was written is not what was read, by its headers."""
    found = tensor_io.find(unfinished).tensors
    wanted = {name: array for group in groups for name, array in group.items()}
    for name, array in wanted.items():
        tensor = found.get(name)
        if tensor is None or (tensor.shape, tensor_io.dtype_of(tensor)) != (
            array.shape,
            array.dtype,
        ):
            raise InputError(f"{unfinished}: {name} is not as it was written: try again")


def _finish(folder: pathlib.Path, unfinished: Any, out: Any) -> None:
    try:
        locate.copy_small(folder, unfinished)
        if unfinished != out:
            unfinished.rename(out)
    except OSError as e:
        raise InputError(f"{out}: cannot be written ({e.strerror or e}): give another folder")


@contextlib.contextmanager
def _removed(unfinished: Any) -> Iterator[None]:
    """Removes what a failure leaves."""
    try:
        yield
    except BaseException:  # also a signal's
        if distributed.is_writer():
            tensor_io.remove(unfinished)
        raise
