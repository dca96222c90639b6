"""Distances from maps, graphs, hierarchies and orderings."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform

from moreso.elicit.derive.distances import Distances
from moreso.relations import explain_difference, explain_match, find_alike
from moreso.tabular import as_table, column_problems

NAMES = ("feature", "name", "site")
LATITUDE = ("latitude", "lat")
LONGITUDE = ("longitude", "lon", "lng", "long")
PLANE = ("x", "y", "z")
POSITION = ("position",)
LABELS = ("label", "name")
"""Attributes in which nodes may have their names: Gephi writes 'label', which networkx also makes of yEd's NodeLabel,
and Cytoscape and igraph write 'name'."""
_MACHINE_ID = re.compile(r"n?\d+(::n?\d+)*", re.ASCII)
"""What programs number nodes with: '62', 'n0', and 'n0::n1' in a group of yEd."""
_NUMBERED = re.compile(r"(?P<stem>.*?)(?P<sign>[-+]?)(?P<number>\d+(\.\d+)?(e[-+]?\d+)?)", re.ASCII | re.DOTALL | re.I)
_EARTH_KM = 6371.0088
# The distances of all pairs are in memory at once.
_MOST = 5000


def find(table: pd.DataFrame, words: Iterable[str]) -> Any:
    """Return the column with the first of these names that is present, ignoring case, or None."""
    columns = {str(column).strip().lower(): column for column in reversed(table.columns)}
    return next((columns[word] for word in words if word in columns), None)


def from_sites(sites: pd.DataFrame, features: Iterable[str] | None, unit: str) -> Distances:
    """Measure straight lines between x, y[, z], or great circles between latitudes and longitudes."""
    sites = as_table(sites)
    latitude, longitude = find(sites, LATITUDE), find(sites, LONGITUDE)
    globe = latitude is not None and longitude is not None
    columns = [latitude, longitude] if globe else [find(sites, [word]) for word in PLANE]
    if None in columns[:2]:
        raise ValueError(
            f"the map lacks coordinates: columns 'x' and 'y' (and 'z'), or 'latitude' and 'longitude'; "
            f"got {_some(sites.columns)}. Rename the columns that hold them."
        )
    used = [column for column in columns if column is not None]
    rows, drawn = _by_feature(sites, used, features, "map")
    numbers = rows.to_numpy(dtype=float)
    if not globe:
        source = f"a map ({unit or 'straight lines'})"
        return Distances(drawn.chosen, squareform(pdist(numbers)), source, unit, drawn.left_out, drawn.notes)
    if (np.abs(numbers) > [90, 360]).any():
        low, high = numbers.min(axis=0), numbers.max(axis=0)
        raise ValueError(
            f"'{latitude}' must lie within -90 and 90 degrees and '{longitude}' within -360 and 360; got {low[0]:g} to "
            f"{high[0]:g} and {low[1]:g} to {high[1]:g}. Were they swapped? Call projected coordinates 'x' and 'y'."
        )
    north, east = np.radians(numbers.T)
    points = np.column_stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    kilometres = 2 * _EARTH_KM * np.arcsin(np.minimum(pdist(points) / 2, 1))
    return Distances(drawn.chosen, squareform(kilometres), "a map (kilometres)", "km", drawn.left_out, drawn.notes)


def from_edges(graph: "nx.Graph", features: Iterable[str] | None, length: str | None, unit: str) -> Distances:
    """Measure shortest paths along edges in either direction; without a path the distance is infinite."""
    ways = nx.Graph()
    ways.add_nodes_from(graph)
    bad: list[str] = []
    for one, other, data in graph.edges(data=True):
        cost = 1.0 if length is None else _number(data.get(length))
        if not 0 <= cost < np.inf:
            bad.append(f"{one} - {other}")
        # The shortest of parallel edges counts.
        elif not ways.has_edge(one, other) or cost < ways[one][other]["cost"]:
            ways.add_edge(one, other, cost=cost)
    problems = (
        [f"edges have no '{length}' that is a number of at least 0: {_some(bad)}. Fill it in, or count steps."]
        if bad
        else []
    )
    nodes, drawn, label = _nodes(graph, None if features is None else list(map(str, features)))
    drawn.check(problems)
    wanted = set(drawn.chosen)
    at = [node for node, name in zip(nodes, drawn.names, strict=True) if name in wanted]
    place = {node: i for i, node in enumerate(at)}
    matrix = np.full((len(at), len(at)), np.inf)
    for i, node in enumerate(at):
        reached = nx.single_source_dijkstra_path_length(ways, node, weight="cost")
        for other in reached.keys() & place.keys():
            matrix[i, place[other]] = reached[other]
    # The direction of a path affects the last digit of its sum.
    matrix = np.minimum(matrix, matrix.T)
    measured = "steps" if length is None else f"'{length}' along edges"
    named = f"; names from '{label}'" if label else ""
    source = f"a graph ({measured}{named})"
    return Distances(drawn.chosen, matrix, source, "step" if length is None else unit, drawn.left_out, drawn.notes)


def _nodes(graph: "nx.Graph", features: Sequence[str] | None) -> tuple[list[Any], "_Drawn", str]:
    """Return the nodes of a graph, their names, and the attribute in which these stand; '' stands for the id.

    With features, the place with most features is taken. Without, it is the id, unless all ids look like numbers that a
    program gave, and all nodes have different labels. A node without a label or an edge is then the frame of a group in
    yEd, and no feature.
    """
    nodes, ids = list(graph), [str(node) for node in graph]
    labels = {key: [_label(graph.nodes[node], key) for node in nodes] for key in LABELS}
    if features is not None:
        found = {key: _Drawn.of(names, features, "graph") for key, names in {"": ids, **labels}.items()}
        key = max(found, key=lambda key: len(set(found[key].chosen)))
        id_, label, name = (_some(dict.fromkeys(filter(None, names))) or "none" for names in (ids, *labels.values()))
        shown = (
            f"a name may stand in a node's id (here {id_}), in its attribute 'label' or yEd's NodeLabel (here "
            f"{label}), or in its attribute 'name' (here {name})"
        )
        return nodes, replace(found[key], shown=shown), key
    for key in LABELS if all(map(_MACHINE_ID.fullmatch, ids)) else ():
        pairs = [(node, " ".join(label.split())) for node, label in zip(nodes, labels[key], strict=True)]
        pairs = [(node, label) for node, label in pairs if label or graph.degree(node)]
        names = [label for _, label in pairs]
        if names and all(names) and len(set(names)) == len(names):
            return [node for node, _ in pairs], _Drawn.of(names, None, "graph"), key
    return nodes, _Drawn.of(ids, None, "graph"), ""


def _label(attributes: Mapping[Any, Any], key: str) -> str:
    """Return an attribute of a node as text, ignoring the case of its name, or ''."""
    value = next((value for name, value in attributes.items() if str(name).lower() == key), None)
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)


def from_levels(levels: pd.DataFrame | Mapping[str, Any], features: Iterable[str] | None) -> Distances:
    """Measure the steps up to the first level that two features share; the whole is above all levels."""
    if isinstance(levels, pd.DataFrame):
        name = find(levels, NAMES)
        order = _fine_to_coarse(levels.drop(columns=[] if name is None else [name]))
        rows, drawn = _by_feature(levels, order, features, "hierarchy", numeric=False)
        paths = [tuple(map(str, row))[::-1] for row in rows.itertuples(index=False)]
        source = f"a hierarchy (steps; {' within '.join(map(str, order))})"
    else:
        found = list(_leaves(levels))
        drawn = _Drawn.of((name for name, _ in found), features, "hierarchy")
        drawn.check()
        by_name = dict(zip(drawn.names, (path for _, path in found), strict=True))
        paths = [by_name[name] for name in drawn.chosen]
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
    return Distances(drawn.chosen, steps, source, "step", drawn.left_out, drawn.notes)


def from_positions(
    positions: pd.DataFrame | Mapping[str, float] | Iterable[str], features: Iterable[str] | None, unit: str
) -> Distances:
    """Measure differences of positions; a bare name has the number in which it ends as its position."""
    source = f"an ordering ({unit or 'differences'})"
    if isinstance(positions, pd.DataFrame):
        column = find(positions, POSITION)
        if column is None:
            raise ValueError(f"the ordering lacks the column 'position'; got {_some(positions.columns)}. Add it.")
        rows, drawn = _by_feature(positions, [column], features, "ordering")
        at = rows.to_numpy(dtype=float)[:, 0]
    else:
        if isinstance(positions, Mapping):
            places = [_number(value) for value in positions.values()]
            remedy = "Give each a number."
        else:
            positions = [str(name) for name in positions]
            known = positions_of(positions)
            places = [known[name] for name in positions]
            remedy = "Give a mapping from names to positions, or leave them out."
        drawn = _Drawn.of(map(str, positions), features, "ordering")
        given = dict(zip(drawn.names, places, strict=True))
        lost = [name for name in drawn.chosen if not np.isfinite(given[name])]
        drawn.check([f"names have no position: {_some(lost)}. {remedy}"] if lost else [])
        at = np.array([given[name] for name in drawn.chosen])
    return Distances(drawn.chosen, np.abs(at[:, None] - at), source, unit, drawn.left_out, drawn.notes)


def positions_of(names: Iterable[str]) -> dict[str, float]:
    """Return the number that each name is or ends in, or nan.

    A hyphen before the number separates it if all names with the same beginning have one, as in 'depth-10' and
    'depth-20'. If others have none or a plus, as in 'lag-1' and 'lag1', it is a minus.
    """
    found: dict[str, float] = {}
    parts: dict[str, tuple[str, str, float]] = {}
    signs: dict[str, set[str]] = {}
    for name in names:
        # U+2212 is the minus of typesetters.
        text = name.strip().replace("\u2212", "-")
        found[name] = _number(text)
        if not np.isfinite(found[name]) and (match := _NUMBERED.fullmatch(text)):
            parts[name] = match["stem"], match["sign"], float(match["number"])
            signs.setdefault(match["stem"], set()).add(match["sign"])
    separated = set()
    # After a separator there may be a sign, as in 'depth--10'; 'depth' is sorted before 'depth-'.
    for stem in sorted(signs):
        if signs[stem] == {"-"}:
            separated.add(stem)
            signs.setdefault(f"{stem}-", set()).add("")
    for name, (stem, sign, number) in parts.items():
        found[name] = -number if sign == "-" and stem not in separated else number
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _some(names: Iterable[object]) -> str:
    shown = [f"'{name}'" for name in names]
    return ", ".join(shown[:5]) + (f", ... ({len(shown)} in all)" if len(shown) > 5 else "")


@dataclass(frozen=True)
class _Drawn:
    """The names in a drawing, as the features spell them.

    Args:
        kind: the kind of the drawing.
        names: all of them, in the drawing's order.
        features: the names that statements may use, or None for all.
        shown: what the drawing has, in the words of messages.
        notes: the names that were taken for features, one sentence each.
        problems: the names that may mean more than one feature, one sentence each.
    """

    kind: str
    names: tuple[str, ...]
    features: tuple[str, ...] | None
    shown: str
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, drawn: Iterable[str], features: Iterable[str] | None, kind: str) -> "_Drawn":
        """Return the names of a drawing; a name that looks like one feature, which is not drawn itself, means it."""
        names = tuple(drawn)
        shown = f"the {kind} has {_some(dict.fromkeys(names))}"
        if features is None:
            return cls(kind, names, None, shown)
        features = tuple(map(str, features))
        own, notes, problems = set(names), [], []
        means: dict[str, str] = {}
        for name, alike in find_alike(names, features).items():
            if len(alike) == 1 and alike[0] not in own:
                means[name] = alike[0]
                notes.append(explain_match(name, alike[0]))
            elif own.isdisjoint(alike):
                either = " or ".join(f"'{feature}' ({explain_difference(name, feature)})" for feature in alike)
                problems.append(f"the {kind} names '{name}', which may mean {either}. Name the one that you mean.")
        names = tuple(means.get(name, name) for name in names)
        return cls(kind, names, features, shown, tuple(notes), tuple(problems))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names that statements may use."""
        if self.features is None:
            return self.names
        wanted = set(self.features)
        return tuple(name for name in self.names if name in wanted)

    @property
    def left_out(self) -> int:
        """How many names statements may not use."""
        return len(self.names) - len(self.chosen)

    def check(self, problems: Iterable[str] = ()) -> None:
        """Raise all `problems` and those of the names.

        Raises:
            ValueError: there are problems.
        """
        kind, found = self.kind, [*problems, *self.problems]
        counts = Counter(self.chosen)
        if twice := [name for name, count in counts.items() if count > 1]:
            found.append(f"the {kind} names features more than once: {_some(twice)}. Keep one of each.")
        if any(not name.strip() for name in counts):
            found.append(f"the {kind} has features without a name. Name them or drop those rows.")
        if len(counts) < 3 and self.features is not None and len(counts) < len(set(self.names)):
            found.append(
                f"the {kind} names {len(counts)} of the {len(self.features)} features, and a statement needs 3. Check "
                f"that both spell them alike: {self.shown}; the features are {_some(self.features)}."
            )
        elif len(counts) < 3:
            found.append(f"the {kind} names {len(counts)} features, and a statement needs 3. Draw more.")
        if len(counts) > _MOST:
            found.append(
                f"the {kind} names {len(counts)} features, and at most {_MOST} are compared at once. Name those that "
                "are columns of your data."
            )
        if found:
            raise ValueError("\n".join(found))


