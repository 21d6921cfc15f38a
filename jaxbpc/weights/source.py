"""Where a model comes from: a hub id or a folder → files, checked before a byte is used.

Headers of safetensors files are read by the safetensors library, which refuses headers that lie
about offsets and files that are cut short; of Orbax's files we check the lengths ourselves. Orbax
checkpoints may lie in a bucket (gs://…): such paths are etils' epath.Path, the same interface.
"""

import dataclasses
import functools
import hashlib
import json
import logging
import math
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from jaxbpc.errors import InputError, short
from jaxbpc.utils import strict_json
from jaxbpc.utils.paths import cache_folder, is_remote, place

log = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
TREE = "_METADATA"  # of an Orbax checkpoint
_ORBAX_SMALL = (TREE, "_CHECKPOINT_METADATA", "_sharding", "manifest.ocdbt", ".zarray", "zarr.json")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "qwen.tiktoken", "vocab.json", "vocab.txt")
_TOKENIZER_PATTERNS = ["*.json", "tokenizer.model", "*.tiktoken", "*.txt"]
_PATTERNS = [*_TOKENIZER_PATTERNS, "*.safetensors"]


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


def resolve(path: str, revision: str | None = None, weights: bool = True) -> pathlib.Path:
    """The local folder of a model: `path` itself, or what a hub id downloads to.

    Args:
      weights: False fetches the tokenizer alone.

    Raises:
      InputError: neither a folder nor a hub id that can be had; the remedy is told.
    """
    if is_remote(path):
        return _remote(path, weights)
    folder = place(path)
    if folder.is_dir():
        return folder
    if folder.is_file():
        remedy = (
            f"convert it first: `python -m jaxbpc.convert gguf {path} OUT`"
            if folder.suffix == ".gguf"
            else "give the folder that holds config.json"
        )
        raise InputError(f"{path} is a file, a model is a folder: {remedy}")
    if path.startswith((".", "/", "~")) or path.endswith("/") or path.count("/") != 1:
        raise InputError(f"{path} does not exist: give a model's folder or a hub id (owner/name)")
    import huggingface_hub

    try:
        patterns = _PATTERNS if weights else _TOKENIZER_PATTERNS
        return pathlib.Path(
            huggingface_hub.snapshot_download(path, revision=revision, allow_patterns=patterns)
        )
    except Exception as e:  # the hub client raises errors of its own, of httpx and of the system
        raise InputError(
            f"{path}: cannot be had from the hub ({type(e).__name__}: {short(e)}): check the id, "
            "the network and `hf auth login`, or give a local folder"
        )


@functools.lru_cache(maxsize=16)
def hub_commits(path: str) -> dict[str, str]:
    """Branches and tags of a hub's model → the commits that they are now.

    Asked for once; {} where `path` is no hub id, or the hub does not answer.
    """
    if is_remote(path) or path.count("/") != 1 or place(path).is_dir():
        return {}
    import huggingface_hub

    try:
        refs = huggingface_hub.list_repo_refs(path)
    except Exception as e:  # as in `resolve`; whoever downloads it is told
        log.warning("%s: whether it changed on the hub is not known (%s)", path, short(e))
        return {}
    return {ref.name: ref.target_commit for ref in [*refs.branches, *refs.tags]}


def commit_of(folder: pathlib.Path) -> str | None:
    """The commit of a model's folder in the hub's cache; None: it is another folder."""
    return folder.name if _in_hub_cache(folder) else None


def _in_hub_cache(folder: pathlib.Path) -> bool:
    """Whether it is a model's folder there: models--OWNER--NAME/snapshots/COMMIT."""
    above = folder.parent
    return above.name == "snapshots" and above.parent.name.startswith("models--")


def _remote(path: str, weights: bool) -> pathlib.Path:
    """A folder in a bucket; for its tokenizer a copy of the small files."""
    try:
        folder = place(path)
        if not folder.is_dir():
            raise FileNotFoundError("no such folder")
        if weights:
            return folder
        copy = cache_folder() / "remote" / hashlib.sha256(path.encode()).hexdigest()[:32]
        copy.mkdir(parents=True, exist_ok=True)
        copy_small(holder(folder, *TOKENIZERS), copy)
        return copy
    except Exception as e:  # of whichever library opens this kind of bucket, or that it is missing
        raise InputError(
            f"{path}: cannot be read ({type(e).__name__}: {short(e)}): check the path and your "
            "credentials; gs:// needs the package gcsfs"
        )


def copy_small(folder: pathlib.Path, to: pathlib.Path) -> None:
    """Copies the tokenizer's files and config.json, in this order, each whole or not at all.

    Raises:
      InputError: a file that is no part of the folder: a copy may go to others, and a link of a
        stranger's folder may lead to one's own secrets. (A hub's cache is made of links.)
    """
    files = {file.name: file for pattern in _TOKENIZER_PATTERNS for file in folder.glob(pattern)}
    for name in sorted(files.keys() - {INDEX}, key=lambda name: name == "config.json"):
        if not is_remote(folder) and _leads_out(folder, files[name]):
            raise InputError(
                f"{files[name]} is a link out of its folder, not copied: put the file itself there"
            )
        content = strict_json.small_file(files[name])
        if is_remote(to):  # an object is written whole
            (to / name).write_bytes(content)
            continue
        unfinished = to / f".{name}.{os.getpid()}"
        unfinished.write_bytes(content)
        unfinished.replace(to / name)


def holder(folder: Any, *names: str) -> Any:
    """`folder`; the one above it where that alone has one of these files, for all its steps."""
    if any((folder / name).is_file() for name in names):
        return folder
    return folder.parent if any((folder.parent / n).is_file() for n in names) else folder


def _leads_out(folder: pathlib.Path, file: pathlib.Path) -> bool:
    """Whether a file is a link to elsewhere than its folder, or its model in a hub's cache."""
    root = folder.resolve()
    if _in_hub_cache(root):
        root = root.parent.parent
    return not file.resolve().is_relative_to(root)


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """The fields of a folder's config.json. Raises InputError."""
    path = folder / "config.json"
    try:
        return strict_json.json_file(path)
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist: give the folder of a Hugging Face model (config.json, "
            "weights, tokenizer.json)"
        )


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
        raise InputError(f"{index}: no readable `weight_map`: mend the file")
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
      n_bytes: of its tensors, which bound each of its files; None: those that tell of them alone.
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


def files_state(path: str) -> str | None:
    """A hash of the files of a checkpoint on this disk: where each lies, its size, its last change.

    Links are followed, so that one that leads elsewhere is another state. The change is `ctime`, by
    the file system's clock: tools that copy set `mtime`. None: a hub id, or a bucket's folder.
    """
    if is_remote(path) or not place(path).is_dir():
        return None
    folder = pathlib.Path(place(path))
    files = {holder(folder, "config.json") / "config.json", *_files(folder)}
    listing = [_file_state(file) for file in sorted(files)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:32]


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files in a folder and those below, also by links to folders; each folder once."""
    seen = set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else sorted(folders)
        if real not in seen:
            yield from (pathlib.Path(where, name) for name in names)
        seen.add(real)


def _file_state(file: pathlib.Path) -> tuple[str, int, int] | None:
    try:
        state = file.stat()
    except OSError:  # removed just now, or a link that leads nowhere: whoever reads it says so
        return None
    return os.path.realpath(file), state.st_size, state.st_ctime_ns
