"""The tensors of a checkpoint by its files' headers, checked before a byte of them is used.

Headers of safetensors files are read by the safetensors library, which refuses headers that lie
about offsets and files that are cut short; of Orbax's files we check the lengths ourselves.
"""

import dataclasses
import math
import pathlib
import re
from typing import Any

from jaxbpc.errors import InputError
from jaxbpc.utils import strict_json
from jaxbpc.utils.paths import is_remote

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
TREE = "_METADATA"  # of an Orbax checkpoint
_ORBAX_SMALL = (TREE, "_CHECKPOINT_METADATA", "_sharding", "manifest.ocdbt", ".zarray", "zarr.json")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint: where it lies, its shape, its dtype as safetensors spells it.

    pieces: the shape of those that it is stored in and that are read whole; None: bytes on end.
    """

    file: pathlib.Path
    shape: tuple[int, ...]
    dtype: str
    pieces: tuple[int, ...] | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes in the file: the digits in the dtype's name are its bits."""
        bits = int("".join(c for c in self.dtype.split("_")[0] if c.isdigit()) or 8)
        return math.prod(self.shape) * bits // 8


def tensors(folder: pathlib.Path) -> dict[str, Tensor]:
    """All tensors of a folder's checkpoint, by name, from the files' headers alone.

    Raises:
      InputError: no safetensors, an index that is wrong, or a file that is damaged.
    """
    index = folder / INDEX
    named: dict[str, str] = {}
    if (folder / SINGLE).is_file():  # goes before an index, as in transformers
        files = [folder / SINGLE]
    elif index.is_file():
        named = _read_index(index)
        files = sorted({folder / name for name in named.values()})
    else:
        raise InputError(
            f"{folder} has no {SINGLE}, no {INDEX} and no Orbax checkpoint ({TREE}): weights are "
            "read from these alone, convert the checkpoint"
        )
    found: dict[str, Tensor] = {}
    for file in files:
        for name, tensor in _read_header(file).items():
            if name in found:
                raise InputError(
                    f"{file}: tensor {name!r} is in {found[name].file.name} as well: remove one"
                )
            found[name] = tensor
    if lost := sorted(named.keys() - found.keys()):
        raise InputError(f"{index} names tensors that no file has: {', '.join(lost[:20])}")
    return found


def _read_index(index: pathlib.Path) -> dict[str, str]:
    """Tensor name → file name. Files outside of the folder are refused."""
    named = strict_json.json_file(index).get("weight_map")
    if not isinstance(named, dict):
        raise InputError(f"{index}: no readable `weight_map`: fix the file")
    for file in set(map(str, named.values())):
        if not re.fullmatch(r"[^/\\\0]+\.safetensors", file):
            raise InputError(f"{index}: {file!r} is no safetensors file of this folder")
    return {name: str(file) for name, file in named.items()}


def _read_header(file: pathlib.Path) -> dict[str, Tensor]:
    import safetensors

    try:
        with safetensors.safe_open(file, framework="numpy") as opened:
            result = {}
            for name in opened.keys():  # noqa: SIM118 (not a dict)
                piece = opened.get_slice(name)
                result[name] = Tensor(file, tuple(piece.get_shape()), piece.get_dtype())
            return result
    except FileNotFoundError:
        if file.is_file():  # the library says the same of a file that may not be read
            raise InputError(f"{file}: cannot be read: check its permissions")
        raise InputError(f"{file} does not exist, though {INDEX} names it: download it again")
    except (OSError, safetensors.SafetensorError) as e:
        reason = " ".join(str(e).split())[:160]
        raise InputError(
            f"{file}: a damaged or truncated safetensors file ({reason}): download it again"
        )


def orbax_item(folder: pathlib.Path) -> pathlib.Path | None:
    """The part of a model's folder that holds an Orbax checkpoint's tree; None: it has none.

    The folder itself, or the only one in it that does (Orbax: state; MaxText: items).

    Raises:
      InputError: there is more than one, or safetensors as well.
    """
    try:
        inside = [p for p in folder.iterdir() if p.is_dir() and (p / TREE).exists()]
    except OSError as e:
        raise InputError(f"{folder}: cannot be read ({e.strerror or e}): check its permissions")
    items = [folder] if (folder / TREE).exists() else sorted(inside)
    weights = [folder / name for name in (SINGLE, INDEX) if (folder / name).exists()]
    if items and len(items + weights) > 1:
        found = ", ".join(path.name for path in items + weights)
        raise InputError(f"{folder}: more than one checkpoint ({found}): leave one there")
    return items[0] if items else None


def check_lengths(item: pathlib.Path, n_bytes: int | None = None) -> None:
    """Raises InputError where a file of an Orbax checkpoint is far too long.

    TensorStore reads pieces and manifests whole, and ends the process where memory is short.

    Args:
      n_bytes: of its tensors, which bound each of its files; None: only their metadata files.
    """
    if is_remote(item):
        return
    most = strict_json.MOST_BYTES if n_bytes is None else 2 * n_bytes + strict_json.MOST_BYTES
    for file in item.rglob("*"):
        if n_bytes is None and file.name not in _ORBAX_SMALL:
            continue
        if file.is_file() and file.stat().st_size > most:
            raise InputError(
                f"{file}: has {file.stat().st_size:,} bytes, more than this checkpoint can have: "
                "write or copy it again"
            )


def check_ocdbt(item: pathlib.Path) -> None:
    """Raises InputError where a file of an Orbax checkpoint is missing or cut short.

    Of an OCDBT database, Orbax's default; of other kinds nothing can be said before reading.
    """
    import tensorstore as ts

    if not (item / "manifest.ocdbt").exists():
        return
    local = {"driver": "file", "path": f"{item}/"}
    store = ts.KvStore.open(f"{item}/" if is_remote(item) else local).result()
    ends: dict[str, int] = {}
    try:
        versions = ts.ocdbt.dump(store).result()["versions"]
        nodes = [versions[-1]["root"]["location"]]
        seen = set()
        while nodes:
            if nodes[-1] in seen:
                raise ValueError("its index leads in a circle")
            seen.add(nodes[-1])
            entries = ts.ocdbt.dump(store, nodes[-1]).result()["entries"]
            places = [e.get("location") or e.get("indirect_value") for e in entries]
            for where in [nodes.pop(), *filter(None, places)]:
                _, base, name, begin, size = where.split(":")
                ends[base + name] = max(ends.get(base + name, 0), int(begin) + int(size))
            nodes += [e["location"] for e in entries if "location" in e]
    except (ValueError, KeyError, IndexError) as e:
        reason = " ".join(str(e).split())[:160]
        raise InputError(f"{item}: a damaged Orbax checkpoint ({reason}): write or copy it again")
    for name, end in ends.items():
        file = item / name
        size = _length(file)
        if size is None or size < end:
            fault = "is missing" if size is None else f"has {size} of {end} bytes"
            raise InputError(f"{item}: its file {name} {fault}: write or copy the checkpoint again")


def _length(file: Any) -> int | None:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return stat.length if hasattr(stat, "length") else stat.st_size
