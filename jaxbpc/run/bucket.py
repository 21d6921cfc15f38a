"""A run's folder in a bucket: worked on in a copy on this machine's disk, which is sent often.

A bucket has no lock and no rename, and an object may be written about once a second; a record needs
all three. So the bucket holds, beside the run's files, `mirror.json`: which run works in it, and a
token that is new each time. It is written last, if no other run wrote it since this one did.
A run that was killed loses what it scored since it was last sent; on the same machine nothing.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import secrets
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import tensorstore as ts

from jaxbpc.errors import COPIES, InputError
from jaxbpc.utils import paths

log = logging.getLogger(__name__)

INDEX = "mirror.json"
EVERY_S = 30.0
_ANSWER_S = 60.0  # without a network its library would try for many minutes
LOST_S = 100.0  # a run that wrote nothing for so long is dead


@contextlib.contextmanager
def worked_in(workdir: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """The folder to work in: `workdir`, or a copy of it that is sent to its bucket until the end.

    Raises:
      InputError: the bucket cannot be read or written, or another run works in it.
    """
    if not paths.is_remote(workdir):
        yield pathlib.Path(workdir)
        return
    mirror = Mirror(str(workdir))
    with _one_line_errors(mirror.url):
        mirror.begin()
    over = threading.Event()
    sender = threading.Thread(target=mirror.send_until, args=(over,), daemon=True)
    sender.start()
    COPIES[str(mirror.folder)] = mirror.url
    try:
        yield mirror.folder
    finally:
        del COPIES[str(mirror.folder)]
        over.set()
        sender.join()
        with _one_line_errors(mirror.url, f"the run is kept in {mirror.folder}: "):
            mirror.send(ended=True)


def copy(url: str) -> pathlib.Path:
    """A folder with the files of a run in a bucket, or of one of its series, to read.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    url = url.rstrip("/")
    above, _, name = url.rpartition("/")
    folder = _cache("read", url) / name
    with _one_line_errors(url):
        store = ts.KvStore.open(f"{url}/").result()
        index = _index(store)
        if index is None and _is_in(above, name):
            return copy(above) / name
        if index is None:
            raise InputError(f"{url}: no run in it ({INDEX} is missing): give a run's folder")
        _fetch(store, index, folder)
    COPIES[str(folder)] = url
    return folder


