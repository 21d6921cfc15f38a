"""Progress of long work on stderr: rate and time left, on the first process alone.

What stderr does not take (its disk is full, its pipe closed) is left out: no work ends by that.
"""

import contextlib
import sys

import tqdm


def tell(line: str) -> None:
    """Prints a line on stderr."""
    _Stderr().write(f"{line}\n")


class Bar:
    """A progress bar, a context manager. Without a total it appears with the first update.

    Args:
      label: what is done.
      unit: 'window', 'ch' or 'B'.
      total: how many there are in all; None: not known.
      done: how many of them were done before.
      show: False where another process shows it.
    """

    def __init__(
        self, label: str, unit: str, total: int | None = None, done: int = 0, show: bool = True
    ):
        self.label, self.unit, self.total, self.done = label, unit, total, done
        self._show = show
        self._bar: tqdm.tqdm | None = None

    def update(self, n: int = 1) -> None:
        """`n` more are done."""
        if self._bar is None:
            self._bar = self._open()
        self._bar.update(n)

    def describe(self, label: str) -> None:
        """Says what is being worked on now."""
        self.label = label
        if self._bar is not None:
            self._bar.set_description(label, refresh=False)

    def __enter__(self) -> "Bar":
        if self.total:
            self._bar = self._open()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _open(self) -> tqdm.tqdm:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        return tqdm.tqdm(
            desc=self.label,
            unit=self.unit,
            total=self.total,
            initial=self.done,
            unit_scale=self.unit != "window",
            # A log file gets a line now and then, a terminal a live bar.
            mininterval=0.2 if terminal else 30.0,
            dynamic_ncols=terminal,
            disable=not self._show,
            file=_Stderr(),
        )


class _Stderr:
    """stderr as it is at the moment, or nothing where it takes nothing."""

    encoding = getattr(sys.stderr, "encoding", None) or "ascii"

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, AttributeError):  # None where it is closed
            sys.stderr.write(text)
            sys.stderr.flush()

    def flush(self) -> None:
        """Each write is flushed."""
