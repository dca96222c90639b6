"""Laws of what contradicts what and of what follows from what."""

import random
from collections.abc import Sequence
from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moreso import Knowledge, KnowledgeError, Relation
from tests.oracles import Pair, implied_statements, is_circle, shortest_circle, statement

# Two of them share a feature, and two are one group in another order.
GROUPS = [("a",), ("b",), ("c",), ("d",), ("e", "f"), ("f", "e"), ("a", "g")]
TRIPLES = [
    (ref, plus, minus)
    for ref in GROUPS
    for plus, minus in combinations(GROUPS, 2)
    if len({*ref, *plus, *minus}) == len(ref) + len(plus) + len(minus)
]
CONFIDENCES = st.sampled_from([0.3, 0.5, 0.9, 1.0])


@st.composite
def knowledges(draw: st.DrawFn, *, acyclic: bool, most: int) -> Knowledge:
    """Statements in any order, with repeats; acyclic ones all go down one ranking of the pairs."""
    found: list[Relation] = []
    rank = random.Random(draw(st.integers(0, 2**32)))
    places: dict[frozenset[frozenset[str]], float] = {}
    for ref, plus, minus in draw(st.lists(st.sampled_from(TRIPLES), max_size=most)):
        forth = Relation(ref, plus, minus, draw(CONFIDENCES), line=len(found) + 1)
        back = Relation(ref, minus, plus, forth.confidence, line=forth.line)
        above, below = (places.setdefault(pair, rank.random()) for pair in statement(forth))
        found.append(forth if (above > below if acyclic else draw(st.booleans())) else back)
    return Knowledge(tuple(found))


def statements(knowledge: Knowledge) -> dict[tuple[Pair, Pair], float]:
    """Statements and their confidences, whatever their words; each must stand once."""
    found = {statement(relation): relation.confidence for relation in knowledge.relations}
    assert len(found) == len(knowledge)
    return found


def chain(names: Sequence[str], ref: str = "ref") -> list[Relation]:
    return [Relation(ref, above, below) for above, below in pairwise(names)]


@given(knowledges(acyclic=True, most=30))
def test_what_follows_one_ranking_has_no_contradiction(knowledge: Knowledge) -> None:
    assert knowledge.contradictions() == ()


@given(knowledges(acyclic=False, most=6))
def test_contradictions_are_the_shortest_circles(knowledge: Knowledge) -> None:
    found = knowledge.contradictions()
    assert bool(found) == (shortest_circle(knowledge.relations) is not None)
    lengths = [len(circle) for circle in found]
    if found:
        assert min(lengths) == shortest_circle(knowledge.relations)
    circles = [Knowledge(circle).relations for circle in found]
    for circle in circles:
        assert is_circle(circle)
        assert set(circle) <= set(knowledge)
    # Each knot of statements gives one, and they share no pair.
    pairs = [{pair for relation in circle for pair in statement(relation)} for circle in circles]
    assert sum(map(len, pairs)) == len(set().union(*pairs))


@given(st.integers(2, 9), st.integers(0, 40), st.randoms(use_true_random=False))
def test_a_planted_circle_is_found_among_true_statements(length: int, others: int, chance: random.Random) -> None:
    # One statement back over a chain that has no shortcut makes one circle; nothing else makes any.
    names = [f"f{i}" for i in range(50)]
    planted = [*chain(names[:length]), Relation("ref", names[length - 1], names[0])]
    triples = [chance.sample(range(50), 3) for _ in range(others)]
    true = [Relation(f"f{a}", *((f"f{b}", f"f{c}") if b < c else (f"f{c}", f"f{b}"))) for a, b, c in triples]
    # The pairs of `true` are ranked by the sum of their numbers, so that they make no circle of their own.
    relations = planted + true
    chance.shuffle(relations)
    (found,) = Knowledge(tuple(relations)).contradictions()
    circle = Knowledge(found).relations
    assert len(circle) == length
    assert set(circle) == set(planted)
    assert relations.index(circle[0]) == min(map(relations.index, circle))


def test_a_circle_begins_with_its_first_statement() -> None:
    # The search comes upon the circle from line 1, and so in its middle.
    knowledge = Knowledge.parse("a: p > c\na: b > c\na: c > b")
    assert [[relation.line for relation in circle] for circle in knowledge.contradictions()] == [[2, 3]]


@given(st.integers(3, 30), st.randoms(use_true_random=False))
def test_the_shortest_of_several_circles_is_found(length: int, chance: random.Random) -> None:
    # A long ring with one shortcut: the knot's shortest circle goes over it.
    names = [f"f{i}" for i in range(length)]
    ring = [*chain(names), Relation("ref", names[-1], names[0])]
    start, end = sorted(chance.sample(range(length), 2))
    assume(end - start < length - 1)
    back = Relation("ref", names[end], names[start])
    relations = [*ring, back]
    chance.shuffle(relations)
    (circle,) = Knowledge(tuple(relations)).contradictions()
    assert len(circle) == end - start + 1
    assert back in circle


@given(knowledges(acyclic=True, most=8))
def test_the_closure_is_every_statement_that_follows(knowledge: Knowledge) -> None:
    assert statements(knowledge.closure()) == implied_statements(knowledge.relations)


@given(knowledges(acyclic=True, most=12))
def test_the_reduction_loses_nothing(knowledge: Knowledge) -> None:
    closure, reduction = knowledge.closure(), knowledge.reduction()
    assert statements(reduction.closure()) == statements(closure)
    assert statements(closure.reduction()) == statements(reduction)
    assert reduction.reduction() == reduction
    assert closure.closure() == closure


