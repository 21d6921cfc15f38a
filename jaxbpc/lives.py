"""The lives of a workdir: one run at a time, each life written down, a polite end by signal.

A run may be killed and started again many times; `runs.json` has one entry a life. What a killed
life did not live to write down is found in the record and counted as its own.
"""

import contextlib
import datetime
import hashlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import filelock

from jaxbpc.errors import InputError
from jaxbpc.utils import paths
from jaxbpc.utils.files import read_checked, sync, write_checked
from jaxbpc.weights import source

log = logging.getLogger(__name__)
_SAVE_S = 10.0


class Life:
    """This life of a run. Without a workdir (a process that does not write) it only counts.

    Args:
      about: what is written beside the number of windows.
      n_done: windows that the record holds as it begins.
    """

    def __init__(self, workdir: pathlib.Path | None, about: dict[str, Any], n_done: int):
        self._path = workdir / "runs.json" if workdir else None
        self._earlier = _read(self._path) if self._path else []
        told = sum(life["windows_scored"] for life in self._earlier)
        if n_done > told:
            if not self._earlier:
                self._earlier.append({"started": None, "windows_scored": 0})
            self._earlier[-1]["windows_scored"] += n_done - told
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._about = {"started": started, **about}
        self.n_scored = 0
        self.save()

    def scored(self) -> None:
        """One more window is scored."""
        self.n_scored += 1
        if time.monotonic() - self._saved > _SAVE_S:
            self.save()

    def all_lives(self) -> list[dict[str, Any]]:
        """Every life of the workdir, this one last."""
        return [*self._earlier, {**self._about, "windows_scored": self.n_scored}]

    def save(self) -> None:
        """Writes `runs.json`."""
        self._saved = time.monotonic()
        if self._path:
            write_checked(self._path, {"lives": self.all_lives()})


def last_files(workdir: pathlib.Path) -> str | None:
    """`files_state` in the last life. Raises InputError where there was none that can be read."""
    return read_checked(workdir / "runs.json", "start the run's command")["lives"][-1].get("files")


def files_state(path: str) -> str | None:
    """A hash of the files of a checkpoint on this disk: where each lies, its size, its last change.

    Links are followed, so that one that leads elsewhere is another state. The change is `ctime`, by
    the file system's clock: tools that copy set `mtime`. None: a hub id, or a bucket's folder.
    """
    if paths.is_remote(path) or not paths.place(path).is_dir():
        return None
    folder = pathlib.Path(paths.place(path))
    files = {source.holder(folder, "config.json") / "config.json", *_files(folder)}
    listing = [_file_state(file) for file in sorted(files)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:32]


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """All files in a folder and those below, also by links to folders; each folder once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(folders)
        if real not in seen:
            yield from (pathlib.Path(place, name) for name in names)
        seen.add(real)


def _file_state(file: pathlib.Path) -> tuple[str, int, int] | None:
    try:
        state = file.stat()
    except OSError:  # removed just now, or a link that leads nowhere: whoever reads it says so
        return None
    return os.path.realpath(file), state.st_size, state.st_ctime_ns


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes `workdir` and keeps other runs out of it while the body runs.

    Raises:
      InputError: it cannot be written, or another run works in it.
    """
    try:
        new = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
        workdir.mkdir(parents=True, exist_ok=True)
        for folder in new:
            sync(folder.parent)
        lock = filelock.FileLock(workdir / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            f"{workdir}: another run works in it: wait for its end, or give another --workdir"
        )
    except OSError as e:
        reason = e.strerror or type(e).__name__
        raise InputError(f"{workdir}: cannot be written ({reason}): give another --workdir")
    try:
        yield
    finally:
        lock.release()


def refuse_other(workdir: pathlib.Path, file: str, kind: str) -> None:
    """Raises InputError where `file` tells that a workdir is another kind's: one hid the other."""
    if (workdir / file).exists():
        raise InputError(f"{workdir} belongs to {kind} ({file}): give another --workdir")


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lives that a workdir has had. They are no part of the number: damaged, they are gone."""
    if not path.exists():
        return []
    try:
        return read_checked(path, "the lives until now are counted as one")["lives"]
    except InputError as e:
        log.warning("%s", e)
        return []
