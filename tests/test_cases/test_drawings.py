"""Drawings as programs write them: names in labels, and positions with signs."""

from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import networkx as nx
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from moreso import Knowledge, derive
from moreso.cli import main
from moreso.elicit.derive import sources

DATA = Path(__file__).parent / "data"
FILES = ["yed.graphml", "gephi.graphml"]
LINE = ["boiler", "pump", "valve", "cooler", "tank", "mixer"]
"""What both files draw, from end to end."""

EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=3, max_size=12)
GRAPHS = EDGES.map(nx.Graph).filter(lambda graph: len(graph) >= 3)
WORDS = st.text(st.sampled_from("ab 1<&\u00e9"), min_size=1).map(lambda word: f"x{word}x")


def statements(graph: "nx.Graph", features: list[str] | None = None) -> str:
    """Return what a graph says, statements or problems."""
    try:
        return str(derive.from_graph(graph, features=features, ratio=2))
    except ValueError as error:
        return str(error).split("(")[0]


@st.composite
def labelled(draw: st.DrawFn, numbering: Callable[[int], object], key: str) -> tuple["nx.Graph", "nx.Graph"]:
    """Return a graph with names in an attribute, and the same graph with names as nodes."""
    graph = draw(GRAPHS)
    words = draw(st.lists(WORDS, min_size=8, max_size=8, unique_by=lambda word: " ".join(word.split())))
    words = [" ".join(word.split()) for word in words]
    numbered = nx.relabel_nodes(graph, {node: numbering(node) for node in graph})
    nx.set_node_attributes(numbered, {numbering(node): words[node] for node in graph}, key)
    return numbered, nx.relabel_nodes(graph, dict(enumerate(words)))


NUMBERINGS: list[Callable[[int], object]] = [int, str, "n{}".format, "n0::n{}".format]
LABELLED = st.tuples(st.sampled_from(NUMBERINGS), st.sampled_from(["label", "name", "Label"])).flatmap(
    lambda pair: labelled(*pair)
)


@given(LABELLED)
def test_labels_are_the_names_of_numbered_nodes(graphs: tuple["nx.Graph", "nx.Graph"]) -> None:
    numbered, named = graphs
    assert statements(numbered) == statements(named)


@given(LABELLED, st.data())
def test_labels_are_the_names_if_they_are_features(graphs: tuple["nx.Graph", "nx.Graph"], data: st.DataObject) -> None:
    """Whatever the ids are, and though other nodes have no label or the same."""
    numbered, named = graphs
    features = data.draw(st.lists(st.sampled_from(sorted(named)), min_size=3, unique=True))
    ids = dict(zip(numbered, "abcdefgh", strict=False))
    for key in ("label", "name", "Label"):
        for node, word in list(nx.get_node_attributes(numbered, key).items()):
            if word not in features:
                numbered.nodes[node][key] = data.draw(st.sampled_from(["", None, "junction"]))
    expected = statements(named, features)
    assert statements(numbered, features) == expected
    assert statements(nx.relabel_nodes(numbered, ids), features) == expected


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_drawing_program(name: str) -> None:
    expected = derive.from_graph(nx.path_graph(LINE))
    assert derive.read(DATA / name) == expected
    assert set(expected.features) == set(LINE)
    some = [*LINE[:3], LINE[5], "weather"]
    assert derive.read(DATA / name, features=some) == derive.from_graph(nx.path_graph(LINE), features=some)


@pytest.mark.parametrize("name", FILES)
def test_labels_that_look_like_features_are_taken_for_them(name: str) -> None:
    features = [word.upper() for word in LINE]
    with pytest.warns(UserWarning, match="was taken for the column") as caught:
        found = derive.read(DATA / name, features=features)
    assert [str(each.message).split("'")[1] for each in caught] == LINE
    assert str(found) == str(derive.from_graph(nx.path_graph(features)))


