"""Statements: the order of two dependences, or the direction of one; and how they are written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from moreso.relations.errors import KnowledgeError
from moreso.relations.grammar import write_direction, write_name, write_side

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
    >>> relation = Relation("outlet", "inlet", "wind")
    >>> print(relation.converse(), "|", relation.renamed(str.upper), "|", relation.where)
    outlet: wind > inlet | OUTLET: INLET > WIND | 'outlet: inlet > wind'
    >>> relation.groups
    (('outlet',), ('inlet',), ('wind',))
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
        return problems + _confidence_problems(self.confidence)

    @property
    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The three groups, in the order ref, plus, minus."""
        return self.ref, self.plus, self.minus

    @property
    def where(self) -> str:
        """How messages name this relation: its line if it came from a file, and its text."""
        return _where(self)

    def converse(self) -> "Relation":
        """Return the opposite statement, without its reason."""
        return Relation(self.ref, self.minus, self.plus, self.confidence)

    def renamed(self, rename: Callable[[str], str]) -> "Relation":
        """Return the same statement with other names."""
        ref, plus, minus = (tuple(map(rename, group)) for group in self.groups)
        return Relation(ref, plus, minus, self.confidence, self.reason, self.line)

    def __str__(self) -> str:
        return write_statement(self, {})


@dataclass(frozen=True)
class Direction:
    """One statement: `ref` rises with `other`, or falls with it.

    A direction has no first and second: `a: +b` and `b: +a` say the same.

    Args:
        ref: the name of a feature.
        other: the name of another feature.
        sign: 1 if one rises with the other, -1 if it falls.
        confidence: how sure the person is, in (0, 1].
        reason: why the statement holds, in the person's words; kept on one line.
        line: the line of the knowledge file, for messages; ignored by comparisons.

    Raises:
        KnowledgeError: a name is empty, the two are the same, or the sign or the confidence is out of range.

    >>> print(Direction("outlet", "inlet", 1, reason="insulated pipe"))
    outlet: +inlet  # insulated pipe
    >>> direction = Direction("outlet", "inlet", 1)
    >>> print(direction.converse(), "|", direction.renamed(str.upper), "|", direction.where)
    outlet: -inlet | OUTLET: +INLET | 'outlet: +inlet'
    >>> direction.groups, direction.pair == Direction("inlet", "outlet", -1).pair
    ((('outlet',), ('inlet',)), True)
    """

    ref: str
    other: str
    sign: int
    confidence: float = 1.0
    reason: str = ""
    line: int | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", " ".join(self.reason.split()))
        problems = []
        if self.ref == self.other:
            problems.append(f"'{self.ref}' stands on both sides. Name another feature in one of them.")
        if self.sign not in (1, -1):
            problems.append(f"the sign must be 1 or -1, got {self.sign!r}. 1 says that both rise together.")
            object.__setattr__(self, "sign", 1)
        if problems := problems + _confidence_problems(self.confidence):
            raise KnowledgeError(f"{self.where}: {problem}" for problem in problems)

    @property
    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The two features, each as a group."""
        return (self.ref,), (self.other,)

    @property
    def pair(self) -> frozenset[str]:
        """The two features, whose order does not matter."""
        return frozenset((self.ref, self.other))

    @property
    def where(self) -> str:
        """How messages name this statement: its line if it came from a file, and its text."""
        return _where(self)

    def converse(self) -> "Direction":
        """Return the opposite statement, without its reason."""
        return Direction(self.ref, self.other, -self.sign, self.confidence)

    def renamed(self, rename: Callable[[str], str]) -> "Direction":
        """Return the same statement with other names."""
        return Direction(rename(self.ref), rename(self.other), self.sign, self.confidence, self.reason, self.line)

    def __str__(self) -> str:
        return write_statement(self, {})


Statement = Relation | Direction
"""What a person states: the order of two dependences, or the direction of one."""


def _confidence_problems(confidence: float) -> list[str]:
    if 0 < confidence <= 1:
        return []
    return [f"the confidence must be in (0, 1], got {confidence}. Write for example 0.8."]


def _where(statement: Statement) -> str:
    text = f"'{write_claim(statement, {})}'"
    return text if statement.line is None else f"line {statement.line}: {text}"


def repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once."""
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def write_claim(statement: Statement, names: Mapping[tuple[str, ...], str]) -> str:
    """Return `ref: plus > minus` or `ref: +other`, with names for groups that have one."""
    if isinstance(statement, Direction):
        return f"{write_name(statement.ref)}: {write_direction(statement.sign, statement.other)}"
    ref, plus, minus = (write_name(names[side]) if side in names else write_side(side) for side in statement.groups)
    return f"{ref}: {plus} > {minus}"


def write_statement(statement: Statement, names: Mapping[tuple[str, ...], str]) -> str:
    """Return the whole line: what is claimed, the confidence if it is below 1, and the reason."""
    confidence = f"  @ {statement.confidence}" if statement.confidence < 1 else ""
    reason = f"  # {statement.reason}" if statement.reason else ""
    return write_claim(statement, names) + confidence + reason