@given(knowledges(acyclic=True, most=8))
def test_the_reduction_holds_nothing_to_spare(knowledge: Knowledge) -> None:
    reduction = knowledge.reduction()
    whole = implied_statements(reduction.relations)
    for index in range(len(reduction)):
        rest = reduction.relations[:index] + reduction.relations[index + 1 :]
        assert implied_statements(rest) != whole


@given(knowledges(acyclic=True, most=12))
def test_a_redundant_statement_follows_from_what_is_named(knowledge: Knowledge) -> None:
    found = knowledge.redundancies()
    for relation, grounds in found:
        above, below = statement(Knowledge((relation,)).relations[0])
        path = [statement(ground) for ground in Knowledge(grounds).relations]
        assert (path[0][0], path[-1][1]) == (above, below)
        assert all(one[1] == other[0] for one, other in pairwise(path))
        assert min(ground.confidence for ground in grounds) >= relation.confidence
        assert relation.line not in [ground.line for ground in grounds]
    left_out = {relation.line for relation, _ in found}
    assert knowledge.reduction().relations == tuple(each for each in knowledge if each.line not in left_out)


def test_of_repeats_the_surest_is_kept_then_the_first() -> None:
    knowledge = Knowledge.parse("a: b > c @ 0.5\na: c < b @ 0.8 # kept\na: b > c @ 0.8")
    assert [relation.line for relation in knowledge.reduction()] == [2]
    assert [(relation.line, ground.line) for relation, (ground,) in knowledge.redundancies()] == [(1, 2), (3, 2)]
    assert str(knowledge.closure()) == "a: b > c  @ 0.8  # kept"


def test_a_surer_way_lifts_a_statement_and_keeps_its_reason() -> None:
    knowledge = Knowledge.parse("a: b > c > d @ 0.9\na: b > d @ 0.5 # a guess\na: b > e @ 1")
    assert [relation.line for relation in knowledge.reduction()] == [1, 1, 3]
    assert str(knowledge.closure()).splitlines()[2] == (
        "a: b > d  @ 0.9  # a guess; follows from 'a: b > c' and 'a: c > d'"
    )
    surer = Knowledge.parse("a: b > c > d @ 0.9\na: b > d")
    assert surer.reduction() == surer.closure() == surer


def test_either_of_a_pair_may_be_the_reference() -> None:
    # {a, uv} > {a, c} > {b, c} > {a, b}, the third of which shares a group with its neighbours alone.
    knowledge = Knowledge.parse("{v, u}: a > d\na: {u, v} > c\nc: b < a\nb: c > a")
    assert [str(relation) for relation in knowledge.closure()][len(knowledge) :] == [
        "a: {v, u} > b  # follows from 'a: {u, v} > c', 'c: a > b' and 'b: c > a'",
        "a: c > b  # follows from 'c: a > b' and 'b: c > a'",
    ]


def test_long_chains_are_no_matter() -> None:
    names = [f"f{i}" for i in range(5000)]
    long = Knowledge(tuple(chain(names)))
    assert long.contradictions() == ()
    assert long.reduction() == long
    (circle,) = Knowledge((*long, Relation("ref", names[-1], names[0]))).contradictions()
    assert len(circle) == 5000
    ends = Knowledge((*long, Relation("ref", names[0], names[-1])))
    assert [len(grounds) for _, grounds in ends.redundancies()] == [4999]


def test_the_reason_of_what_follows_stays_short() -> None:
    closure = Knowledge(tuple(chain([f"f{i}" for i in range(8)]))).closure()
    (ends,) = (relation for relation in closure.relations if (relation.plus, relation.minus) == (("f0",), ("f7",)))
    assert ends.reason == "follows from 'ref: f0 > f1', 'ref: f1 > f2', 4 more and 'ref: f6 > f7'"


@pytest.mark.parametrize("method", ["reduction", "closure", "redundancies"])
def test_nothing_follows_from_contradictions_and_all_are_told(method: str) -> None:
    knowledge = Knowledge.parse("a: b > c > b\nx: y > z > y")
    with pytest.raises(KnowledgeError) as caught:
        getattr(knowledge, method)()
    assert len(caught.value.problems) == 2


def drawn(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return the arrows that a tree draws, as text of both pairs."""
    found, above = [], [""]
    for line in lines:
        label = line.lstrip("│├└─ ")
        depth = (len(line) - len(label)) // 3
        text = label.removesuffix(" ...")
        above[depth:] = [text]
        if depth:
            found.append((above[depth - 1], text))
    return found


@given(knowledges(acyclic=True, most=12))
def test_a_tree_draws_each_statement_that_does_not_follow_from_others_once(knowledge: Knowledge) -> None:
    order = knowledge.order()
    expected = [(order.pairs[arrow.above], order.pairs[arrow.below]) for arrow in order.arrows if not arrow.follows]
    assert sorted(drawn(order.tree())) == sorted(expected)
    assert [arrow.statement for arrow in order.arrows if not arrow.follows] == list(knowledge.reduction())
    assert len(set(order.pairs)) == len(order.pairs)


@given(knowledges(acyclic=False, most=8))
def test_an_order_marks_what_contradicts(knowledge: Knowledge) -> None:
    order = knowledge.order()
    wrong = {id(each) for cycle in knowledge.contradictions() for each in cycle}
    assert {id(arrow.statement) for arrow in order.arrows if arrow.contradicts} == wrong
    if wrong:
        assert not any(arrow.follows for arrow in order.arrows)


def test_a_long_chain_has_a_tree() -> None:
    chain = Knowledge.parse("a: " + " > ".join(f"b{number}" for number in range(2000)))
    assert len(chain.order().tree()) == 2000


def test_directions_mark_their_pairs() -> None:
    assert Knowledge.parse("a: +b > -c\nd: -e\nb: +a").order().tree() == [
        "a and b (+)",
        "└─ a and c (-)",
        "d and e (-)",
    ]