def yed(labels: dict[str, str], edges: list[tuple[str, str]]) -> str:
    """Return a drawing as yEd writes it, with a frame around all nodes."""
    shape = "<y:ShapeNode><y:NodeLabel>{}<y:LabelModel/></y:NodeLabel></y:ShapeNode>"
    nodes = "".join(
        f'<node id="{node}"><data key="d6">{shape.format(escape(label))}</data></node>'
        for node, label in labels.items()
    )
    lines = "".join(f'<edge source="{one}" target="{other}"/>' for one, other in edges)
    frame = (
        "<y:ProxyAutoBoundsNode><y:Realizers><y:GroupNode><y:NodeLabel>Hall</y:NodeLabel></y:GroupNode></y:Realizers>"
    )
    return (
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">'
        '<key for="node" id="d6" yfiles.type="nodegraphics"/><graph edgedefault="directed" id="G">'
        f'<node id="n0" yfiles.foldertype="group"><data key="d6">{frame}</y:ProxyAutoBoundsNode></data>'
        f'<graph edgedefault="directed" id="n0:">{nodes}</graph></node>{lines}</graph></graphml>'
    )


def test_labels_of_several_lines_in_a_frame(tmp_path: Path) -> None:
    labels = {"n0::n0": "in\nlet", "n0::n1": "a < b", "n0::n2": "pump", "n0::n3": "tank"}
    path = tmp_path / "hall.graphml"
    path.write_text(yed(labels, [("n0::n0", "n0::n1"), ("n0::n1", "n0::n2"), ("n0::n2", "n0::n3")]))
    assert derive.read(path) == derive.from_graph(nx.path_graph(["in let", "a < b", "pump", "tank"]))


def test_ids_stay_where_labels_are_no_names() -> None:
    graph = nx.relabel_nodes(nx.path_graph(6), "n{}".format)
    expected = derive.from_graph(graph)
    # All but one of the nodes have a label, and then all have the same.
    nx.set_node_attributes(graph, dict(zip(list(graph)[1:], "abcde", strict=True)), "label")
    assert derive.from_graph(graph) == expected
    nx.set_node_attributes(graph, "pipe", "label")
    assert derive.from_graph(graph) == expected
    # Ids that a person has written, and ids that are features.
    named = nx.path_graph(LINE)
    nx.set_node_attributes(named, dict(zip(LINE, "abcdef", strict=True)), "label")
    assert derive.from_graph(named) == derive.from_graph(nx.path_graph(LINE))
    nx.set_node_attributes(graph, dict(zip(graph, "abcdef", strict=True)), "label")
    assert set(derive.from_graph(graph, features=list(graph)).features) == set(graph)


def test_the_error_says_where_names_may_stand() -> None:
    with pytest.raises(ValueError, match="names 1 of the 3 features") as caught:
        derive.read(DATA / "gephi.graphml", features=["boiler", "kettle", "oven"])
    message = str(caught.value)
    for part in ("id (here '62', '63'", "NodeLabel (here 'boiler', 'pump'", "'name' (here none)", "'kettle', 'oven'"):
        assert part in message


