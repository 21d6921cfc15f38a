"""Numbers as they come, for TensorBoard or Weights & Biases, by their own libraries.

Off by default. The first process alone writes. What fails here is said once and left out: no run
ends by it, and its own results are on disk before.
"""

import contextlib
import dataclasses
import importlib.util
import logging
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxbpc.config import Settings
from jaxbpc.errors import InputError
from jaxbpc.run.results import Results

log = logging.getLogger(__name__)

_EVERY_S = 10.0
# (values by name, axis, position on it): 'step' or 'windows'.
Sink = Callable[[dict[str, float], str, int], None]


class Tracker:
    """Tells numbers to its sinks; one that fails is dropped.

    Args:
      sinks: by the name that a warning calls them by.
    """

    def __init__(self, sinks: dict[str, Sink] | None = None):
        self._sinks = dict(sinks or {})
        self._n_windows = 0
        self._last: tuple[int, float] | None = None  # windows and time of the last rate

    def scored(self) -> None:
        """One more window is scored; the rate is logged every few seconds."""
        self._n_windows += 1
        now = time.monotonic()
        before, then = self._last = self._last or (self._n_windows, now)
        if self._sinks and now - then > _EVERY_S:
            rate = (self._n_windows - before) / (now - then)
            self._last = (self._n_windows, now)
            self._tell({"progress/windows_per_s": rate}, "windows", self._n_windows)

    def results(self, results: Results) -> None:
        """A run's numbers, at the step of its model's training; 0 where that is not known."""
        values: dict[str, float | None] = {
            "bpc/average": results.average_bpc,
            "bpc/weighted": results.weighted_bpc,
            "speed/windows_per_s": results.speed.get("windows_per_s"),
        }
        for name, corpus in results.corpora.items():
            values |= {f"bpc/{name}": corpus.bpc, f"bpc_full/{name}": corpus.bpc_full}
        training = results.training or {}
        values |= {f"training/{name}": training.get(name) for name in ("tokens", "flops")}
        known = {name: float(value) for name, value in values.items() if value is not None}
        self._tell(known, "step", training.get("step") or 0)

    def _tell(self, values: dict[str, float], axis: str, at: int) -> None:
        for name, sink in list(self._sinks.items()):
            with _dropped(self._sinks, name):
                sink(values, axis, at)


def check(settings: Settings) -> None:
    """Raises InputError where a library that is asked for is not installed."""
    for name, asked in (("tensorboard", settings.log_tensorboard), ("wandb", settings.log_wandb)):
        if asked and importlib.util.find_spec(name) is None:
            raise InputError(f"config.log.{name} needs {name}: pip install 'jaxbpc[{name}]'")


@contextlib.contextmanager
def opened(settings: Settings, workdir: pathlib.Path) -> Iterator[Tracker]:
    """The tracker that the settings ask for, until the end of the body.

    Raises:
      InputError: a library that is asked for is not installed.
    """
    check(settings)
    sinks: dict[str, Sink] = {}
    with contextlib.ExitStack() as stack:
        if settings.log_tensorboard:
            with _dropped(sinks, "TensorBoard"):
                sinks["TensorBoard"] = _tensorboard(settings.log_tensorboard, stack)
        if settings.log_wandb:
            with _dropped(sinks, "Weights & Biases"):
                sinks["Weights & Biases"] = _wandb(settings, workdir, stack)
        yield Tracker(sinks)


@contextlib.contextmanager
def _dropped(sinks: dict[str, Sink], name: str) -> Iterator[None]:
    """What the libraries raise, of whatever kind, becomes a warning, and the sink is left out."""
    try:
        yield
    except Exception as e:
        reason = " ".join(str(e).split())[:200] or type(e).__name__
        log.warning("%s does not work (%s): the run goes on without it", name, reason)
        sinks.pop(name, None)


def _tensorboard(folder: str, stack: contextlib.ExitStack) -> Sink:
    from tensorboard.summary import Writer

    # Its own readers of buckets take URLs; a path would lose one of their slashes.
    writer = Writer(folder if "://" in folder else str(pathlib.Path(folder).expanduser()))

    def close() -> None:
        with _dropped({}, "TensorBoard"):
            writer.close()

    def tell(values: dict[str, float], axis: str, at: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, at)
        writer.flush()

    stack.callback(close)
    return tell


def _wandb(settings: Settings, workdir: pathlib.Path, stack: contextlib.ExitStack) -> Sink:
    import wandb

    run = wandb.init(
        project=settings.log_wandb,
        name=workdir.resolve().name,
        dir=str(workdir),
        config=dataclasses.asdict(settings),
        settings=wandb.Settings(console="off"),  # stdout has the table alone
    )
    # Its own step only grows: a series may be scored in any order.
    for name, axis in (
        ("bpc/*", "step"),
        ("bpc_full/*", "step"),
        ("training/*", "step"),
        ("speed/*", "step"),
        ("progress/*", "windows"),
    ):
        run.define_metric(name, step_metric=axis)

    def close() -> None:
        with _dropped({}, "Weights & Biases"):
            run.finish()

    def tell(values: dict[str, Any], axis: str, at: int) -> None:
        run.log({**values, axis: at})

    stack.callback(close)
    return tell
