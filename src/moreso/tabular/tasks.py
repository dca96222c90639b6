"""Work on the partitions of a Dask DataFrame, of which only some are in memory at a time."""

from collections.abc import Callable, Sequence
from typing import Any

FAN_IN = 8
"""How many results one task joins."""

Frame = Any
"""A Dask DataFrame, or a delayed partition of one: an optional package has no types here."""


def task(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return a call that some worker will make."""
    from dask.delayed import delayed  # noqa: PLC0415 (an optional package)

    return delayed(function)(*arguments)


def share(value: Any) -> Any:
    """Return a value that goes to each worker once, not with every task."""
    from dask.delayed import delayed  # noqa: PLC0415 (an optional package)

    return delayed(value, traverse=False)


def compute(tasks: Sequence[Any]) -> list[Any]:
    """Return the results of tasks."""
    from dask.base import compute  # noqa: PLC0415 (an optional package)

    return list(compute(*tasks))


def join_results(tasks: Sequence[Any], join: Callable[..., Any]) -> Any:
    """Return what a function makes of the results of tasks, joined in a tree of tasks.

    Args:
        tasks: the tasks, in order.
        join: makes one result of several, its arguments, in their order.
    """
    while len(tasks) > 1:
        tasks = [task(join, *tasks[start : start + FAN_IN]) for start in range(0, len(tasks), FAN_IN)]
    return compute(tasks)[0]
