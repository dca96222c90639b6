"""Training rows that are read as they are needed, for tables that do not fit into memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

BUFFER = 2**17
"""The most rows of an epoch."""

WINDOW = 2**25
"""The most numbers that are in memory at once, unless `MIXED` parts have more."""

MIXED = 4
"""The least number of parts whose rows are mixed with each other, if there are so many."""


@runtime_checkable
class Stream(Protocol):
    """Training rows that come in epochs of bounded size.

    An epoch is fixed by its number, so that a training that was killed resumes with the same rows.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows of the whole table, and of its columns."""
        ...

    @property
    def longest(self) -> int:
        """The most rows of an epoch."""
        ...

    @property
    def missing(self) -> bool:
        """Whether rows may have missing values (NaN)."""
        ...

    @property
    def fingerprint(self) -> str:
        """A text that other rows, or the same in other epochs, do not have."""
        ...

    def epoch(self, number: int) -> Float[Tensor, "n d"]:
        """Return the rows of an epoch, counted from 0."""
        ...


class Window(NamedTuple):
    """Parts that are in memory together.

    Args:
        parts: their numbers, in order.
        rows: the number of their rows.
        epochs: the number of epochs that these rows make.
    """

    parts: list[int]
    rows: int
    epochs: int


class PartStream:
    """Rows that lie in parts, such as the row groups of files, of which a few are in memory at a time.

    Each pass over the table takes the parts in a new order. A window of several parts is read, its rows are mixed, and
    each epoch is a share of these. So every row is in exactly one epoch of a pass. The rows of small tables stay in
    memory.

    Args:
        counts: the number of rows of each part.
        columns: the number of columns.
        read: returns the rows of some parts, one after the other.
        random_state: the seed of the order.
        missing: whether rows may have missing values.
        digest: a text that stands for the rows.
        buffer: the most rows of an epoch.
        window: the most numbers in memory, unless `MIXED` parts have more.

    >>> parts = [torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0]]), torch.tensor([[3.0], [4.0], [5.0]])]
    >>> stream = PartStream([2, 1, 3], 1, lambda numbers: (parts[number] for number in numbers), buffer=3)
    >>> stream.shape, stream.longest
    ((6, 1), 3)
    >>> torch.cat([stream.epoch(0), stream.epoch(1)])[:, 0].sort().values.tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    def __init__(
        self,
        counts: Sequence[int],
        columns: int,
        read: Callable[[Sequence[int]], Iterable[Tensor]],
        *,
        random_state: int = 0,
        missing: bool = False,
        digest: str = "",
        buffer: int = BUFFER,
        window: int = WINDOW,
    ) -> None:
        self.counts, self.columns, self.read = list(counts), columns, read
        self.seed, self.digest, self.buffer = random_state, digest, buffer
        self._missing, self.most = missing, max(buffer, window // columns)
        self._passes: list[list[Window]] = []
        self._held: tuple[list[int], Tensor] | None = None
        self._order: tuple[tuple[int, int], Tensor] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows of the whole table, and of its columns."""
        return sum(self.counts), self.columns

    @property
    def longest(self) -> int:
        """The most rows of an epoch."""
        return min(sum(self.counts), self.buffer)

    @property
    def missing(self) -> bool:
        """Whether rows may have missing values (NaN)."""
        return self._missing

    @property
    def fingerprint(self) -> str:
        """A text that other rows, or the same in other epochs, do not have."""
        own = self.counts, self.columns, self.seed, self.buffer, self.most, MIXED
        return hashlib.sha256(repr((*own, self.digest)).encode()).hexdigest()

    def epoch(self, number: int) -> Float[Tensor, "n d"]:
        """Return the rows of an epoch, counted from 0."""
        turn, place, window, share = self._find(number)
        # Parts in their own order, so that a window of all of them is read once.
        if self._held is None or self._held[0] != sorted(window.parts):
            self._held = None
            self._held = sorted(window.parts), self._rows(window)
        if self._order is None or self._order[0] != (turn, place):
            self._order = (turn, place), torch.randperm(window.rows, generator=self._random(turn, 1 + place))
        chosen: Tensor = self._order[1].tensor_split(window.epochs)[share]
        return self._held[1][chosen]

    def windows(self, turn: int) -> list[Window]:
        """Return the windows of a pass over the table, counted from 0."""
        while len(self._passes) <= turn:
            order = torch.randperm(len(self.counts), generator=self._random(len(self._passes), 0)).tolist()
            self._passes.append(list(self._windows([part for part in order if self.counts[part]])))
        return self._passes[turn]

    def _windows(self, order: Sequence[int]) -> Iterator[Window]:
        """Yield windows of parts in this order; a short rest joins the last one."""
        groups: list[list[int]] = []
        rows = 0
        for part in order:
            if not groups or (len(groups[-1]) >= MIXED and rows + self.counts[part] > self.most):
                groups.append([])
                rows = 0
            groups[-1].append(part)
            rows += self.counts[part]
        if len(groups) > 1 and (len(groups[-1]) < MIXED or rows < self.buffer / 2):
            rest = groups.pop()
            groups[-1] += rest
        for parts in groups:
            count = sum(self.counts[part] for part in parts)
            yield Window(parts, count, -(-count // self.buffer))

    def _find(self, number: int) -> tuple[int, int, Window, int]:
        """Return pass, number of the window, window, and which share of it an epoch is."""
        turn = 0
        while True:
            for place, window in enumerate(self.windows(turn)):
                if number < window.epochs:
                    return turn, place, window, number
                number -= window.epochs
            turn += 1

    def _rows(self, window: Window) -> Tensor:
        """Return the rows of a window."""
        rows = torch.empty(window.rows, self.columns)
        start = 0
        for part in self.read(sorted(window.parts)):
            rows[start : start + len(part)] = part
            start += len(part)
        if start != window.rows:
            raise ValueError(f"the table had {window.rows} rows in some parts, and now {start}. Fit it anew.")
        return rows

    def _random(self, turn: int, purpose: int) -> torch.Generator:
        (seed,) = np.random.SeedSequence([self.seed, turn, purpose]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed) >> 1)
