"""Many processes as one program: start, who writes, and failing together.

Every process runs the same steps. Where one of them finds a fault that the user can fix, all must
end, or the others would wait for it in the next collective.
"""

import contextlib
import hashlib
import json
import pathlib
import platform
import re
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxbpc.errors import EXIT_INPUT, EXIT_STOPPED, InputError, NumberError, Stopped, redacted
from jaxbpc.parallel import watchdog

_HEARTBEAT_S = 30  # without one a process is lost


class _AgreedError(InputError):
    """An InputError that every process of the job raises, so that they end as one."""


class AgreedNumberError(NumberError):
    """A NumberError that every process raises at the same step, of numbers that all have."""


def start(
    mode: str = "auto",
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the processes of a job; call it before anything else touches a device.

    Args:
      mode: 'auto' joins where JAX recognises a cluster (or an address is given), 'on' demands it,
        'off' stays alone.

    Raises:
      InputError: no cluster where one is demanded, or it cannot be joined.
    """
    explicit = coordinator_address is not None
    if jax.distributed.is_initialized():
        return
    given = [value is not None for value in (coordinator_address, num_processes, process_id)]
    if any(given) and (mode == "off" or (explicit and not all(given))):
        raise InputError(
            "--coordinator_address, --num_processes and --process_id go together, and not with "
            "--distributed=off: give all three, or none"
        )
    if mode == "off":
        return
    if explicit and not re.fullmatch(r".+:\d+", coordinator_address or ""):
        raise InputError(f"--coordinator_address is {coordinator_address!r}: give host:port")
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=_HEARTBEAT_S,
        )
    except ValueError as e:
        if any(given) or mode == "on":
            raise InputError(
                f"no cluster that JAX recognises ({_short(e)}): give --coordinator_address, "
                "--num_processes and --process_id"
            )
    except RuntimeError as e:
        raise InputError(
            f"the other processes cannot be reached ({_short(e)}): check that all were started, "
            "and that --coordinator_address is open between the hosts"
        )


def check_devices() -> None:
    """Raises InputError where JAX has no device of the requested platform."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as e:
        raise InputError(
            f"JAX finds no device ({_short(e) or 'no such platform'}): check the driver, the extra "
            "that was installed (cuda12, cuda13, tpu) and the environment variable JAX_PLATFORMS"
        )


def cache_compiled(folder: pathlib.Path) -> None:
    """Keeps compiled programs in `folder` from run to run, unless JAX was given another one.

    Code for one CPU may not run on another that shares the folder: each kind has its own.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        kind = hashlib.sha256(_cpu_flags().encode()).hexdigest()[:8]
        jax.config.update("jax_compilation_cache_dir", str(folder / f"compiled-{kind}"))


def is_writer() -> bool:
    """Whether this process is the one that writes files and prints the table."""
    return jax.process_index() == 0


@contextlib.contextmanager
def together(what: str) -> Iterator[None]:
    """Runs its body on every process; where one fails by InputError, all raise one.

    Args:
      what: what is done in it, for the message of the processes that did not fail themselves.
    """
    error: InputError | None = None
    try:
        yield
    except InputError as e:
        error = e
    if jax.process_count() > 1:
        failed = np.flatnonzero(_gather(np.array([error is not None])))
        if len(failed):
            message = f"process {failed[0]} failed in {what}: its own log says why"
            raise _AgreedError(str(error or message))
    if error is not None:
        raise error


@contextlib.contextmanager
def none_waits() -> Iterator[None]:
    """Around a run: where one process of many ends alone or is lost, all end, with their reasons.

    Without it the others would wait for that one in the next collective, and its interpreter's end
    for them. What all processes raise together passes through.
    """
    if jax.process_count() == 1 or not jax.distributed.is_initialized():
        yield
        return
    with watchdog.Watch() as watch:
        try:
            yield
        except (_AgreedError, AgreedNumberError, Stopped):
            raise
        except (InputError, NumberError) as e:
            watch.end_all(EXIT_INPUT, f"error: {e}")
        except KeyboardInterrupt as e:
            reason = str(e) or "interrupted"
            watch.end_all(EXIT_STOPPED, f"stopped: {reason}; start the same command again to go on")
        except Exception:
            watch.end_if_lost()  # the likely cause, whatever was raised
            watch.end_all(1, redacted(traceback.format_exc()))


def check_same(fields: dict[str, Any]) -> None:
    """Raises InputError naming the `fields` that are not the same on every process."""
    if jax.process_count() == 1:
        return
    names = sorted(fields)
    digests = [hashlib.sha256(json.dumps(fields[name]).encode()).digest() for name in names]
    mine = np.frombuffer(b"".join(digests), np.uint32).reshape(len(names), -1)
    everyone = _gather(mine[None]).reshape(-1, *mine.shape)
    differ = [n for i, n in enumerate(names) if not (everyone[:, i] == everyone[0, i]).all()]
    if differ:
        raise _AgreedError(
            f"the processes do not agree on {', '.join(differ)}: give every host the same "
            "version, config, corpora and model"
        )


def from_writer(value: np.ndarray) -> np.ndarray:
    """The writer's `value` on every process; shapes and dtypes must be the same."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.broadcast_one_to_all(value))


def json_from_writer(value: Any) -> Any:
    """The writer's JSON value on every process."""
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(from_writer(np.array(len(data))))
    padded = np.zeros(size, np.uint8)
    padded[: len(data[:size])] = data[:size]
    return json.loads(from_writer(padded).tobytes())


def _gather(value: np.ndarray) -> np.ndarray:
    """[n, …] of every process, one after the other."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(value)).reshape(-1, *value.shape[1:])


def _cpu_flags() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
