"""Stops a run by a signal between two steps, so that the steps in flight are kept.

One process hears SIGTERM and SIGINT itself; many agree on the step at which all of them stop.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import jax


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets, so that the steps in flight are finished and kept.

    A second signal ends at once, as it does outside of the body. Of many processes none may stop
    alone: there JAX's own handler stays, and `must_stop` informs all of them.
    """
    event = threading.Event()
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, frame: Any) -> None:
        event.set()
        for n, handler in before.items():
            signal.signal(n, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def must_stop(step: int) -> bool:
    """Whether a process of the job received SIGTERM; all processes learn it at the same step."""
    if jax.process_count() == 1:
        return False
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)
