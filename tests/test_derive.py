"""From a drawing to statements: every one reaches the ratio, and nothing hangs on how the drawing is written."""

import math
import random
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moreso import Knowledge, derive
from moreso.elicit.derive import sources

WHOLE = st.integers(-6, 6)
PLACES = st.lists(st.tuples(WHOLE, WHOLE), min_size=3, max_size=9, unique=True)
EDGES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5)), min_size=3, max_size=16)


def orders(knowledge: Knowledge) -> set[tuple[tuple[str, ...], ...]]:
    return {relation.groups for relation in knowledge}


def triples(knowledge: Knowledge) -> list[tuple[str, str, str]]:
    return [(relation.ref[0], relation.plus[0], relation.minus[0]) for relation in knowledge.relations]


def sites(places: list[tuple[int, int]], scale: float = 1.0) -> pd.DataFrame:
    table = pd.DataFrame(places, columns=["x", "y"]) * scale
    return table.set_axis([f"s{i}" for i in range(len(places))])


def derived(table: pd.DataFrame, **settings: float) -> Knowledge:
    try:
        return derive.from_map(table, **settings)  # type: ignore[arg-type]
    except ValueError as error:
        assume("no statement reaches" not in str(error))
        assume("is nearer to one feature" not in str(error))
        raise


@given(PLACES, st.sampled_from([1.5, 2.0, 3.0, 4.5]), st.integers(1, 4))
def test_every_statement_reaches_the_ratio_and_no_ref_has_more_than_its_share(
    places: list[tuple[int, int]], ratio: float, most: int
) -> None:
    knowledge = derived(sites(places), ratio=ratio, per_feature=most)
    at = {f"s{i}": place for i, place in enumerate(places)}
    for ref, plus, minus in triples(knowledge):
        assert math.dist(at[ref], at[minus]) >= ratio * math.dist(at[ref], at[plus]) * (1 - 1e-8)
    assert max(Counter(ref for ref, _, _ in triples(knowledge)).values()) <= most
    pairs = [(ref, near) for ref, near, _ in triples(knowledge)]
    assert len(pairs) == len(set(pairs))


@given(PLACES, st.sampled_from([1.5, 3.0]))
def test_a_feature_with_any_statement_to_make_makes_one_or_it_follows(
    places: list[tuple[int, int]], ratio: float
) -> None:
    knowledge = derived(sites(places), ratio=ratio, per_feature=1)
    assert len(knowledge.reduction()) == len(knowledge)
    able = set()
    for i, place in enumerate(places):
        others = sorted(math.dist(place, other) for j, other in enumerate(places) if j != i)
        if others[-1] >= ratio * others[0] * (1 - 1e-8):
            able.add(f"s{i}")
    assert {ref for ref, _, _ in triples(knowledge.closure())} == able


@given(PLACES, st.sampled_from([0.1, 1 / 3, 7.0, 1e-6, 1e6]))
def test_the_unit_does_not_matter(places: list[tuple[int, int]], scale: float) -> None:
    assert orders(derived(sites(places, scale))) == orders(derived(sites(places)))


@given(PLACES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(places: list[tuple[int, int]], dice: random.Random) -> None:
    table = sites(places)
    shuffled = table.loc[dice.sample(list(table.index), len(table))]
    assert orders(derived(shuffled)) == orders(derived(table))
    assert derived(table) == derived(table)


@given(PLACES, st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)))
def test_where_the_origin_lies_does_not_matter(places: list[tuple[int, int]], move: tuple[int, int]) -> None:
    moved = [(x + move[0], y + move[1]) for x, y in places]
    assert orders(derived(sites(moved))) == orders(derived(sites(places)))


@given(PLACES, st.sampled_from([1.01, 1.5, 3.0]))
def test_statements_cannot_contradict_each_other(places: list[tuple[int, int]], ratio: float) -> None:
    order = nx.DiGraph()
    for ref, plus, minus in triples(derived(sites(places), ratio=ratio, per_feature=20)):
        order.add_edge(frozenset((ref, plus)), frozenset((ref, minus)))
    assert nx.is_directed_acyclic_graph(order)


@given(PLACES)
def test_the_text_reads_back(places: list[tuple[int, int]]) -> None:
    names = ["a", "b c", "#", '"', "`", "d\n", ":", "{", ","][: len(places)]
    knowledge = derived(sites(places).set_axis(names))
    assert Knowledge.parse(str(knowledge)) == knowledge


