"""A function over a stream of pieces on many cores; results in its order, few in flight."""

import collections
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Any

from jaxbpc.errors import InputError


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ordered(
    function: Callable[..., Any], pieces: Iterable[Any], argument: Any, workers: int
) -> Generator[Any, None, None]:
    """Yields function(piece, argument) of each piece; at most 2 a worker are ahead of that.

    Args:
      workers: processes; 1: this one.

    Raises:
      InputError: as the function does, or a process was killed.
    """
    if workers == 1:
        for piece in pieces:
            yield function(piece, argument)
        return
    # Processes that are not forks: threads of this one's libraries would not survive a fork.
    forkserver = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forkserver else "spawn")
    if forkserver:
        context.set_forkserver_preload([function.__module__])
    ends, stops = context.Pipe(duplex=False)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, context, initializer=_begin, initargs=(ends,)
    )
    ahead: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for piece in pieces:
            ahead.append(pool.submit(_call, function, piece, argument))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    except concurrent.futures.process.BrokenProcessPool:
        raise InputError(
            f"a worker was killed, perhaps for want of memory: give fewer --workers than {workers}"
        )
    finally:
        # Whoever stops the command does not wait for what a worker has begun.
        stops.close()
        pool.shutdown(cancel_futures=True)
        ends.close()


# Of a worker: held but while a piece is worked on. One that ended amid sending its result would
# leave the pool to wait for the rest of it.
_sending = threading.Lock()


def _begin(ends: multiprocessing.connection.Connection) -> None:
    """Of a worker: it ends with the pool or its process, however that ends; not by Ctrl-C itself.

    Args:
      ends: a pipe that nothing is written to; it closes when the pool is done or its process dies.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _sending.acquire()
    threading.Thread(target=_end, args=(ends,), daemon=True).start()


def _call(function: Callable[..., Any], piece: Any, argument: Any) -> Any:
    _sending.release()
    try:
        return function(piece, argument)
    finally:
        _sending.acquire()


def _end(ends: multiprocessing.connection.Connection) -> None:
    ends.poll(None)
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        if _sending.acquire(timeout=0.1):
            break
    os._exit(1)
