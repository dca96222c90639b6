"""Laws of the knowledge file and of relations."""

import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreso import Direction, Knowledge, KnowledgeError, Relation
from moreso.relations import Statement

names = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    # What stands for something else, bare or in other places.
    st.sampled_from(
        ["<", "?", "<>", "a<b", "?x", ">", "@", "#", "{", "=", ",", ":", "\n", "a\nb", "@ 0.5", '"', "`", "\\"]
    ),
    st.sampled_from(["+", "-", "+x", "-x", "x-", "\u2212", "- x", "+-"]),
)


@st.composite
def relations(draw: st.DrawFn) -> Relation:
    pool = draw(st.lists(names, min_size=3, max_size=9, unique=True))
    cuts = sorted(draw(st.lists(st.integers(1, len(pool) - 1), min_size=2, max_size=2, unique=True)))
    parts = pool[: cuts[0]], pool[cuts[0] : cuts[1]], pool[cuts[1] :]
    confidence, reason = draw(st.floats(0, 1, exclude_min=True)), draw(st.text(st.characters(codec="utf-8")))
    return Relation(parts[0], parts[1], parts[2], confidence, reason)


@st.composite
def directions(draw: st.DrawFn) -> Direction:
    ref, other = draw(st.lists(names, min_size=2, max_size=2, unique=True))
    confidence, reason = draw(st.floats(0, 1, exclude_min=True)), draw(st.text(st.characters(codec="utf-8")))
    return Direction(ref, other, draw(st.sampled_from([1, -1])), confidence, reason)


def claim(statement: Statement) -> object:
    """What a text keeps once: a direction of a pair."""
    return (statement.pair, statement.sign) if isinstance(statement, Direction) else statement


@st.composite
def knowledges(draw: st.DrawFn) -> Knowledge:
    found = draw(st.lists(relations() | directions(), min_size=1, max_size=5, unique_by=claim))
    used = {name for relation in found for group in relation.groups for name in group}
    sides = [group for relation in found for group in relation.groups]
    words = draw(st.lists(names.filter(lambda name: name not in used), unique=True, max_size=3))
    return Knowledge(tuple(found), {word: sides[index % len(sides)] for index, word in enumerate(words)})


@given(knowledges())
def test_what_is_written_is_read_back(knowledge: Knowledge) -> None:
    assert Knowledge.parse(str(knowledge)) == knowledge


@given(relations() | directions())
def test_a_statement_as_text_is_read_back(statement: Statement) -> None:
    assert Knowledge.parse(str(statement)).statements == (statement,)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        Knowledge.parse(text)
    except KnowledgeError as error:
        assert all(problem.endswith((".", "'")) for problem in error.problems), error.problems  # noqa: PT017


def test_a_chain_is_its_neighbouring_pairs() -> None:
    chain = Knowledge.parse("t_out: t_in > {p, q} > ambient @ 0.5 # near to far")
    apart = Knowledge.parse("t_out: t_in > {p, q} @ 0.5 # near to far\nt_out: {p,q} > ambient @ 0.5 # near to far")
    assert chain == apart
    assert [relation.line for relation in chain] == [1, 1]


def laid_out(text: str, chance: random.Random) -> str:
    """Break lines wherever a statement goes on, with a comment now and then."""
    breaks = ["", " ", "\n", "\n  ", "  # near\n", "\n# near\n"]
    tokens = re.findall(r'"[^"]*"|`[^`]*`|[:>,=@{}]|[^\s:>,=@{}"`]+', text)
    found, in_braces = "", False
    for token in tokens:
        in_braces = token == "{" or (in_braces and token != "}")
        found += token + (chance.choice(breaks) if in_braces or token in ":><,=@{" else " ")
    return found


@given(st.randoms(use_true_random=False))
def test_a_statement_goes_on_in_the_next_line(chance: random.Random) -> None:
    group, chain = 'unit_a = "in flow", t_out,`p:>`', "t: {a, b, c} > {d,e} > unit_a @ 0.5"
    expected = [relation.groups for relation in Knowledge.parse(f"{group}\n{chain}")]
    for statement in (chain, "t: unit_a < {d, e} < {a, b, c} @ 0.5"):
        above, text = laid_out(group, chance), laid_out(statement, chance)
        knowledge = Knowledge.parse(f"{above}\n{text}\nx: y > z")
        assert [relation.groups for relation in knowledge] == [*expected, (("x",), ("y",), ("z",))]
        first = above.count("\n") + 2
        assert [relation.line for relation in knowledge] == [first, first, first + text.count("\n") + 1]
        near = " ".join(["near"] * text.count("#"))
        assert [relation.reason for relation in knowledge] == [near, near, ""]