def test_each_statement_is_the_sharpest_and_reaches_a_new_feature() -> None:
    line = derive.from_ordering([f"t{i}" for i in (0, 1, 2, 3, 6, 7, 20)], per_feature=4)
    assert [text for text in str(line).splitlines() if text.startswith("t0:")] == [
        "t0: t1 > t3  # distance 1 against 3",
        "t0: t2 > t6  # distance 2 against 6",
        "t0: t3 > t20  # distance 3 against 20",
        # No unused feature is far enough, so one is used again.
        "t0: t6 > t20  # distance 6 against 20",
    ]


def test_one_place_counts_as_the_nearest_of_all() -> None:
    places = pd.DataFrame({"x": [0.0, 0.0, 1.0, 2.0, 3.0, 9.0], "y": 0.0}, index=list("abcdef"))
    assert [triple for triple in triples(derive.from_map(places)) if triple[0] == "a"] == [
        # 'b' is at the place of 'a' and counts as 1 away, so that 'c' and 'd' are not far enough.
        ("a", "b", "e"),
        ("a", "c", "f"),
        ("a", "d", "f"),
    ]


def haversine(one: tuple[float, float], other: tuple[float, float]) -> float:
    (a, b), (c, d) = (tuple(map(math.radians, point)) for point in (one, other))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(min(half, 1)))


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=3, max_size=6))
def test_degrees_become_great_circles(points: list[tuple[float, float]]) -> None:
    table = pd.DataFrame(points, columns=["Lat", "LNG"], index=[f"s{i}" for i in range(len(points))])
    found = sources.from_sites(table, None, "")
    expected = [[haversine(one, other) for other in points] for one in points]
    assert found.unit == "km"
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-6, atol=1e-3)


def test_the_date_line_divides_nothing() -> None:
    islands = pd.DataFrame({"lat": [0.0, 0.0, 0.0], "lon": [179.0, -179.0, 170.0]}, index=["west", "east", "far"])
    assert str(derive.from_map(islands)).startswith("west: east > far  # 222 km against 1000 km")


@given(EDGES, st.booleans())
def test_a_graph_is_measured_by_its_shortest_paths(edges: list[tuple[int, int, int]], weighed: bool) -> None:
    graph = nx.MultiDiGraph()
    graph.add_weighted_edges_from(edges, weight="length")
    assume(len(graph) >= 3)
    found = sources.from_edges(graph, None, "length" if weighed else None, "")
    # Floyd and Warshall, literally.
    expected = np.where(np.eye(len(graph)), 0, np.inf)
    at = {name: i for i, name in enumerate(found.names)}
    for one, other, length in edges:
        i, j = at[str(one)], at[str(other)]
        expected[i, j] = expected[j, i] = min(expected[i, j], length if weighed else 1)
    for k in range(len(expected)):
        expected = np.minimum(expected, expected[:, [k]] + expected[[k]])
    np.testing.assert_array_equal(found.matrix, expected)


def test_what_is_not_connected_changes_nothing() -> None:
    graph = nx.path_graph(["a", "b", "c", "d", "e", "f"])
    before = derive.from_graph(graph)
    graph.add_node("alone")
    graph.add_edge("x", "y")
    assert derive.from_graph(graph) == before
    assert not {"alone", "x", "y"} & set(before.features)


def test_paths_lead_through_nodes_that_are_no_features() -> None:
    pipes = nx.Graph([("a", "junction"), ("junction", "b"), ("a", "c"), ("b", "d"), ("d", "e"), ("e", "f")])
    knowledge = derive.from_graph(pipes, features=["a", "b", "c", "f", "weather"])
    assert str(knowledge).splitlines() == [
        "a: c > f  # 1 step against 5 steps",
        "c: a > b  # 1 step against 3 steps",
    ]


LEVELS = pd.DataFrame(
    {
        "feature": ["a", "b", "c", "d"],
        "unit": ["u1", "u1", "u1", "u1"],
        "section": ["s1", "s1", "s2", "s3"],
        "plant": ["p", "p", "p", "q"],
    }
)


def test_steps_go_up_to_the_first_common_level() -> None:
    # 'u1' of one section is another unit than 'u1' of the next: levels are read as paths.
    found = sources.from_levels(LEVELS, None)
    assert found.matrix.tolist() == [[0, 1, 3, 4], [1, 0, 3, 4], [3, 3, 0, 4], [4, 4, 4, 0]]
    assert str(derive.from_hierarchy(LEVELS)).splitlines()[0] == "a: b > c  # 1 step against 3 steps"


