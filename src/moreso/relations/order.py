"""The order of pairs of groups that statements describe, to look at: as a tree, and for pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moreso.relations.errors import KnowledgeError
from moreso.relations.grammar import write_side
from moreso.relations.logic import Graph, acyclic
from moreso.relations.relation import Direction, Relation, Statement

RISES = {1: "(+)", -1: "(-)"}
"""How a tree marks a pair whose features rise together, and one of which one falls with the other."""


@dataclass(frozen=True)
class Arrow:
    """A relation, from the pair that depends more to the pair that depends less.

    Args:
        above: the position of the pair (ref, plus).
        below: the position of the pair (ref, minus).
        statement: the relation.
        follows: whether it follows from others.
        contradicts: whether it is part of a contradiction.
    """

    above: int
    below: int
    statement: Relation
    follows: bool = False
    contradicts: bool = False


@dataclass(frozen=True)
class Order:
    """The pairs that statements name, and their order.

    Args:
        pairs: the text of each pair, in order of first mention.
        arrows: the relations, in order.
        signs: position of a pair -> 1 if its features rise together, -1 if one falls with the other.
    """

    pairs: tuple[str, ...]
    arrows: tuple[Arrow, ...]
    signs: Mapping[int, int]

    def label(self, pair: int) -> str:
        """Return a pair with the mark of its direction, if it has one."""
        return f"{self.pairs[pair]} {RISES[self.signs[pair]]}" if pair in self.signs else self.pairs[pair]

    def tree(self) -> list[str]:
        """Return the lines of a tree: each pair above those that depend less, with the reason of the statement.

        Statements that follow from others are left out. A pair below several others has its own branch below the first
        alone.
        """
        below: dict[int, list[Arrow]] = {}
        for arrow in self.arrows:
            if not arrow.follows:
                below.setdefault(arrow.above, []).append(arrow)
        lower = {arrow.below for arrow in self.arrows}
        lines: list[str] = []
        drawn: set[int] = set()
        for root in (pair for pair in range(len(self.pairs)) if pair not in lower):
            lines.append(self.label(root))
            drawn.add(root)
            # No recursion: chains of thousands of statements are ordinary.
            open_ = [("", below.get(root, []), 0)]
            while open_:
                indent, arrows, place = open_.pop()
                if place == len(arrows):
                    continue
                arrow, last = arrows[place], place + 1 == len(arrows)
                open_.append((indent, arrows, place + 1))
                again = arrow.below in drawn and arrow.below in below
                reason = f"  # {arrow.statement.reason}" if arrow.statement.reason else ""
                more = " ..." if again else ""
                lines.append(f"{indent}{'└─ ' if last else '├─ '}{self.label(arrow.below)}{more}{reason}")
                if not again:
                    open_.append((indent + ("   " if last else "│  "), below.get(arrow.below, []), 0))
                drawn.add(arrow.below)
        return lines


def order_pairs(
    statements: Sequence[Statement],
    names: Mapping[tuple[str, ...], str],
    contradictions: Sequence[Sequence[Statement]] = (),
) -> Order:
    """Return the order of the pairs of groups that statements name.

    Args:
        statements: the statements.
        names: names of groups.
        contradictions: statements that contradict each other; if there are any, nothing is said to follow.
    """
    try:
        graph = acyclic(statements)
        redundant = graph.redundant()
    except KnowledgeError:
        graph = Graph([statement for statement in statements if isinstance(statement, Relation)])
        redundant = {}
    wrong = {id(statement) for cycle in contradictions for statement in cycle}
    arrows = tuple(
        Arrow(above, below, relation, index in redundant, id(relation) in wrong)
        for index, ((above, below), relation) in enumerate(zip(graph.arrows, graph.relations, strict=True))
    )
    place = {pair: index for index, pair in enumerate(graph.pairs)}
    texts: dict[int, str] = {}
    for arrow in arrows:
        ref, plus, minus = (names.get(group) or write_side(group) for group in arrow.statement.groups)
        texts.setdefault(arrow.above, f"{ref} and {plus}")
        texts.setdefault(arrow.below, f"{ref} and {minus}")
    signs: dict[int, int] = {}
    for each in statements:
        if isinstance(each, Direction):
            pair = place.setdefault(frozenset(map(frozenset, each.groups)), len(place))
            texts.setdefault(pair, " and ".join(map(write_side, each.groups)))
            signs.setdefault(pair, each.sign)
    return Order(tuple(texts[pair] for pair in range(len(texts))), arrows, signs)