class Mirror:
    """A run's folder in a bucket, and its copy on this machine."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.folder = _cache("runs", self.url)
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": secrets.token_hex(8)}
        self._store: Any = None
        self._generation: bytes | None = None  # of the index as this run wrote it
        self._sent: dict[str, list[int]] = {}

    def begin(self) -> None:
        """Takes the bucket's folder for this run and brings the copy to its state."""
        self._store = ts.KvStore.open(f"{self.url}/").result()
        index = self._wait_for_other(_index(self._store))
        if index is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        else:
            self._sent = _fetch(self._store, index, self.folder)
        self.send()

    def send_until(self, over: threading.Event) -> None:
        """Sends what is new, again and again. A bucket that is away for a while is no fault yet."""
        while not over.wait(EVERY_S):
            try:
                self.send()
            except InputError as e:  # another run took it: this one's numbers would be lost
                log.error("%s", e)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except (OSError, ValueError) as e:
                log.warning("%s: cannot be written now (%s)", self.url, _one_line(e))

    def send(self, ended: bool = False) -> None:
        """Sends what changed, then the index. Raises InputError if another run wrote that."""
        have = _files(self.folder)
        # Arrays before the JSON that describes them.
        for name in sorted(have, key=lambda name: (name.endswith(".json"), name)):
            if self._sent.get(name) != have[name]:
                self._store.write(name, (self.folder / name).read_bytes()).result()
        for name in self._sent.keys() - have.keys():
            self._store.write(name, None).result()
        token = secrets.token_hex(8)
        index = {"token": token, "owner": None if ended else self._owner, "files": sorted(have)}
        data = json.dumps(index, indent=1).encode()
        written = self._store.write(INDEX, data, if_equal=self._generation).result().generation
        if not written:
            raise InputError(f"{self.url}: another run works in it too: give another --workdir")
        self._generation, self._sent = written, have
        _note(self.folder, token, have)

    def _wait_for_other(self, index: dict[str, Any] | None) -> dict[str, Any] | None:
        """The index once the run that wrote it has ended, or is known to be dead."""
        owner = index and index["owner"]
        if not index or not owner or self._is_dead(owner):
            return index
        writer = f"{owner['host']}, process {owner['pid']}"
        log.warning("%s: %s may work in it: waiting for its heartbeat", self.url, writer)
        deadline = time.monotonic() + LOST_S
        while time.monotonic() < deadline:
            time.sleep(min(5.0, LOST_S / 4))
            now = _index(self._store)
            if now is None or now["owner"] is None:
                return now
            if now["token"] != index["token"]:
                raise InputError(
                    f"{self.url}: another run works in it ({writer}): wait for its end, or give "
                    "another --workdir"
                )
        return index

    def _is_dead(self, owner: dict[str, Any]) -> bool:
        """Whether a process of this very machine is gone: then there is nothing to wait for."""
        if owner["host"] != self._owner["host"]:
            return False
        try:
            os.kill(owner["pid"], 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return owner["pid"] == os.getpid()


def _cache(kind: str, url: str) -> pathlib.Path:
    return paths.cache_folder() / kind / hashlib.sha256(url.encode()).hexdigest()[:32]


def _index(store: Any) -> dict[str, Any] | None:
    """The index, if there is one."""
    read = store.read(INDEX).result(timeout=_ANSWER_S)
    if read.state != "value":
        return None
    index = json.loads(read.value)
    if not isinstance(index["files"], list) or not index.keys() >= {"token", "owner"}:
        raise ValueError(f"{INDEX} is damaged")
    return index


def _is_in(url: str, name: str) -> bool:
    """Whether a bucket's folder has an index, with files in its folder `name`."""
    if not url.partition("://")[2]:
        return False
    # Who may read one folder need not be allowed to read the one above.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        index = _index(ts.KvStore.open(f"{url}/").result())
        return index is not None and any(f.startswith(f"{name}/") for f in index["files"])
    return False


def _fetch(store: Any, index: dict[str, Any], folder: pathlib.Path) -> dict[str, list[int]]:
    """Brings a copy to the index's state, unless it comes from it; returns what is sent already."""
    try:
        note = json.loads((folder / f".{INDEX}").read_text())
        if note["token"] == index["token"]:
            return note["sent"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in index["files"]:
        path = folder / name
        if folder.resolve() not in path.resolve().parents:
            raise ValueError(f"{INDEX} names {name!r}, outside of it")
        read = store.read(name).result()
        if read.state == "value":  # if not, the record shows what to score again
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(read.value)
    sent = _files(folder)
    _note(folder, index["token"], sent)
    return sent


def _files(folder: pathlib.Path) -> dict[str, list[int]]:
    """Size and time of change of each file, by its name in the folder; hidden ones stay here."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.name.startswith(".") and path.is_file():
            with contextlib.suppress(FileNotFoundError):  # replaced just now
                state = path.stat()
                found[path.relative_to(folder).as_posix()] = [state.st_size, state.st_mtime_ns]
    return found


def _note(folder: pathlib.Path, token: str, sent: dict[str, list[int]]) -> None:
    """Remembers which state of the bucket a copy comes from."""
    temporary = folder / f".{INDEX}.new"
    temporary.write_text(json.dumps({"token": token, "sent": sent}))
    os.replace(temporary, folder / f".{INDEX}")


@contextlib.contextmanager
def _one_line_errors(url: str, kept: str = "") -> Iterator[None]:
    """Turns what a bucket's library raises into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InputError(
            f"{url}: cannot be read or written ({_one_line(e)}): {kept}check the path and your "
            "credentials, and start the same command again"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
