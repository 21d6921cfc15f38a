"""Locks a workdir and logs each attempt to score it.

A run may be killed and started again many times; `runs.json` has one entry per attempt. Windows
that a killed attempt did not log are found in the record and counted as its own.
"""

import contextlib
import datetime
import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import filelock

from jaxbpc.errors import InputError
from jaxbpc.utils.files import read_checked, sync, write_checked

log = logging.getLogger(__name__)
_SAVE_S = 10.0
_KEY = "lives"  # the attempts in `runs.json`, by the name that existing files have


class Attempt:
    """One attempt at a run. Without a workdir (a process that does not write) it only counts.

    Args:
      about: what is logged beside the number of windows.
      n_done: windows that the record holds as it begins.
    """

    def __init__(self, workdir: pathlib.Path | None, about: dict[str, Any], n_done: int):
        self._path = workdir / "runs.json" if workdir else None
        self._earlier = _read(self._path) if self._path else []
        n_logged = sum(attempt["windows_scored"] for attempt in self._earlier)
        if n_done > n_logged:
            if not self._earlier:
                self._earlier.append({"started": None, "windows_scored": 0})
            self._earlier[-1]["windows_scored"] += n_done - n_logged
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._about = {"started": started, **about}
        self.n_scored = 0
        self.save()

    def scored(self) -> None:
        """One more window is scored."""
        self.n_scored += 1
        if time.monotonic() - self._saved > _SAVE_S:
            self.save()

    def all_attempts(self) -> list[dict[str, Any]]:
        """Every attempt of the workdir, this one last."""
        return [*self._earlier, {**self._about, "windows_scored": self.n_scored}]

    def save(self) -> None:
        """Writes `runs.json`."""
        self._saved = time.monotonic()
        if self._path:
            write_checked(self._path, {_KEY: self.all_attempts()})


def last_files(workdir: pathlib.Path) -> str | None:
    """`files_state` of the last attempt. Raises InputError where none can be read."""
    return read_checked(workdir / "runs.json", "start the run's command")[_KEY][-1].get("files")


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
    """Raises InputError where `file` shows that a workdir is of another kind."""
    if (workdir / file).exists():
        raise InputError(f"{workdir} belongs to {kind} ({file}): give another --workdir")


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The attempts so far. No result depends on them: a damaged file is dropped with a warning."""
    if not path.exists():
        return []
    try:
        return read_checked(path, "the attempts so far are counted as one")[_KEY]
    except InputError as e:
        log.warning("%s", e)
        return []
