"""A function over a stream of pieces on many cores; results in its order, few in flight."""

import collections
import concurrent.futures
import multiprocessing
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
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_begin)
    ahead: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for piece in pieces:
            ahead.append(pool.submit(function, piece, argument))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    except concurrent.futures.process.BrokenProcessPool:
        raise InputError(
            f"a worker was killed, perhaps for want of memory: give fewer --workers than {workers}"
        )
    except BaseException:
        # Whoever stops the command does not wait for what a worker has begun.
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Of a worker: it ends with the first process, however that ends, and not by Ctrl-C itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
