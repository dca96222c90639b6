"""Derive knowledge from a drawing: a map, a graph, a hierarchy or an ordering.

Features that are close depend on each other more. If far is at least `ratio` (3) times as distant from ref as near is,
the statement `ref: near > far` is derived. In the sources that were measured, at least nine in ten such statements held
(docs/decisions/0006-derive.md). So audit them: `moreso.audit(data, knowledge)`. A drawing shows no direction, so
statements have one only if you say that close features rise together: `rising=True`.

>>> import pandas as pd
>>> from moreso import derive
>>> sites = pd.DataFrame({"feature": ["mill", "dam", "bridge", "sea"], "x": [0, 2, 3, 14], "y": [0, 0, 1, 5]})
>>> print(derive.from_map(sites, unit="km", per_feature=1))
mill: dam > sea  # 2 km against 14.9 km
dam: bridge > sea  # 1.41 km against 13 km
bridge: dam > sea  # 1.41 km against 11.7 km
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx
import pandas as pd

from moreso.elicit.derive.distances import PER_FEATURE, RATIO, Distances, rule_problems
from moreso.elicit.derive.files import measure
from moreso.elicit.derive.sources import from_edges, from_levels, from_positions, from_sites
from moreso.relations import Knowledge

__all__ = ["from_graph", "from_hierarchy", "from_map", "from_ordering", "measure", "read", "rule_problems"]


def from_map(
    sites: pd.DataFrame,
    *,
    unit: str = "",
    features: Iterable[str] | None = None,
    ratio: float = RATIO,
    per_feature: int = PER_FEATURE,
    rising: bool = False,
) -> Knowledge:
    """Derive statements from positions on a map, by straight lines or by great circles in kilometres.

    Features at the same place count as the closest of all: their distance is the smallest one between different places.

    Args:
        sites: one row per feature, with its name in a column 'feature', 'name' or 'site' (or in the index), and numbers
            in 'x', 'y' (and 'z'), all in the same unit, or in 'latitude' ('lat') and 'longitude' ('lon', 'lng',
            'long'), in degrees.
        unit: the unit of x, y and z, for the reasons.
        features: the names that statements may use, such as the columns of your data; by default all. A name that only
            looks like one of them is taken for it, with a warning.
        ratio: the smallest allowed ratio of the distance of minus to that of plus, above 1.
        per_feature: the most statements with one feature as ref.
        rising: also state that close features rise together.

    Raises:
        ValueError: columns are missing, names repeat, coordinates are not finite numbers, there are fewer than 3
            features, or no statement reaches the ratio.

    >>> sites = pd.DataFrame({"lat": [52.5, 52.4, 48.1], "lon": [13.4, 13.1, 11.6]}, ["berlin", "potsdam", "munich"])
    >>> print(from_map(sites))
    berlin: potsdam > munich  # 23.2 km against 506 km
    potsdam: berlin > munich  # 23.2 km against 490 km
    """
    return _derive(from_sites(sites, features, unit), ratio, per_feature, rising)


def from_graph(
    graph: "nx.Graph",
    *,
    length: str | None = None,
    unit: str = "",
    features: Iterable[str] | None = None,
    ratio: float = RATIO,
    per_feature: int = PER_FEATURE,
    rising: bool = False,
) -> Knowledge:
    """Derive statements from connections, by the shortest paths in steps or in lengths of edges.

    Edges count in both directions, since a dependence has no direction. The shortest of parallel edges counts. Two
    features without a path between them give no statement. Edge weights often mean strength, so no attribute is used
    unless `length` names it.

    Args:
        graph: a networkx graph whose nodes are the features. Their names are the nodes themselves, or their attribute
            'label' or 'name': the one with most of the features; or, without `features`, the first in which all nodes
            differ, if the nodes are numbers such as 62 or 'n0'.
        length: the edge attribute that holds lengths; by default every edge is one step.
        unit: the unit of the lengths, for the reasons.
        features: the nodes that statements may name; paths may pass through others, such as junctions without a sensor.
        ratio: the smallest allowed ratio of the distance of minus to that of plus, above 1.
        per_feature: the most statements with one feature as ref.
        rising: also state that close features rise together.

    Raises:
        ValueError: edges lack a length of at least 0, there are fewer than 3 features, or no statement reaches the
            ratio.

    >>> print(from_graph(nx.path_graph(["a", "b", "c", "d"])))
    a: b > d  # 1 step against 3 steps
    d: c > a  # 1 step against 3 steps
    """
    return _derive(from_edges(graph, features, length, unit), ratio, per_feature, rising)


def from_hierarchy(
    levels: pd.DataFrame | Mapping[str, Any],
    *,
    features: Iterable[str] | None = None,
    ratio: float = RATIO,
    per_feature: int = PER_FEATURE,
    rising: bool = False,
) -> Knowledge:
    """Derive statements from a hierarchy, by the steps up to the first level that two features share.

    Two features of the same unit are 1 step apart, and two of the same section 2 steps. Features that share no level
    meet in the whole, one step above the last level. So with one level no statement reaches the ratio 3, and with two
    levels only the finest level against the whole does. If branches differ in depth, the longer way up counts.

    Args:
        levels: a table with a column 'feature', 'name' or 'site' (or the index) and one column per level, from fine to
            coarse, or from coarse to fine if the values nest only that way; or a nested mapping from the coarsest level
            down to lists of features.
        features: the names that statements may use; by default all.
        ratio: the smallest allowed ratio of the distance of minus to that of plus, above 1.
        per_feature: the most statements with one feature as ref.
        rising: also state that close features rise together.

    Raises:
        ValueError: names repeat or lack a level, there are fewer than 3 features, or no statement reaches the ratio.

    >>> print(from_hierarchy({"plant": {"mill": ["m1", "m2"], "kiln": ["k1"]}, "office": {"roof": ["sun"]}}))
    m1: m2 > sun  # 1 step against 3 steps
    m2: m1 > sun  # 1 step against 3 steps
    """
    return _derive(from_levels(levels, features), ratio, per_feature, rising)


def from_ordering(
    positions: pd.DataFrame | Mapping[str, float] | Iterable[str],
    *,
    unit: str = "",
    features: Iterable[str] | None = None,
    ratio: float = RATIO,
    per_feature: int = PER_FEATURE,
    rising: bool = False,
) -> Knowledge:
    """Derive statements from differences of positions on a line, such as wavelengths, depths or maturities.

    Args:
        positions: a table with a column 'feature', 'name' or 'site' (or the index) and a column 'position'; or a
            mapping from names to positions; or names that are numbers or end in them ('w900', 'depth_2.5', 'x1e-3'). A
            hyphen before the number is a minus if other names with the same beginning have none ('lag-1', 'lag1').
        unit: the unit of the positions, for the reasons.
        features: the names that statements may use; by default all.
        ratio: the smallest allowed ratio of the distance of minus to that of plus, above 1.
        per_feature: the most statements with one feature as ref.
        rising: also state that close features rise together.

    Raises:
        ValueError: names repeat or have no position, there are fewer than 3 features, or no statement reaches the
            ratio.

    >>> print(from_ordering(["w900", "w910", "w960"], unit="nm"))
    w900: w910 > w960  # 10 nm against 60 nm
    w910: w900 > w960  # 10 nm against 50 nm
    """
    return _derive(from_positions(positions, features, unit), ratio, per_feature, rising)


def read(
    path: str | os.PathLike[str],
    kind: str | None = None,
    *,
    length: str | None = None,
    unit: str = "",
    features: Iterable[str] | None = None,
    ratio: float = RATIO,
    per_feature: int = PER_FEATURE,
    rising: bool = False,
) -> Knowledge:
    """Derive statements from a drawing in a file.

    GraphML files (.graphml, .xml) and edge lists (.edgelist, .edges, .txt: two names per line and an optional 'length')
    are graphs; yEd's NodeLabel counts as the attribute 'label' of `from_graph`. Tables (.csv, .parquet, .feather) are
    recognised by their columns, in this order: 'source' and 'target', or 'from' and 'to', make a graph; 'x' and 'y', or
    'latitude' and 'longitude', a map; 'position' an ordering; 'feature', 'name' or 'site' and other columns a
    hierarchy.

    Args:
        path: the drawing.
        kind: 'map', 'graph', 'hierarchy' or 'ordering', if the columns do not show it or show something else. 'graph'
            also reads a CSV file without a header; 'ordering' also reads a table whose column names end in numbers.
        length: for graphs, as in `from_graph`.
        unit: the unit of the distances, for the reasons.
        features: the names that statements may use; by default all.
        ratio: the smallest allowed ratio of the distance of minus to that of plus, above 1.
        per_feature: the most statements with one feature as ref.
        rising: also state that close features rise together.

    Raises:
        ValueError: the file is not a drawing of these kinds; or as for the function of its kind.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "depths.csv")
    ...     pd.DataFrame({"feature": ["top", "middle", "bottom"], "position": [0, 1, 8]}).to_csv(path, index=False)
    ...     print(read(path, unit="m"))
    top: middle > bottom  # 1 m against 8 m
    middle: top > bottom  # 1 m against 7 m
    """
    return _derive(measure(path, kind, features=features, length=length, unit=unit), ratio, per_feature, rising)


def _derive(found: Distances, ratio: float, per_feature: int, rising: bool) -> Knowledge:
    """Return the statements, with a warning for each name that was taken for a feature."""
    for note in found.notes:
        warnings.warn(note, stacklevel=3)
    return found.knowledge(ratio, per_feature, rising=rising)
