"""Detects lost processes of a job, and shares exit statuses, outside of collectives.

A process that is lost leaves the others in a collective that fails, or never ends, or on the way to
one. JAX notices by its heartbeats and ends them by abort(), in a thread of its own, without a word
that a user could act on. Here each process counts up in the key-value store that process 0 keeps
for JAX. The processes that are left find the one whose count stands still, name it and exit with
75. A process that ends alone writes its exit status there, and the others exit with the same.
"""

import ctypes
import itertools
import os
import signal
import socket
import threading
import time
from typing import Any, NoReturn

import jax

from jaxbpc.errors import EXIT_STOPPED
from jaxbpc.utils import progress

_CONNECT_S = 5.0
_runs = itertools.count()  # every process of a job makes the same runs


class Watch:
    """Keeps watch while its body runs; `jax.distributed` must be initialized."""

    def __init__(self) -> None:
        from jax._src import distributed  # the store has no public name

        self._client: Any = distributed.global_state.client
        self._coordinator = str(distributed.global_state.coordinator_address)
        self._index, self._n = jax.process_index(), jax.process_count()
        self._prefix = f"jaxbpc/{next(_runs)}"
        # Everybody reads everybody's count: of hundreds of processes, less often.
        self._beat_s = min(max(2.0, self._n / 32), 4.0)
        self._silent_s = 2.5 * self._beat_s
        self._counts: dict[int, tuple[str, float]] = {}  # and since when they stand so
        self._read = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._ending = threading.Lock()
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)

    def __enter__(self) -> "Watch":
        _on_abort(ctypes.cast(self._handler, ctypes.c_void_p))
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        _on_abort(None)
        self._over.set()
        self._thread.join(_CONNECT_S)

    def end_all(self, status: int, line: str) -> NoReturn:
        """Ends this process with `status` after `line`, and the others with the same status."""
        try:
            self._client.key_value_set(f"{self._prefix}/words/{self._index}", str(status))
        except jax.errors.JaxRuntimeError:
            self.end_if_lost()
        self._end(status, line)

    def end_if_lost(self) -> None:
        """Ends this process with 75 where another one is lost, which is said; else returns."""
        deadline = time.monotonic() + 2 * self._silent_s
        while time.monotonic() < deadline:
            self._end_now_if_lost()
            time.sleep(self._beat_s)

    def _end_now_if_lost(self) -> None:
        silent = [
            k for k, (_, since) in self._counts.items() if self._read - since > self._silent_s
        ]
        lost = [0] if self._index and not _reachable(self._coordinator) else silent
        if lost:
            who = f"process {lost[0]} was" if len(lost) == 1 else f"processes {lost} were"
            self._end(EXIT_STOPPED, f"stopped: {who} lost; start the same command again to go on")

    def _beat(self) -> None:
        while True:
            try:
                self._client.key_value_increment(f"{self._prefix}/beats/{self._index}", 1)
                counts = self._client.key_value_dir_get(f"{self._prefix}/beats/")
                words = self._client.key_value_dir_get(f"{self._prefix}/words/")
            except jax.errors.JaxRuntimeError:
                counts = words = []  # no store: JAX's own heartbeat finds that out
            if counts:
                self._note(counts)
            for name, status in words:
                if (who := _index(name)) != self._index:
                    kind = "stopped" if int(status) == EXIT_STOPPED else "error"
                    line = f"{kind}: process {who} ended alone: its own log says why"
                    self._end(int(status), line)
            if self._over.wait(self._beat_s):
                return

    def _note(self, counts: list[tuple[str, str]]) -> None:
        """Keeps what the counts are, and since when."""
        self._read = time.monotonic()
        for name, count in counts:
            if self._counts.get(_index(name), ("",))[0] != count:
                self._counts = self._counts | {_index(name): (count, self._read)}

    def _aborted(self, number: int) -> None:
        """JAX's thread calls abort(): our word goes before. Returning lets the abort go on.

        The store does not answer any more: that thread would bring the answers.
        """
        self._end_now_if_lost()

    def _end(self, status: int, line: str) -> NoReturn:
        """Ends this process at once: its interpreter's end would wait for the others."""
        self._ending.acquire()  # and never gives it back: one line, one status
        progress.tell(line)
        if self._index == 0:
            time.sleep(
                self._silent_s
            )  # the store ends with it: the others must have read their word
        os._exit(status)


def _on_abort(handler: ctypes.c_void_p | None) -> None:
    """Sets the handler of SIGABRT in C: Python's own would run after the process has ended."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(int(signal.SIGABRT), handler)


def _index(name: str) -> int:
    """The process that a key of the store is about."""
    return int(name.rsplit("/", 1)[1])


def _reachable(address: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except OSError:
        return False
    return True
