"""The lives of a workdir: one run at a time, each life written down, a polite end by signal.

A run may be killed and started again many times; `runs.json` has one entry a life. What a killed
life did not live to write down is found in the record and counted as its own.
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
