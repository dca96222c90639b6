"""Contradictions between statements, and statements that follow from others.

A statement `ref: plus > minus` orders two dependences, and a dependence has no direction. So the statement is an arrow
from the pair {ref, plus} to the pair {ref, minus}, where a group is a set of names. A cycle of arrows is a
contradiction, and a path implies the statement between its ends. A statement about a group implies nothing about its
members, and vice versa.

Two directions of one pair contradict each other if their signs differ. Nothing else follows from directions.

No function is recursive, since ten thousand statements in one chain are an ordinary input.
"""

import math
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import pairwise

from moreso.relations.errors import KnowledgeError
from moreso.relations.relation import Direction, Relation, Statement

Group = frozenset[str]
Pair = frozenset[Group]
Way = tuple[float, int, int]
"""A path's end: its least confidence, negative length, and negative index of its last statement; larger is better."""


class Graph:
    """Statements as arrows between pairs, which are numbered in the order of first mention.

    Args:
        relations: the statements; all methods refer to them by index.
    """

    def __init__(self, relations: Sequence[Relation]) -> None:
        self.relations = relations
        self.written: dict[Group, tuple[str, ...]] = {}
        numbers: dict[Pair, int] = {}
        self.arrows: list[tuple[int, int]] = []
        for relation in relations:
            ref, plus, minus = (frozenset(names) for names in relation.groups)
            for group, names in zip((ref, plus, minus), relation.groups, strict=True):
                self.written.setdefault(group, names)
            ends = [numbers.setdefault(frozenset((ref, side)), len(numbers)) for side in (plus, minus)]
            self.arrows.append((ends[0], ends[1]))
        self.pairs = list(numbers)
        # Of repeated statements, the most confident counts, and among equals the first.
        self.after: list[dict[int, int]] = [{} for _ in self.pairs]
        for index, (above, below) in enumerate(self.arrows):
            rival = self.after[above].setdefault(below, index)
            if relations[index].confidence > relations[rival].confidence:
                self.after[above][below] = index

    def search(self) -> tuple[list[int], list[int]]:
        """Search depth-first; return the pairs, last finished first, and the pairs at which a cycle closes.

        Without cycles, this is a topological order: every arrow points forward.
        """
        new, open_, finished = range(3)
        state = [new] * len(self.pairs)
        order: list[int] = []
        closing: dict[int, None] = {}
        for root in range(len(self.pairs)):
            if state[root] != new:
                continue
            state[root] = open_
            stack = [(root, iter(self.after[root]))]
            while stack:
                pair, rest = stack[-1]
                for other in rest:
                    if state[other] == new:
                        state[other] = open_
                        stack.append((other, iter(self.after[other])))
                        break
                    if state[other] == open_:
                        closing[other] = None
                else:
                    stack.pop()
                    state[pair] = finished
                    order.append(pair)
        return order[::-1], list(closing)

    def components(self, order: Sequence[int]) -> list[int]:
        """Return for each pair the number of its strongly connected component (Kosaraju and Sharir)."""
        before: list[list[int]] = [[] for _ in self.pairs]
        for above, below in self.arrows:
            before[below].append(above)
        component = [-1] * len(self.pairs)
        for root in order:
            if component[root] >= 0:
                continue
            component[root] = root
            members = [root]
            for pair in members:
                for other in before[pair]:
                    if component[other] < 0:
                        component[other] = root
                        members.append(other)
        return component

    def cycles(self) -> list[list[int]]:
        """Return a shortest cycle of each strongly connected component, in the order of their first statements."""
        order, closing = self.search()
        if not closing:
            return []
        component = self.components(order)
        shortest: dict[int, list[int]] = {}
        # Every cycle contains a pair at which the search saw one close, so no other starts need to be tried.
        for pair in closing:
            limit = len(shortest[component[pair]]) if component[pair] in shortest else math.inf
            if cycle := self._cycle(pair, component, limit):
                shortest[component[pair]] = cycle
        found = []
        for cycle in shortest.values():
            first = cycle.index(min(cycle))
            found.append(cycle[first:] + cycle[:first])
        return sorted(found)

    def _cycle(self, start: int, component: Sequence[int], limit: float) -> list[int] | None:
        """Return a shortest cycle through a pair, or None if no cycle is shorter than `limit`."""
        came_from = {start: start}
        level, length = [start], 1
        while level and length < limit:
            following = []
            for pair in level:
                for other in self.after[pair]:
                    if other == start:
                        path = [start, pair]
                        while path[-1] != start:
                            path.append(came_from[path[-1]])
                        return [self.after[above][below] for above, below in pairwise(reversed(path))]
                    if other not in came_from and component[other] == component[start]:
                        came_from[other] = pair
                        following.append(other)
            level, length = following, length + 1
        return None

    def redundant(self) -> dict[int, tuple[int, ...]]:
        """Return each statement that follows from others at least as confident, with these; requires no cycles."""
        found: dict[int, tuple[int, ...]] = {}
        for index, (above, below) in enumerate(self.arrows):
            if self.after[above][below] != index:
                found[index] = (self.after[above][below],)
        rank = self._rank()
        for above, direct in enumerate(self.after):
            if len(direct) < 2:
                continue
            best, roundabout = self._ways(above, rank, max(rank[below] for below in direct))
            for below, index in direct.items():
                if below in roundabout and roundabout[below][0] >= self.relations[index].confidence:
                    found[index] = self._steps(roundabout[below], best)
        return found

    def closure(self, describe: Callable[[Relation], str]) -> tuple[dict[int, Relation], list[Relation]]:
        """Return all given and all implied statements once, with the confidence of the best path; requires no cycles.

        Given statements are returned with their index.
        """
        rank = self._rank()
        stated: dict[int, Relation] = {}
        implied: list[Relation] = []
        for above, direct in enumerate(self.after):
            best, _ = self._ways(above, rank, math.inf)
            for below in sorted(best.keys() - {above}):
                sureness, steps, _ = best[below]
                if steps == -1:
                    stated[direct[below]] = self.relations[direct[below]]
                    continue
                sides = self._sides(above, below)
                if sides is None:
                    continue
                texts = [f"'{describe(self.relations[index])}'" for index in self._steps(best[below], best)]
                reason = f"follows from {_listed(texts)}"
                if below in direct:
                    own = self.relations[direct[below]]
                    reason = f"{own.reason}; {reason}" if own.reason else reason
                    stated[direct[below]] = Relation(*own.groups, sureness, reason)
                else:
                    implied.append(Relation(*sides, sureness, reason))
        return stated, implied

    def _rank(self) -> list[int]:
        rank = [0] * len(self.pairs)
        for place, pair in enumerate(self.search()[0]):
            rank[pair] = place
        return rank

    def _ways(self, source: int, rank: Sequence[int], last: float) -> tuple[dict[int, Way], dict[int, Way]]:
        """Return the best path from a pair to each pair that it reaches, and the best path of two or more steps.

        Args:
            source: the pair.
            rank: positions of the pairs in a topological order.
            last: pairs of a higher rank are ignored.
        """
        best: dict[int, Way] = {source: (math.inf, 0, 0)}
        roundabout: dict[int, Way] = {}
        waiting = [(rank[source], source)]
        while waiting:
            _, pair = heappop(waiting)
            sureness, steps, _ = best[pair]
            for other, index in self.after[pair].items():
                if rank[other] > last:
                    continue
                way = (min(sureness, self.relations[index].confidence), steps - 1, -index)
                if pair != source and (other not in roundabout or way > roundabout[other]):
                    roundabout[other] = way
                if other not in best:
                    heappush(waiting, (rank[other], other))
                if other not in best or way > best[other]:
                    best[other] = way
        return best, roundabout

    def _steps(self, way: Way, best: dict[int, Way]) -> tuple[int, ...]:
        """Return the statements of a path, from its start."""
        steps = []
        while way[1] < 0:
            steps.append(-way[2])
            way = best[self.arrows[steps[-1]][0]]
        return tuple(reversed(steps))

    def _sides(self, above: int, below: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None:
        """Return ref, plus and minus of the statement between two pairs, or None if it cannot be written."""
        upper, lower = self.pairs[above], self.pairs[below]
        if len(upper & lower) != 1:
            return None
        (ref,), (plus,), (minus,) = upper & lower, upper - lower, lower - upper
        return (self.written[ref], self.written[plus], self.written[minus]) if plus.isdisjoint(minus) else None


def acyclic(statements: Sequence[Statement]) -> Graph:
    """Return the graph of the relations among statements that do not contradict each other.

    Raises:
        KnowledgeError: they do; the error names opposite directions, and a shortest cycle of each strongly connected
            component.
    """
    graph = Graph([statement for statement in statements if isinstance(statement, Relation)])
    cycles: list[list[Statement]] = [[graph.relations[index] for index in cycle] for cycle in graph.cycles()]
    cycles += [[statements[index] for index in pair] for pair in find_opposites(statements)]
    if cycles:
        raise KnowledgeError(map(explain_contradiction, cycles))
    return graph


def find_opposites(statements: Sequence[Statement]) -> list[list[int]]:
    """Return the positions of directions that contradict each other: of each pair, the first with either sign."""
    first: dict[frozenset[str], dict[int, int]] = {}
    for index, statement in enumerate(statements):
        if isinstance(statement, Direction):
            first.setdefault(statement.pair, {}).setdefault(statement.sign, index)
    return [sorted(signs.values()) for signs in first.values() if len(signs) > 1]


def find_repeated_directions(statements: Sequence[Statement]) -> dict[int, int]:
    """Return the positions of directions that another repeats: the most confident, and among equals the first."""
    found = [(index, each) for index, each in enumerate(statements) if isinstance(each, Direction)]
    best: dict[tuple[frozenset[str], int], int] = {}
    for index, each in sorted(found, key=lambda pair: (-pair[1].confidence, pair[0])):
        best.setdefault((each.pair, each.sign), index)
    return {index: best[each.pair, each.sign] for index, each in found if best[each.pair, each.sign] != index}


def explain_contradiction(cycle: Sequence[Statement]) -> str:
    """Return the sentence for statements that cannot all be true.

    >>> print(explain_contradiction([Relation("a", "b", "c", line=1), Relation("a", "c", "b", line=7)]))
    line 1: 'a: b > c' and line 7: 'a: c > b' contradict each other: they cannot both be true. Drop or turn one.
    >>> print(explain_contradiction([Direction("a", "b", 1), Direction("b", "a", -1)]))
    'a: +b' and 'b: -a' contradict each other: they cannot both be true. Drop or turn one.
    """
    listed = _listed([relation.where for relation in cycle], most=None)
    rule = "they cannot both be true" if len(cycle) == 2 else "each dependence would exceed the next, in a cycle"
    return f"{listed} contradict each other: {rule}. Drop or turn {'one' if len(cycle) == 2 else 'at least one'}."


def explain_redundancy(statement: Statement, grounds: Sequence[Statement]) -> str:
    """Return the sentence for a statement that follows from others.

    >>> print(explain_redundancy(Relation("a", "b", "c", line=7), [Relation("a", "b", "c", line=1)]))
    line 7: 'a: b > c' repeats line 1: 'a: b > c'. It can be left out.
    """
    verb = "repeats" if len(grounds) == 1 else "follows from"
    return f"{statement.where} {verb} {_listed([ground.where for ground in grounds])}. It can be left out."


def explain_left_out(statement: str) -> str:
    """Return the sentence about a statement that was not trained.

    Args:
        statement: as text.
    """
    return (
        f"'{statement}' was left out of training: the training rows contradict it. Look at its reason again, or obey "
        "it all the same with trust 'all'."
    )


def _listed(texts: Sequence[str], most: int | None = 4) -> str:
    """Return texts as a list in words; a long list gives only the number of the texts in the middle."""
    if most is not None and len(texts) > most:
        texts = [*texts[: most - 2], f"{len(texts) - most + 1} more", texts[-1]]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