def test_levels_may_be_written_either_way_and_as_a_nested_mapping() -> None:
    unique = LEVELS.assign(unit=["u1", "u1", "u2", "u3"])
    expected = derive.from_hierarchy(unique)
    assert derive.from_hierarchy(unique[["feature", "plant", "section", "unit"]]) == expected
    nested = {"p": {"s1": {"u1": ["a", "b"]}, "s2": {"u2": "c"}}, "q": {"s3": {"u3": ["d"]}}}
    assert derive.from_hierarchy(nested) == expected


def test_of_unequal_branches_the_longer_way_counts() -> None:
    found = sources.from_levels({"p": {"s": {"u": ["a", "b"]}}, "sky": ["sun", "wind"]}, None)
    assert found.names == ("a", "b", "sun", "wind")
    assert found.matrix[0].tolist() == [0, 1, 4, 4]
    assert found.matrix[2].tolist() == [4, 4, 0, 1]


def test_positions_come_from_a_table_a_mapping_or_names() -> None:
    table = pd.DataFrame({"name": ["w1", "w2", "w4.5"], "position": [1, 2, 4.5]})
    expected = derive.from_ordering(table, unit="nm")
    assert str(expected) == "w1: w2 > w4.5  # 1 nm against 3.5 nm"
    assert derive.from_ordering({"w1": 1, "w2": 2, "w4.5": 4.5}, unit="nm") == expected
    assert derive.from_ordering(["w1", "w2", "w4.5"], unit="nm") == expected
    assert list(sources.positions_of(["-3", "1e3", "w-3", "depth 2.5"]).values()) == [-3, 1000, 3, 2.5]
    assert math.isnan(sources.positions_of(["fat"])["fat"])


FILES = {
    "sites.csv": ("site,Latitude,Lon\n007,0,0\nNA,0,1\nc,0,4\n", "007: NA > c  # 111 km against 445 km"),
    "plane.csv": ("name,x,y\na,0,0\nb,0,1\nc,0,4\n", "a: b > c  # distance 1 against 4"),
    "space.csv": ("name,x,y,z\na,0,0,0\nb,0,0,1\nc,0,0,4\n", "a: b > c  # distance 1 against 4"),
    "edges.csv": ("source,target,bore\na,b,1\nb,c,1\nc,d,9\n", "a: b > d  # 1 step against 3 steps"),
    "edges.txt": ("# pipes\na b\nb\tc 3\nc, d\n", "a: b > d  # 1 step against 3 steps"),
    "levels.csv": ("feature,unit,plant\na,u,p\nb,u,p\nc,v,q\n", "a: b > c  # 1 step against 3 steps"),
    "depths.csv": ("feature,position\na,0\nb,1\nc,4\n", "a: b > c  # distance 1 against 4"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_tells_its_kind(name: str, tmp_path: Path) -> None:
    text, expected = FILES[name]
    (tmp_path / name).write_text(text)
    assert str(derive.read(tmp_path / name)).splitlines()[0] == expected
    if name.endswith(".csv") and name != "sites.csv":
        pd.read_csv(tmp_path / name).to_parquet(tmp_path / "same.parquet")
        assert derive.read(tmp_path / "same.parquet") == derive.read(tmp_path / name)


def test_graphml_is_read_with_lengths(tmp_path: Path) -> None:
    graph = nx.Graph()
    graph.add_weighted_edges_from([("a", "b", 1.0), ("b", "c", 1.5), ("c", "d", 40)], weight="metres")
    nx.write_graphml(graph, tmp_path / "pipes.graphml")
    assert derive.read(tmp_path / "pipes.graphml") == derive.from_graph(graph)
    by_length = derive.read(tmp_path / "pipes.graphml", length="metres", unit="m")
    assert by_length == derive.from_graph(graph, length="metres", unit="m")
    assert str(by_length).splitlines()[0] == "a: b > d  # 1 m against 42.5 m"


def test_a_kind_may_be_told(tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    bare.write_text("a,b\nb,c\nc,d\n")
    assert str(derive.read(bare, "graph")).splitlines()[0] == "a: b > d  # 1 step against 3 steps"
    data = tmp_path / "data.csv"
    data.write_text("w900,w910,w960,fat\n1,2,3,4\n")
    assert str(derive.read(data, "ordering")).splitlines()[0] == "w900: w910 > w960  # distance 10 against 60"


def test_lengths_of_an_edge_list_count_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "pipes.edges"
    path.write_text("a b 5\na b 1\nb c 3\nb c 9\n")
    assert str(derive.read(path, length="length")).endswith("b: a > c  # distance 1 against 3")