def _by_feature(
    table: pd.DataFrame, columns: list[Any], features: Iterable[str] | None, kind: str, *, numeric: bool = True
) -> tuple[pd.DataFrame, _Drawn]:
    """Return `columns` with one row per feature, with names in the index, and the names of all rows."""
    column = find(table, NAMES)
    if column is None and isinstance(table.index, pd.RangeIndex):
        raise ValueError(
            f"the {kind} has no names of features: a column 'feature', 'name' or 'site'; got {_some(table.columns)}. "
            "Rename the column that holds them."
        )
    labels = table.index.to_series() if column is None else table[column]
    names = ["" if missing else str(label) for label, missing in zip(labels, labels.isna(), strict=True)]
    drawn = _Drawn.of(names, features, kind)
    rows = table[columns].set_axis(pd.Index(drawn.names, dtype=object), axis=0)
    # Missing values in rows that were not asked for do not matter.
    rows = rows[rows.index.isin(drawn.chosen)]
    problems: list[str] = []
    for name in columns:
        if numeric and len(rows):
            problems += column_problems(rows[name], numeric=True)
        elif not numeric and rows[name].isna().any():
            problems.append(
                f"column '{name}' of the hierarchy has no value for {_some(rows.index[rows[name].isna()])}. Fill it in."
            )
    drawn.check(problems)
    return rows, drawn


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
