"""Where a model comes from: a hub id or a folder → files, checked before a byte is used.

Headers of safetensors files are read by the safetensors library, which refuses headers that lie
about offsets and files that are cut short; of Orbax's files we check the lengths ourselves. Orbax
checkpoints may lie in a bucket (gs://…): such paths are etils' epath.Path, the same interface.
"""

import functools
import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from jaxbpc.checkpoint.headers import INDEX
from jaxbpc.errors import InputError, short
from jaxbpc.utils import strict_json
from jaxbpc.utils.paths import cache_folder, is_remote, place

log = logging.getLogger(__name__)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "qwen.tiktoken", "vocab.json", "vocab.txt")
_TOKENIZER_PATTERNS = ["*.json", "tokenizer.model", "*.tiktoken", "*.txt"]
_PATTERNS = [*_TOKENIZER_PATTERNS, "*.safetensors"]


def resolve(path: str, revision: str | None = None, weights: bool = True) -> pathlib.Path:
    """The local folder of a model: `path` itself, or what a hub id downloads to.

    Args:
      weights: False fetches the tokenizer alone.

    Raises:
      InputError: neither a folder nor a hub id that can be downloaded; says what to do.
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
    except Exception as e:  # as in `resolve`; a download reports it
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
      InputError: a file outside of the folder: a link in a downloaded folder may lead to a secret
        of this machine, which the copy would publish. (A hub's cache is made of links.)
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
