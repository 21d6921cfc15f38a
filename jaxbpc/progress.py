"""Progress of long work on stderr: rate and time left, on the first process alone."""

import sys

import tqdm


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
        terminal = sys.stderr.isatty()
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
            file=sys.stderr,
        )
