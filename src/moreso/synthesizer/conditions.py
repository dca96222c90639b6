"""Samples that fulfil a condition, by drawing until enough do."""

from collections.abc import Callable

import pandas as pd

LEAST = 1000
"""Rows of a draw, at least."""

MOST = 100_000
"""Rows in all, unless 100 times as many as are needed is more."""


def fulfil(draw: Callable[[int], pd.DataFrame], n: int, where: str) -> pd.DataFrame:
    """Return the first n drawn rows that fulfil a condition.

    Args:
        draw: returns as many rows as it is asked for.
        n: how many rows are needed.
        where: as in `pandas.DataFrame.query`.

    Raises:
        ValueError: the condition is none, or too few of the rows fulfil it.
    """
    most = max(100 * n, MOST)
    found: list[pd.DataFrame] = []
    drawn = count = 0
    while count < n and drawn < most:
        # As many as are needed at the rate so far, but no more than double what is drawn already.
        size = max(n, LEAST) if not drawn else max(LEAST, min(drawn, int(1.1 * (n - count) * drawn / max(count, 1))))
        rows = draw(min(size, most - drawn))
        drawn += len(rows)
        found.append(rows[_mask(rows, where)])
        count += len(found[-1])
    if count < n:
        raise ValueError(
            f"only {count} of {drawn} sampled rows fulfil the condition {where!r}, and {n} are needed. "
            f"Ask for {f'{count} rows' if count else 'what the model knows'} at most, or loosen the condition."
        )
    return pd.concat(found, ignore_index=True)[:n]


def _mask(rows: pd.DataFrame, where: str) -> "pd.Series[bool]":
    try:
        mask = rows.eval(where, engine="python")
    except Exception as error:
        # pandas passes on whatever the expression raises: of its syntax, its names, its types.
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ValueError(
            f"the condition {where!r} cannot be evaluated ({reason}). "
            "Write for example \"region == 'north' and flow > 3\"."
        ) from error
    if not isinstance(mask, pd.Series) or not pd.api.types.is_bool_dtype(mask):
        raise ValueError(
            f'the condition {where!r} is neither true nor false for each row. Compare columns with values: "flow > 3".'
        )
    return mask.fillna(False).astype(bool)
