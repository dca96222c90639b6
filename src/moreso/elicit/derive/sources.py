"""Distances from maps, graphs, hierarchies and orderings."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform

from moreso.elicit.derive.distances import Distances
from moreso.tabular import column_problems

NAMES = ("feature", "name", "site")
LATITUDE = ("latitude", "lat")
LONGITUDE = ("longitude", "lon", "lng", "long")
PLANE = ("x", "y", "z")
POSITION = ("position",)
_EARTH_KM = 6371.0088
# The distances of all pairs are in memory at once.
_MOST = 5000


def find(table: pd.DataFrame, words: Iterable[str]) -> Any:
    """Return the column with the first of these names that is present, ignoring case, or None."""
    columns = {str(column).strip().lower(): column for column in reversed(table.columns)}
    return next((columns[word] for word in words if word in columns), None)


def from_sites(sites: pd.DataFrame, features: Iterable[str] | None, unit: str) -> Distances:
    """Measure straight lines between x, y[, z], or great circles between latitudes and longitudes."""
    latitude, longitude = find(sites, LATITUDE), find(sites, LONGITUDE)
    globe = latitude is not None and longitude is not None
    columns = [latitude, longitude] if globe else [find(sites, [word]) for word in PLANE]
    if None in columns[:2]:
        raise ValueError(
            f"the map lacks coordinates: columns 'x' and 'y' (and 'z'), or 'latitude' and 'longitude'; "
            f"got {_some(sites.columns)}. Rename the columns that hold them."
        )
    used = [column for column in columns if column is not None]
    rows, left_out = _by_feature(sites, used, features, "map")
    numbers = rows.to_numpy(dtype=float)
    if not globe:
        source = f"a map ({unit or 'straight lines'})"
        return Distances(tuple(rows.index), squareform(pdist(numbers)), source, unit, left_out)
    if (np.abs(numbers) > [90, 360]).any():
        low, high = numbers.min(axis=0), numbers.max(axis=0)
        raise ValueError(
            f"'{latitude}' must lie within -90 and 90 degrees and '{longitude}' within -360 and 360; got {low[0]:g} to "
            f"{high[0]:g} and {low[1]:g} to {high[1]:g}. Were they swapped? Call projected coordinates 'x' and 'y'."
        )
    north, east = np.radians(numbers.T)
    points = np.column_stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    kilometres = 2 * _EARTH_KM * np.arcsin(np.minimum(pdist(points) / 2, 1))
    return Distances(tuple(rows.index), squareform(kilometres), "a map (kilometres)", "km", left_out)


def from_edges(graph: "nx.Graph", features: Iterable[str] | None, length: str | None, unit: str) -> Distances:
    """Measure shortest paths along edges in either direction; without a path the distance is infinite."""
    ways = nx.Graph()
    ways.add_nodes_from(map(str, graph))
    bad: list[str] = []
    for one, other, data in graph.edges(data=True):
        cost = 1.0 if length is None else _number(data.get(length))
        if not 0 <= cost < np.inf:
            bad.append(f"{one} - {other}")
        # The shortest of parallel edges counts.
        elif not ways.has_edge(str(one), str(other)) or cost < ways[str(one)][str(other)]["cost"]:
            ways.add_edge(str(one), str(other), cost=cost)
    problems = (
        [f"edges have no '{length}' that is a number of at least 0: {_some(bad)}. Fill it in, or count steps."]
        if bad
        else []
    )
    names, left_out = _checked(map(str, graph), features, "graph", problems)
    at = {name: i for i, name in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.inf)
    for name, i in at.items():
        reached = nx.single_source_dijkstra_path_length(ways, name, weight="cost")
        for other in reached.keys() & at.keys():
            matrix[i, at[other]] = reached[other]
    # The direction of a path affects the last digit of its sum.
    matrix = np.minimum(matrix, matrix.T)
    if length is None:
        return Distances(names, matrix, "a graph (steps)", "step", left_out)
    return Distances(names, matrix, f"a graph ('{length}' along edges)", unit, left_out)


def from_levels(levels: pd.DataFrame | Mapping[str, Any], features: Iterable[str] | None) -> Distances:
    """Measure the steps up to the first level that two features share; the whole is above all levels."""
    if isinstance(levels, pd.DataFrame):
        name = find(levels, NAMES)
        order = _fine_to_coarse(levels.drop(columns=[] if name is None else [name]))
        rows, left_out = _by_feature(levels, order, features, "hierarchy", numeric=False)
        names = tuple(rows.index)
        paths = [tuple(map(str, row))[::-1] for row in rows.itertuples(index=False)]
        source = f"a hierarchy (steps; {' within '.join(map(str, order))})"
    else:
        found = list(_leaves(levels))
        names, left_out = _checked((name for name, _ in found), features, "hierarchy")
        by_name = dict(found)
        paths = [by_name[name] for name in names]
        source = "a hierarchy (steps)"
    depth = np.array([len(path) for path in paths])
    shared = np.zeros((len(paths), len(paths)))
    for level in range(1, depth.max() + 1):
        codes: dict[Any, int] = {}
        # A branch that ends above this level does not share it with any other.
        code = np.array(
            [codes.setdefault(p[:level] if len(p) >= level else i, len(codes)) for i, p in enumerate(paths)]
        )
        shared += code[:, None] == code
    steps = np.maximum(depth[:, None], depth) + 1 - shared
    np.fill_diagonal(steps, 0)
    return Distances(names, steps, source, "step", left_out)


def from_positions(
    positions: pd.DataFrame | Mapping[str, float] | Iterable[str], features: Iterable[str] | None, unit: str
) -> Distances:
    """Measure differences of positions; a bare name has the number in which it ends as its position."""
    source = f"an ordering ({unit or 'differences'})"
    if isinstance(positions, pd.DataFrame):
        column = find(positions, POSITION)
        if column is None:
            raise ValueError(f"the ordering lacks the column 'position'; got {_some(positions.columns)}. Add it.")
        rows, left_out = _by_feature(positions, [column], features, "ordering")
        names, at = tuple(rows.index), rows.to_numpy(dtype=float)[:, 0]
    else:
        if isinstance(positions, Mapping):
            given = {str(name): _number(value) for name, value in positions.items()}
            remedy = "Give each a number."
            drawn = list(given)
        else:
            drawn = [str(name) for name in positions]
            given = {name: position_of(name) for name in drawn}
            remedy = "Give a mapping from names to positions, or leave them out."
        lost = [name for name in _wanted(drawn, features) if not np.isfinite(given[name])]
        problems = [f"names have no position: {_some(lost)}. {remedy}"] if lost else []
        names, left_out = _checked(drawn, features, "ordering", problems)
        at = np.array([given[name] for name in names])
    return Distances(names, np.abs(at[:, None] - at), source, unit, left_out)


def position_of(name: str) -> float:
    """Return the number that a name is or ends in, or nan."""
    number = _number(name)
    if np.isfinite(number):
        return number
    match = re.search(r"\d+(\.\d+)?$", name.strip(), re.ASCII)
    return float(match[0]) if match else np.nan


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _some(names: Iterable[object]) -> str:
    shown = [f"'{name}'" for name in names]
    return ", ".join(shown[:5]) + (f", ... ({len(shown)} in all)" if len(shown) > 5 else "")


def _wanted(drawn: Iterable[str], features: Iterable[str] | None) -> list[str]:
    names = list(drawn)
    if features is None:
        return names
    wanted = {str(name) for name in features}
    return [name for name in names if name in wanted]


def _checked(
    drawn: Iterable[str], features: Iterable[str] | None, kind: str, problems: Iterable[str] = ()
) -> tuple[tuple[str, ...], int]:
    """Return the names to use and how many are left out, or raise with all `problems` and those of the names."""
    drawn = list(drawn)
    features = None if features is None else list(features)
    names = _wanted(drawn, features)
    found = list(problems)
    counts = pd.Series(names, dtype=object).value_counts(sort=False)
    if len(twice := counts[counts > 1]):
        found.append(f"the {kind} names features more than once: {_some(twice.index)}. Keep one of each.")
    if any(not name.strip() for name in names):
        found.append(f"the {kind} has features without a name. Name them or drop those rows.")
    if len(counts) < 3 and features is not None and len(counts) < len(set(drawn)):
        found.append(
            f"the {kind} names {len(counts)} of the {len(features)} features, and a statement needs 3. Check that both "
            f"spell them alike: the {kind} has {_some(dict.fromkeys(drawn))}, the features are {_some(features)}."
        )
    elif len(counts) < 3:
        found.append(f"the {kind} names {len(counts)} features, and a statement needs 3. Draw more.")
    if len(counts) > _MOST:
        found.append(
            f"the {kind} names {len(counts)} features, and at most {_MOST} are compared at once. Name those that are "
            "columns of your data."
        )
    if found:
        raise ValueError("\n".join(found))
    return tuple(names), len(drawn) - len(names)


def _by_feature(
    table: pd.DataFrame, columns: list[Any], features: Iterable[str] | None, kind: str, *, numeric: bool = True
) -> tuple[pd.DataFrame, int]:
    """Return `columns` with one row per feature, with names in the index, and how many rows are left out."""
    column = find(table, NAMES)
    if column is None and isinstance(table.index, pd.RangeIndex):
        raise ValueError(
            f"the {kind} has no names of features: a column 'feature', 'name' or 'site'; got {_some(table.columns)}. "
            "Rename the column that holds them."
        )
    labels = table.index.to_series() if column is None else table[column]
    drawn = ["" if missing else str(label) for label, missing in zip(labels, labels.isna(), strict=True)]
    rows = table[columns].set_axis(pd.Index(drawn, dtype=object), axis=0)
    # Missing values in rows that were not asked for do not matter.
    features = None if features is None else [str(name) for name in features]
    rows = rows if features is None else rows[rows.index.isin(features)]
    problems: list[str] = []
    for name in columns:
        if numeric and len(rows):
            problems += column_problems(rows[name], numeric=True)
        elif not numeric and rows[name].isna().any():
            problems.append(
                f"column '{name}' of the hierarchy has no value for {_some(rows.index[rows[name].isna()])}. Fill it in."
            )
    _, left_out = _checked(drawn, features, kind, problems)
    return rows, left_out


def _fine_to_coarse(levels: pd.DataFrame) -> list[Any]:
    """Return the columns from the finest level to the coarsest: in table order, unless only the reverse is nested."""
    columns = list(levels.columns)
    if not columns:
        raise ValueError("the hierarchy has no levels: a column each, such as 'unit', 'section', 'plant'. Add them.")

    def nested(order: list[Any]) -> bool:
        return all((levels.groupby(fine)[coarse].nunique() <= 1).all() for fine, coarse in pairwise(order))

    backward = columns[::-1]
    return backward if nested(backward) and not nested(columns) else columns


def _leaves(branch: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each feature of a nested mapping with the branches that lead to it, coarsest first."""
    for name, below in branch.items():
        here = (*path, str(name))
        if isinstance(below, Mapping):
            yield from _leaves(below, here)
        else:
            for leaf in [below] if isinstance(below, str) else below:
                yield str(leaf), here