def test_what_is_read_on_ends_where_it_cannot_go_on() -> None:
    known, problems = Knowledge.examine('a: {b, c\nd: e > f\ng: h > i >\n\nj: k > l\nm: n > "o\np: q > r')
    assert [problem.split(":")[0] for problem in problems] == [
        "line 2, column 1",
        "line 3, column 11",
        "line 6, column 8",
    ]
    assert known == Knowledge.parse("d: e > f\nj: k > l\np: q > r")


def test_every_other_mark_asks_for_more() -> None:
    for text in ("a:", "a: b <", "a: b ?", "a: b > c @", "a: {", "g =", "g = a,", "a: {b"):
        with pytest.raises(KnowledgeError, match=r"the end of the text.* so the statement goes on"):
            Knowledge.parse(text)


@given(knowledges())
def test_records_are_read_back(knowledge: Knowledge) -> None:
    assert Knowledge.from_records(knowledge.to_records(), knowledge.groups) == knowledge


@given(knowledges())
def test_a_frame_is_read_back(knowledge: Knowledge) -> None:
    frame = pd.DataFrame(knowledge.to_records())
    assert list(frame) == ["ref", "plus", "minus", "sign", "confidence", "reason"]
    assert Knowledge.from_records(frame, knowledge.groups) == knowledge
    # A relation is a data class, and pandas knows those.
    relations = list(knowledge.relations)
    assert Knowledge.from_records(pd.DataFrame(relations)).relations == tuple(relations)


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_a_missing_confidence_is_1_and_a_missing_reason_none(missing: object) -> None:
    rows = [{"ref": "a", "plus": ["b", "c"], "minus": np.array(["d"]), "confidence": missing, "reason": missing}]
    expected = Knowledge((Relation("a", ("b", "c"), "d"),))
    assert Knowledge.from_records(rows) == Knowledge.from_records(pd.DataFrame(rows)) == expected
    assert Knowledge.from_records([{"ref": "a", "plus": ("b", "c"), "minus": "d", "source": "x"}]) == expected


def test_a_named_group_stands_for_its_members() -> None:
    knowledge = Knowledge.parse("unit = a, b\nall = unit, c\nx: all > d\ny: {unit, e} > d")
    assert knowledge.relations == (Relation("x", ("a", "b", "c"), "d"), Relation("y", ("a", "b", "e"), "d"))
    assert knowledge.describe(knowledge.relations[0]) == "x: all > d"


def test_quotes_reasons_and_windows_line_ends() -> None:
    text = '"inlet temp (C)": "out: \\"x\\" #1" > `am>b`   @ .5e0  # why # not\r\n\r\n# only a comment\r\n'
    text = text.replace("@ .5e0", "@ 5e-1")
    (relation,) = Knowledge.parse(text)
    assert relation == Relation("inlet temp (C)", 'out: "x" #1', "am>b", confidence=0.5, reason="why # not")


def test_restrict_keeps_what_can_be_read() -> None:
    knowledge = Knowledge.parse("g = a, b\nx: g > c\nx: c > d")
    assert knowledge.restrict(["x", "a", "b", "c"]) == Knowledge.parse("g = a, b\nx: g > c")


def test_a_file_is_read_back(tmp_path: Path) -> None:
    knowledge = Knowledge.parse("Zulauf_°C: Vorlauf > `außen temp`  # Rohr")
    knowledge.write(tmp_path / "knowledge.txt")
    assert Knowledge.read(tmp_path / "knowledge.txt") == knowledge
    assert [path.name for path in tmp_path.iterdir()] == ["knowledge.txt"]


def test_a_text_with_problems_still_gives_its_readable_statements() -> None:
    known, problems = Knowledge.examine("a: b > c\na b\n")
    assert known == Knowledge.parse("a: b > c") and len(problems) == 1
    with pytest.raises(KnowledgeError) as caught:
        Knowledge.parse("a: b > c\na b\n")
    assert caught.value.problems == tuple(problems)


def test_names_come_as_any_iterable(tmp_path: Path) -> None:
    names, path = ["a", "b", "c"], tmp_path / "knowledge.txt"
    path.write_text('a: " b" > x')
    for text in (path.read_text(), Knowledge.read(path)):
        found = Knowledge.examine(text, iter(names))
        assert found == Knowledge.examine(text, names) and len(found[1]) == 1
    assert Knowledge.examine_file(path, iter(names)) == Knowledge.examine_file(path, pd.Index(names))
    assert len(Knowledge.read(path).problems(iter(names))) == 2
    path.write_text('a: " b" > c')
    with pytest.warns(UserWarning, match="was taken for the column 'b'"):
        known = Knowledge.parse(path.read_text(), iter(names)), Knowledge.read(path, dict.fromkeys(names))
    assert known[0] == known[1] and known[0].features == ("a", "b", "c")
