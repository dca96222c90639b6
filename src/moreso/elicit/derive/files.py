"""Drawings in files: recognise their kind, and measure their distances."""

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.parsers import expat

import networkx as nx
import numpy as np
import pandas as pd

from moreso.elicit.derive import sources
from moreso.elicit.derive.distances import Distances
from moreso.tabular import Reading, read_table

KINDS = ("map", "graph", "hierarchy", "ordering")
_GRAPHML = (".graphml", ".xml")
_EDGES = (".edgelist", ".edges", ".txt")
_TABLES = (".csv", ".parquet", ".feather")
_ENDS = (("source", "target"), ("from", "to"))
_MOST_BYTES = 100_000_000


def measure(
    path: str | os.PathLike[str],
    kind: str | None = None,
    *,
    features: Iterable[str] | None = None,
    length: str | None = None,
    unit: str = "",
) -> Distances:
    r"""Read a drawing and measure it; `moreso.derive.read` describes how the kind is recognised.

    Raises:
        ValueError: the file is none of these kinds, or its content has problems.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "pipes.txt"
    ...     _ = path.write_text("mill dam\ndam bridge\nbridge sea\n")
    ...     found = measure(path)
    >>> found.names, found.unit, found.matrix[0].tolist()
    (('mill', 'dam', 'bridge', 'sea'), 'step', [0.0, 1.0, 2.0, 3.0])
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"the kind of a drawing is one of {', '.join(KINDS)}; got '{kind}'. Choose one.")
    path = Path(path)
    suffix = path.suffix.lower()
    known = _GRAPHML + _EDGES + _TABLES
    if suffix not in known:
        raise ValueError(f"{path}: drawings end in {', '.join(known)}, got '{suffix}'. Convert it to one of these.")
    features = None if features is None else list(features)
    if suffix in _TABLES:
        return _measure_table(path, kind, features, length, unit)
    if kind not in (None, "graph"):
        raise ValueError(f"{path}: files that end in '{suffix}' are graphs, not of the kind {kind}. Give a table.")
    graph = _read_graphml(path) if suffix in _GRAPHML else _read_edges(path)
    return sources.from_edges(graph, features, length, unit)


def _measure_table(
    path: Path, kind: str | None, features: list[str] | None, length: str | None, unit: str
) -> Distances:
    table = read_table(path).table
    kind = kind or _kind(table, path)
    if kind == "graph":
        return sources.from_edges(_table_graph(table, path), features, length, unit)
    if length is not None:
        raise ValueError(f"{path}: 'length' is for the edges of graphs, and this is of the kind {kind}. Leave it out.")
    name = sources.find(table, sources.NAMES)
    table = _as_written(table, path, [] if name is None else [name])
    if kind == "map":
        return sources.from_sites(table, features, unit)
    if kind == "hierarchy":
        return sources.from_levels(table, features)
    if sources.find(table, sources.POSITION) is not None:
        return sources.from_positions(table, features, unit)
    # The table is the data itself, with columns such as wavelengths; columns without a number are other features.
    at = sources.positions_of(str(column) for column in table.columns)
    return sources.from_positions([name for name, place in at.items() if np.isfinite(place)], features, unit)


def _kind(table: pd.DataFrame, path: Path) -> str:
    """Return the kind that a table's columns show, or raise an error that says what each kind needs."""

    def has(*words: Iterable[str]) -> bool:
        return all(sources.find(table, word) is not None for word in words)

    if _ends(table) is not None:
        return "graph"
    if has(sources.LATITUDE, sources.LONGITUDE) or has(["x"], ["y"]):
        return "map"
    if has(sources.POSITION):
        return "ordering"
    if has(sources.NAMES) and len(table.columns) > 1:
        return "hierarchy"
    raise ValueError(
        f"{path}: the columns show no kind of drawing. A map has 'feature' and 'x', 'y' or 'latitude', 'longitude'; a "
        "graph 'source', 'target'; an ordering 'feature', 'position'; a hierarchy 'feature' and a column a level. "
        "Rename the columns, or say what it is: graph for two names a line, ordering for columns whose names end in "
        "numbers."
    )


def _ends(table: pd.DataFrame) -> list[Any] | None:
    """Return the two columns that hold the ends of edges, or None."""
    for words in _ENDS:
        found = [sources.find(table, [word]) for word in words]
        if None not in found:
            return found
    return None


def _as_written(table: pd.DataFrame, path: Path, columns: list[Any]) -> pd.DataFrame:
    """Return the table with names as written in the file: '007' is not a number, and 'NA' is not missing."""
    if path.suffix.lower() == ".csv" and columns:
        found = read_table(path, Reading(kinds={str(name): "text" for name in columns})).table
        table[columns] = found[columns].fillna("")
    return table


def _table_graph(table: pd.DataFrame, path: Path) -> "nx.Graph":
    ends = _ends(table)
    if ends is None and path.suffix.lower() == ".csv":
        return _read_edges(path)
    if ends is None:
        raise ValueError(f"{path}: a graph needs columns 'source' and 'target'. Rename those that hold the names.")
    table = _as_written(table, path, ends)
    graph = nx.MultiGraph()
    attributes = table.drop(columns=ends).to_dict("records")
    for (one, other), values in zip(table[ends].itertuples(index=False), attributes, strict=True):
        graph.add_edge(str(one), str(other), **{str(name): value for name, value in values.items()})
    return graph


def _read_graphml(path: Path) -> "nx.Graph":
    """Read GraphML without XML entities, since a kilobyte of entities can expand to gigabytes."""

    def refuse(*_: object) -> None:
        raise ValueError(f"{path}: declares XML entities, which a graph does not need. Write the file without them.")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    try:
        _check_size(path)
        with path.open("rb") as file:
            parser.ParseFile(file)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except expat.ExpatError as error:
        raise ValueError(f"{path}: is not a GraphML file ({error}). Check the file.") from error
    try:
        return nx.read_graphml(path)
    # Well-formed XML that is not GraphML can raise any of these: a KeyError for an unknown type, for example.
    except (nx.NetworkXError, LookupError, AttributeError, TypeError, ValueError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(f"{path}: is not a GraphML file ({first}). Check the file.") from error


def _read_edges(path: Path) -> "nx.Graph":
    """Read an edge list: two names per line, separated by space or comma, and an optional third word, the 'length'."""
    try:
        _check_size(path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text. Give an edge list, two names a line.") from error
    graph = nx.MultiGraph()
    problems = []
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.split("#")[0].strip()
        words = [word.strip() for word in next(csv.reader([bare]))] if "," in bare else bare.split()
        if len(words) in (2, 3):
            graph.add_edge(words[0], words[1], **dict(zip(["length"], words[2:], strict=False)))
        elif words:
            problems.append(
                f"{path}: line {number}: '{bare}' is no edge. Write two names, and a length where you have one."
            )
    if problems:
        raise ValueError(
            "\n".join(problems[:5] + ([f"{path}: {len(problems)} such lines in all."] if problems[5:] else []))
        )
    return graph


def _check_size(path: Path) -> None:
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(
            f"{path}: has {size / 1e6:.0f} MB, and graphs are read up to {_MOST_BYTES / 1e6:.0f} MB. Keep the nodes "
            "and edges that connect your features, or give derive.from_graph a networkx graph."
        )
