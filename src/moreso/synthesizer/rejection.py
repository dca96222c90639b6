"""Samples that fulfil a condition, by drawing until there are enough."""

from collections.abc import Callable

import pandas as pd

from moreso.tabular import matches

LEAST = 1000
"""The fewest rows per draw."""

MOST = 100_000
"""The most rows in all, or 100 times as many as are needed if that is more."""


def fulfil(draw: Callable[[int], pd.DataFrame], n: int, where: str) -> pd.DataFrame:
    """Return the first n drawn rows that fulfil a condition.

    Args:
        draw: returns the given number of rows.
        n: the number of rows needed.
        where: the condition, see `moreso.tabular.matches`.

    Raises:
        ValueError: the condition is invalid, or too few of the rows fulfil it.
    """
    most = max(100 * n, MOST)
    found: list[pd.DataFrame] = []
    drawn = count = 0
    while count < n and drawn < most:
        # As many as the rate so far requires, but at most double the number drawn already.
        size = max(n, LEAST) if not drawn else max(LEAST, min(drawn, int(1.1 * (n - count) * drawn / max(count, 1))))
        rows = draw(min(size, most - drawn))
        drawn += len(rows)
        found.append(rows[matches(rows, where)])
        count += len(found[-1])
    if count < n:
        raise ValueError(
            f"only {count} of {drawn} sampled rows fulfil the condition {where!r}, and {n} are needed. "
            f"Ask for {f'{count} rows' if count else 'what the model knows'} at most, or loosen the condition."
        )
    return pd.concat(found, ignore_index=True)[:n]
