"""Pairs of columns that no row shows together: which they are, and what the other columns leave open about them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from moreso.tabular.dtypes import rank_levels
from moreso.tabular.foreign import plain
from moreso.tabular.identifiers import find_identifiers
from moreso.tabular.problems import MIN_ROWS, as_table, has_direction
from moreso.tabular.view import measure, thin

Pair = tuple[str, str]
"""Two columns, in the order of the table."""

NAMED = 6
"""The most pairs that a sentence names."""

CHUNK = 100_000
"""Rows that are counted at once."""

FEW_LEVELS = 5
"""Categories of more levels do not narrow ranges: with few rows, their indicators would explain anything."""

LEAST = 1e-3
"""Least eigenvalue of a matrix of correlations, which may be indefinite if each is of other rows."""


def unobserved_pairs(
    table: pd.DataFrame, named: Collection[str] = (), identifiers: Collection[str] | None = None
) -> tuple[Pair, ...]:
    """Return the pairs of columns that were never observed together, as in tables stacked one below the other.

    Both have values in at least 4 rows, and fewer than 4 rows have both, so that no dependence can be estimated.
    Constant columns and identifiers depend on nothing and do not count.

    Args:
        table: the rows.
        named: columns that statements name, which hold no identifiers.
        identifiers: the columns of identifiers; by default `find_identifiers` finds them.

    >>> table = pd.DataFrame({"x": range(8), "y": [1, 2, 3, 4] + [None] * 4, "z": [None] * 4 + [4, 3, 2, 1]})
    >>> unobserved_pairs(table)
    (('y', 'z'),)
    """
    table = as_table(table)
    once = table.loc[:, ~table.columns.duplicated(keep=False)]
    known = once.notna().to_numpy()
    counts, rows = known.sum(axis=0), len(table)
    candidates = (counts >= MIN_ROWS) & (counts < rows)
    # Columns with more values than this have some rows in common with any other.
    chosen = np.flatnonzero(candidates & (counts + counts[candidates].min(initial=rows) < rows + MIN_ROWS))
    if len(chosen) < 2:
        return ()
    together = np.zeros((len(chosen), len(chosen)))
    for start in range(0, rows, CHUNK):
        part = known[start : start + CHUNK, chosen].astype(np.float32)
        together += part.T @ part
    found = np.argwhere(np.triu(together < MIN_ROWS, 1))
    if not len(found):
        return ()
    names = [str(once.columns[chosen[place]]) for place in range(len(chosen))]
    concerned = list(dict.fromkeys(names[place] for place in found.flatten()))
    usable = set(_usable(once[concerned], named, identifiers))
    return tuple((names[a], names[b]) for a, b in found.tolist() if {names[a], names[b]} <= usable)


def row_strata(table: pd.DataFrame, pairs: Iterable[Pair]) -> np.ndarray | None:
    """Return a number for each row: rows with the same one have values in the same columns of these pairs.

    Patterns of fewer than 4 rows count as the most similar frequent one. Without pairs there are no strata: None.

    Args:
        table: the rows.
        pairs: what `unobserved_pairs` found in them.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    if not names:
        return None
    known = as_table(table)[names].notna().to_numpy()
    patterns, codes, counts = np.unique(known, axis=0, return_inverse=True, return_counts=True)
    frequent = np.flatnonzero(counts >= MIN_ROWS)
    if not len(frequent):
        return np.zeros(len(table), dtype=int)
    weights = 2 * patterns.astype(np.float32) - 1
    nearest: np.ndarray = (weights @ weights[frequent].T).argmax(axis=1)
    return nearest[codes.reshape(-1)]


def name_pairs(pairs: Sequence[Pair], most: int = NAMED) -> str:
    """Return pairs as text: 'y and z', 'y and w', and how many more there are.

    >>> name_pairs([("y", "z"), ("y", "w"), ("v", "w")], most=2)
    "'y' and 'z', 'y' and 'w', and 1 more"
    """
    more = len(pairs) - most
    named = ", ".join(f"'{one}' and '{other}'" for one, other in pairs[:most])
    return named + (f", and {more} more" if more > 0 else "")