@pytest.mark.parametrize("name", FILES)
def test_the_shell_reads_labels(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    pd.DataFrame([range(6)], columns=["Boiler", *LINE[1:5], "weather"]).to_csv(data, index=False)
    result = CliRunner().invoke(main, ["derive", str(DATA / name)])
    assert result.exit_code == 0
    assert Knowledge.parse(result.stdout) == derive.read(DATA / name)
    assert "names from 'label'" in result.stderr
    result = CliRunner().invoke(main, ["derive", str(DATA / name), "--features", str(data)])
    assert result.exit_code == 0
    assert set(Knowledge.parse(result.stdout).features) == {"Boiler", *LINE[1:5]}
    assert f"{name}: 'boiler' was taken for the column 'Boiler'" in result.stderr
    assert "1 of 6 left out" in result.stderr
    pd.DataFrame([range(3)], columns=["a", "b", "c"]).to_csv(data, index=False)
    result = CliRunner().invoke(main, ["derive", str(DATA / name), "--features", str(data)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "yEd's NodeLabel" in result.stderr


DRAWN = pd.DataFrame({"feature": ["W1", "w2 ", "w9"], "x": [1.0, 2.0, 9.0], "y": 0.0})


@pytest.mark.parametrize(
    "call",
    [
        lambda features: derive.from_map(DRAWN, features=features),
        lambda features: derive.from_ordering(DRAWN["feature"], features=features),
        lambda features: derive.from_ordering({"W1": 1, "w2 ": 2, "w9": 9}, features=features),
        lambda features: derive.from_hierarchy({"p": {"s": ["W1", "w2 "]}, "q": {"t": ["w9"]}}, features=features),
        lambda features: derive.from_graph(nx.Graph([("W1", "w2 "), ("w2 ", "a"), ("a", "w9")]), features=features),
    ],
    ids=["map", "names", "mapping", "hierarchy", "graph"],
)
def test_a_drawing_may_spell_features_otherwise(call: Callable[[list[str]], Knowledge]) -> None:
    features = ["w1", "w2", "w9"]
    with pytest.warns(UserWarning, match="was taken for the column") as caught:
        found = call(features)
    assert found.features == tuple(features)
    assert [str(each.message).split("'")[1] for each in caught] == ["W1", "w2 "]


def test_a_feature_that_is_drawn_is_nothing_else() -> None:
    features = ["W1", "w2 ", "w9"]
    twins = pd.concat([DRAWN, DRAWN.assign(feature=["w1", "W2", "W9"], x=[5.0, 6.0, 7.0])])
    assert derive.from_map(twins, features=features) == derive.from_map(DRAWN)


# Positions in names.

STEMS = st.text(st.sampled_from("yt_lag =."), min_size=1).map(lambda stem: f"w{stem.rstrip('.')}")
NUMBERS = st.lists(
    st.one_of(st.integers(-30, 30), st.sampled_from([-2.5, 0.25, 1e-3, -4e-05, 3e20])),
    min_size=2,
    max_size=6,
    unique=True,
)
WRITTEN: list[Callable[[float], str]] = [str, "{:+}".format, lambda x: str(x).replace("-", "\u2212"), "{:E}".format]


def at(names: list[str]) -> list[float]:
    return list(sources.positions_of(names).values())


@given(STEMS, NUMBERS, st.sampled_from(WRITTEN))
def test_a_minus_is_a_sign_if_others_have_none(stem: str, numbers: list[float], write: Callable[[float], str]) -> None:
    numbers = [float(f"{number:E}") for number in numbers]
    numbers = [abs(numbers[0]), *(number for number in numbers if number != abs(numbers[0]))]
    names = [f"{stem}{write(number)}" for number in numbers]
    assert at(names) == numbers
    # A hyphen in front of them all changes nothing, nor do other names.
    assert at([f"{stem}-{write(number)}" for number in numbers]) == numbers
    assert at([*names, "z-1", "z-2", "other"])[: len(names)] == numbers


@given(STEMS, st.lists(st.floats(0, 1e6).map(lambda x: round(x, 2)), min_size=1, max_size=6, unique=True))
def test_a_hyphen_that_all_have_is_none(stem: str, numbers: list[float]) -> None:
    assert at([f"{stem}-{number}" for number in numbers]) == numbers
    assert at([f"{stem}-{number}" for number in numbers] + ["z1", "z-1"])[-2:] == [1, -1]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["y_lag-3", "y_lag0", "y_lag3"], [-3, 0, 3]),
        (["y_lag-1", "y_lag+1"], [-1, 1]),
        (["t-0.5", "t0.5"], [-0.5, 0.5]),
        (["depth-10", "depth-20", "lag-1", "lag1"], [10, 20, -1, 1]),
        (["depth--10", "depth-0", "depth-10"], [-10, 0, 10]),
        (["tol1e-3", "tol1e-2"], [0.001, 0.01]),
        (["2019-01", "2019-02", "2020-01"], [1, 2, 1]),
        (["-3", "3", "1e3"], [-3, 3, 1000]),
    ],
)
def test_positions_in_names(names: list[str], expected: list[float]) -> None:
    assert at(names) == expected


def test_the_shell_reads_lags(tmp_path: Path) -> None:
    names = [f"y_lag{lag}" for lag in (-3, -2, 3)]
    pd.DataFrame([range(4)], columns=[*names, "other"]).to_csv(tmp_path / "data.csv", index=False)
    result = CliRunner().invoke(main, ["derive", str(tmp_path / "data.csv"), "--as", "ordering", "--unit", "h"])
    assert result.stdout.splitlines()[0] == "y_lag-3: y_lag-2 > y_lag3  # 1 h against 6 h"
