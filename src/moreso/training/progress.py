"""Progress of a training on the terminal: models done, and the time that is left."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class Bar:
    """One progress bar for all models of a task.

    Args:
        shown: whether to show it, on a terminal's standard error.

    Attributes:
        note: what it says at present.
    """

    def __init__(self, *, shown: bool = True) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))
        self._total, self._done, self._began = 0, 0, time.monotonic()
        self._task: TaskID | None = None
        self.note = ""

    @contextmanager
    def showing(self) -> Iterator["Bar"]:
        """Show the bar while the block runs."""
        with self._bar:
            self._task = self._bar.add_task("", total=None, note="")
            yield self

    def expect(self, models: int) -> None:
        """Count models that are to be trained."""
        self._total += models

    def update(self, label: str, shares: Sequence[float]) -> None:
        """Show how far the models that are being trained have come.

        Args:
            label: what is being trained.
            shares: of each model, the share of its training that is over, as far as can be known.
        """
        if self._task is None or self._bar.disable:
            return
        done = min(self._total, self._done + sum(shares))
        whole = int(self._done) + sum(share >= 1 for share in shares)
        past = time.monotonic() - self._began
        left = f", about {past * (self._total - done) / done:.0f} s left" if done and past > 1 else ""
        self.note = f"{whole} of {self._total} models{left}"
        self._bar.update(self._task, description=label, total=self._total, completed=done, note=self.note)

    def finish(self, models: int) -> None:
        """Count models as trained."""
        self._done += models
