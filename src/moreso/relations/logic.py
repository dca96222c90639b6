"""What contradicts what, and what follows from what.

A statement `ref: plus > minus` orders two dependences, and a dependence has no direction, so that it is an arrow from
the pair {ref, plus} to the pair {ref, minus}; a group is a set of names. A circle of arrows is a contradiction, and a
path implies every statement between its ends. Nothing follows from a group to its members or back.

No function calls itself: ten thousand statements in one chain are an ordinary input.
"""

import math
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import pairwise

from moreso.relations.errors import KnowledgeError
from moreso.relations.relation import Relation

Group = frozenset[str]
Pair = frozenset[Group]
Way = tuple[float, int, int]
"""The end of a path: its least confidence, minus its steps, minus the index of its last statement. Larger is better."""


class Graph:
    """Statements as arrows between pairs, the pairs numbered in the order of first mention.

    Args:
        relations: the statements; everything here speaks of them by index.
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
        # Of a statement that is made several times the surest counts, and of equals the first.
        self.after: list[dict[int, int]] = [{} for _ in self.pairs]
        for index, (above, below) in enumerate(self.arrows):
            rival = self.after[above].setdefault(below, index)
            if relations[index].confidence > relations[rival].confidence:
                self.after[above][below] = index

    def search(self) -> tuple[list[int], list[int]]:
        """Walk the graph in depth; return its pairs, finished last first, and the pairs at which a circle closes.

        Without circles, the order is one in which every arrow points onwards.
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

    def knots(self, order: Sequence[int]) -> list[int]:
        """Return for each pair the number of its strongly connected component (Kosaraju and Sharir)."""
        before: list[list[int]] = [[] for _ in self.pairs]
        for above, below in self.arrows:
            before[below].append(above)
        knot = [-1] * len(self.pairs)
        for root in order:
            if knot[root] >= 0:
                continue
            knot[root] = root
            members = [root]
            for pair in members:
                for other in before[pair]:
                    if knot[other] < 0:
                        knot[other] = root
                        members.append(other)
        return knot

    def circles(self) -> list[list[int]]:
        """Return of each knot a shortest circle, from its first statement on; in the order of these."""
        order, closing = self.search()
        if not closing:
            return []
        knot = self.knots(order)
        shortest: dict[int, list[int]] = {}
        # Every circle passes a pair at which the search saw one close, so no other beginnings need be tried.
        for pair in closing:
            limit = len(shortest[knot[pair]]) if knot[pair] in shortest else math.inf
            if circle := self._circle(pair, knot, limit):
                shortest[knot[pair]] = circle
        found = []
        for circle in shortest.values():
            first = circle.index(min(circle))
            found.append(circle[first:] + circle[:first])
        return sorted(found)

    def _circle(self, start: int, knot: Sequence[int], limit: float) -> list[int] | None:
        """Return a shortest circle through a pair, or None where none is shorter than `limit`."""
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
                    if other not in came_from and knot[other] == knot[start]:
                        came_from[other] = pair
                        following.append(other)
            level, length = following, length + 1
        return None

    def redundant(self) -> dict[int, tuple[int, ...]]:
        """Return each statement that follows from others at least as sure, with these; there are no circles."""
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

    def closure(self, describe: Callable[[Relation], str]) -> list[Relation]:
        """Return every statement that is made or follows, once, as sure as its surest way; there are no circles."""
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
        return [stated[index] for index in sorted(stated)] + implied

    def _rank(self) -> list[int]:
        rank = [0] * len(self.pairs)
        for place, pair in enumerate(self.search()[0]):
            rank[pair] = place
        return rank

    def _ways(self, source: int, rank: Sequence[int], last: float) -> tuple[dict[int, Way], dict[int, Way]]:
        """Return the best way from a pair to each that it reaches, and the best of two or more steps.

        Args:
            source: the pair.
            rank: places of the pairs in an order in which every arrow points onwards.
            last: pairs of a higher rank do not matter.
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
        """Return the statements of a way, from its beginning."""
        steps = []
        while way[1] < 0:
            steps.append(-way[2])
            way = best[self.arrows[steps[-1]][0]]
        return tuple(reversed(steps))

    def _sides(self, above: int, below: int) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None:
        """Return ref, plus and minus of the statement between two pairs, or None where none can be written."""
        upper, lower = self.pairs[above], self.pairs[below]
        if len(upper & lower) != 1:
            return None
        (ref,), (plus,), (minus,) = upper & lower, upper - lower, lower - upper
        return (self.written[ref], self.written[plus], self.written[minus]) if plus.isdisjoint(minus) else None


def acyclic(relations: Sequence[Relation]) -> Graph:
    """Return the graph of statements that do not contradict each other.

    Raises:
        KnowledgeError: they do; of each knot a shortest circle.
    """
    graph = Graph(relations)
    if circles := graph.circles():
        raise KnowledgeError(explain_contradiction([relations[index] for index in circle]) for circle in circles)
    return graph


def explain_contradiction(circle: Sequence[Relation]) -> str:
    """Return the sentence for statements that cannot all be true.

    >>> print(explain_contradiction([Relation("a", "b", "c", line=1), Relation("a", "c", "b", line=7)]))
    line 1: 'a: b > c' and line 7: 'a: c > b' contradict each other: they cannot both be true. Drop or turn one.
    """
    told = _listed([relation.where for relation in circle], most=None)
    rule = "they cannot both be true" if len(circle) == 2 else "each dependence would exceed the next, in a circle"
    return f"{told} contradict each other: {rule}. Drop or turn {'one' if len(circle) == 2 else 'at least one'}."


def explain_redundancy(relation: Relation, grounds: Sequence[Relation]) -> str:
    """Return the sentence for a statement that follows from others.

    >>> print(explain_redundancy(Relation("a", "b", "c", line=7), [Relation("a", "b", "c", line=1)]))
    line 7: 'a: b > c' repeats line 1: 'a: b > c'. It can be left out.
    """
    verb = "repeats" if len(grounds) == 1 else "follows from"
    return f"{relation.where} {verb} {_listed([ground.where for ground in grounds])}. It can be left out."


def _listed(texts: Sequence[str], most: int | None = 4) -> str:
    """Return texts as a list in words, the middle of a long one by its number."""
    if most is not None and len(texts) > most:
        texts = [*texts[: most - 2], f"{len(texts) - most + 1} more", texts[-1]]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