def count_pairs(count: int) -> str:
    """Return '1 pair of columns was' or '3 pairs of columns were', to which a sentence adds what they were.

    >>> count_pairs(1)
    '1 pair of columns was'
    """
    return "1 pair of columns was" if count == 1 else f"{count} pairs of columns were"


@dataclass(frozen=True)
class Unobserved:
    """What the other columns leave open about a pair that was never observed together.

    Args:
        one: the first column.
        other: the second one.
        independent: their correlation if they are independent given the columns that both were observed with; None if
            one of them is an unordered category, which has no correlation.
        low: the least correlation that agrees with what was observed, or None.
        high: the greatest one, or None.
        moved: by how much all unobserved correlations change together if this one goes from `independent` to an end.
    """

    one: str
    other: str
    independent: float | None = None
    low: float | None = None
    high: float | None = None
    moved: float = 0.0

    @property
    def pair(self) -> Pair:
        """The two columns."""
        return self.one, self.other


def correlation_ranges(
    table: pd.DataFrame,
    pairs: Sequence[Pair],
    named: Collection[str] = (),
    identifiers: Collection[str] | None = None,
) -> tuple[Unobserved, ...]:
    """Return what the rows leave open about each of these pairs.

    For a pair (y, z), let X be the columns that were observed with both of them, and C the covariance of standardised
    columns given X. A matrix of correlations is positive semidefinite, so r_yz lies in
    r_yX R_XX^-1 r_Xz +- sqrt(C_yy C_zz), where C_yy = 1 - R^2 of y on X; the centre is conditional independence. If
    r_yz moves to an end and all else stays conditionally independent, the correlation of another such pair (u, v)
    moves by C_uy C_vz / sqrt(C_yy C_zz); `moved` is the sum of these, over all pairs.

    Correlations are those of the rows with both columns. They are shrunk towards 0 by the factor n / (n + p), with n
    rows and p columns in X, since the best of many columns explains too much of few rows.

    Args:
        table: the rows.
        pairs: the pairs, as `unobserved_pairs` returns them.
        named: as there.
        identifiers: as there.

    References:
        D'Orazio, Di Zio & Scanu, "Statistical Matching", 2006 (the range given the common columns).
    """
    if not pairs:
        return ()
    columns = _Columns.of(as_table(table), pairs, named, identifiers)
    unseen = {frozenset(pair) for pair in pairs}
    partners: dict[str, set[str]] = {}
    for one, other in pairs:
        partners.setdefault(one, set()).add(other)
        partners.setdefault(other, set()).add(one)
    cache: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}
    found = []
    for one, other in pairs:
        if one not in columns.single or other not in columns.single:
            found.append(Unobserved(one, other))
            continue
        common: list[str] = []
        for name in columns.places:
            apart = name in (one, other) or name in partners[one] or name in partners[other]
            if not apart and not any(frozenset((name, each)) in unseen for each in common):
                common.append(name)
        key = tuple(common)
        if key not in cache:
            cache[key] = columns.given(key)
        left, moves = cache[key]
        y, z = columns.single[one], columns.single[other]
        reach = float(np.sqrt(left[y, y] * left[z, z]))
        # What is left of a correlation that is set to 0 is what the common columns take away.
        centre = float(np.clip(-left[y, z], -1, 1))
        moved = float(moves[y, z]) / reach if reach else 0.0
        found.append(Unobserved(one, other, centre, max(centre - reach, -1.0), min(centre + reach, 1.0), moved))
    return tuple(found)


