"""One relation between groups of features, and how it is written."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from moreso.relations.errors import KnowledgeError
from moreso.relations.grammar import write_name, write_side

Names = str | Iterable[str]
"""One feature, or a group of them."""


@dataclass(frozen=True, init=False)
class Relation:
    """One statement: `ref` depends on `plus` more than on `minus`.

    Each of the three is a group of one or more features; no feature may be in two of them.

    Args:
        ref: the name or names whose dependence is compared.
        plus: the name or names on which `ref` depends more.
        minus: the name or names on which `ref` depends less.
        confidence: how sure the person is, in (0, 1].
        reason: why the statement holds, in the person's words; kept on one line.
        line: the line of the knowledge file, for messages; ignored by comparisons.

    Raises:
        KnowledgeError: a group is empty, groups overlap, a name is repeated, or the confidence is outside (0, 1].

    References:
        Takeishi & Kawahara, "Knowledge-Based Regularization in Generative Modeling", IJCAI 2020: the triple.

    >>> print(Relation("outlet", "inlet", ("wind", "rain"), confidence=0.8, reason="insulated pipe"))
    outlet: inlet > {wind, rain}  @ 0.8  # insulated pipe
    """

    ref: tuple[str, ...]
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    confidence: float = 1.0
    reason: str = ""
    line: int | None = field(default=None, compare=False, repr=False)

    def __init__(
        self,
        ref: Names,
        plus: Names,
        minus: Names,
        confidence: float = 1.0,
        reason: str = "",
        line: int | None = None,
    ) -> None:
        for name, names in (("ref", ref), ("plus", plus), ("minus", minus)):
            object.__setattr__(self, name, (names,) if isinstance(names, str) else tuple(names))
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "reason", " ".join(reason.split()))
        object.__setattr__(self, "line", line)
        if problems := self._problems():
            raise KnowledgeError(f"{self.where}: {problem}" for problem in problems)

    def _problems(self) -> list[str]:
        problems: list[str] = []
        for words, group in (("reference", self.ref), ("stronger side", self.plus), ("weaker side", self.minus)):
            if not group:
                problems.append(f"the {words} is empty. Name at least one feature.")
            problems += [f"the {words} names '{name}' twice. Name it once." for name in repeated(group)]
        for (one, left), (two, right) in combinations(
            (("reference", self.ref), ("stronger side", self.plus), ("weaker side", self.minus)), 2
        ):
            remedy = "Leave it out of one of them." if len(left + right) > 2 else "Name another feature in one of them."
            problems += [f"'{name}' stands in the {one} and in the {two}. {remedy}" for name in left if name in right]
        if not 0 < self.confidence <= 1:
            problems.append(f"the confidence must be in (0, 1], got {self.confidence}. Write for example 0.8.")
        return problems

    @property
    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The three groups, in the order ref, plus, minus."""
        return self.ref, self.plus, self.minus

    @property
    def where(self) -> str:
        """How messages name this relation: its line if it came from a file, and its text."""
        text = f"'{write_order(self, {})}'"
        return text if self.line is None else f"line {self.line}: {text}"

    def __str__(self) -> str:
        return write_relation(self, {})


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def write_order(relation: Relation, names: Mapping[tuple[str, ...], str]) -> str:
    """Return `ref: plus > minus`, with names for groups that have one."""
    ref, plus, minus = (write_name(names[side]) if side in names else write_side(side) for side in relation.groups)
    return f"{ref}: {plus} > {minus}"


def write_relation(relation: Relation, names: Mapping[tuple[str, ...], str]) -> str:
    """Return the whole line: the order, the confidence if it is below 1, and the reason."""
    confidence = f"  @ {relation.confidence}" if relation.confidence < 1 else ""
    reason = f"  # {relation.reason}" if relation.reason else ""
    return write_order(relation, names) + confidence + reason