@dataclass(frozen=True)
class _Columns:
    """The columns of a table as standardised numbers, and their correlations.

    Args:
        places: column -> where its numbers are.
        single: number, truth value, time or ordered category -> where it is.
        correlation: the correlations; 0 where no row has both.
        rows: the number of rows behind each of them.
        apart: 1 for numbers of pairs that were never observed together.
    """

    places: dict[str, list[int]]
    single: dict[str, int]
    correlation: np.ndarray
    rows: np.ndarray
    apart: np.ndarray

    @classmethod
    def of(
        cls, table: pd.DataFrame, pairs: Sequence[Pair], named: Collection[str], identifiers: Collection[str] | None
    ) -> "_Columns":
        once = table.loc[:, ~table.columns.duplicated(keep=False)]
        prepared: dict[str, pd.Series[Any]] = {}
        directed = []
        for name in _usable(once, named, identifiers):
            column = plain(once[name])
            if has_direction(column):
                directed.append(name)
                column = rank_levels(column)
            elif column.nunique() > FEW_LEVELS:
                continue
            prepared[name] = column
        frame = pd.DataFrame(prepared)
        measured = measure(thin(frame), frame, prepared)
        ends = np.cumsum([len(part) for part in measured.parts.values()]).tolist()
        places = {
            name: list(range(end - len(part), end))
            for (name, part), end in zip(measured.parts.items(), ends, strict=True)
        }
        single = {name: places[name][0] for name in directed}
        correlation, rows = _correlations(measured.rows)
        apart = np.zeros_like(correlation)
        for one, other in pairs:
            if one in places and other in places:
                for a, b in ((one, other), (other, one)):
                    apart[np.ix_(places[a], places[b])] = 1
        return cls(places, single, np.where(apart == 1, 0, correlation), rows, apart)

    def given(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the covariance of all columns given some, and how much unobserved pairs move with each entry."""
        common = [place for name in names for place in self.places[name]]
        whole = self.correlation
        left = whole.copy()
        if common:
            # The rows of the smallest table, since each correlation has its own.
            seen = self.rows[common][:, np.unique(np.nonzero(self.apart)[0])]
            n = float(seen[seen >= MIN_ROWS].min(initial=self.rows.max()))
            kept = n / (n + len(common))
            whole = kept * whole + (1 - kept) * np.eye(len(whole))
            values, vectors = np.linalg.eigh(whole[np.ix_(common, common)])
            inverse = vectors / np.maximum(values, LEAST) @ vectors.T
            left = whole - whole[:, common] @ inverse @ whole[common]
        np.fill_diagonal(left, np.clip(left.diagonal(), LEAST, 1))
        sizes = np.where(self.apart == 1, 0, np.abs(left))
        chosen = np.zeros(len(left))
        chosen[list(self.single.values())] = 1
        apart = self.apart * chosen * chosen[:, None]
        return left, sizes @ apart @ sizes


def _correlations(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of any two columns over the rows that have both, and the number of these rows."""
    known = ~np.isnan(rows)
    x, mask = np.where(known, rows, 0).astype(float), known.astype(float)
    count = mask.T @ mask
    safe = np.maximum(count, 1)
    mean = x.T @ mask / safe
    variance = np.maximum(np.square(x).T @ mask / safe - np.square(mean), 0)
    covariance = x.T @ x / safe - mean * mean.T
    scale = np.sqrt(variance * variance.T)
    found = np.divide(covariance, scale, out=np.zeros_like(scale), where=(scale > 0) & (count >= MIN_ROWS))
    found = np.clip(found, -1, 1)
    np.fill_diagonal(found, 1)
    return found, count


def _usable(table: pd.DataFrame, named: Collection[str], identifiers: Collection[str] | None) -> list[str]:
    """Return the columns that vary and are no identifiers."""
    fresh = set(find_identifiers(table, named) if identifiers is None else identifiers)
    return [str(name) for name in table.columns if name not in fresh and _varies(plain(table[name]))]


def _varies(column: "pd.Series[Any]") -> bool:
    try:
        return bool(column.nunique() > 1)
    except TypeError:
        # Nested values, which audits and models refuse by themselves.
        return False
