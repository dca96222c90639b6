"""Relations between features, and the collection of them."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path

from moreso.files import atomic_write
from moreso.relations.errors import KnowledgeError, did_you_mean
from moreso.relations.grammar import Chain, Group, SyntaxFault, parse_line, write_name, write_side

Names = str | Iterable[str]
"""One feature, or a group of them."""


@dataclass(frozen=True, init=False)
class Relation:
    """One statement: `ref` depends on `plus` more so than on `minus`.

    Each of the three is a group of one or more features; no feature may stand in two of them.

    Args:
        ref: feature name, or names, whose dependence is compared.
        plus: the names on which `ref` depends more.
        minus: the names on which it depends less.
        confidence: how sure the person is, in (0, 1].
        reason: why, in the person's words; kept in one line.
        line: the line of the knowledge file, for messages; not compared.

    Raises:
        KnowledgeError: an empty or overlapping group, a repeated name, or a confidence outside (0, 1].

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
        if faults := self._faults():
            raise KnowledgeError(f"{self.where}: {fault}" for fault in faults)

    def _faults(self) -> list[str]:
        faults: list[str] = []
        for words, group in (("reference", self.ref), ("stronger side", self.plus), ("weaker side", self.minus)):
            if not group:
                faults.append(f"the {words} is empty. Name at least one feature.")
            faults += [f"the {words} names '{name}' twice. Name it once." for name in _repeated(group)]
        for (one, left), (two, right) in combinations(
            (("reference", self.ref), ("stronger side", self.plus), ("weaker side", self.minus)), 2
        ):
            faults += [
                f"'{name}' stands in the {one} and in the {two}. Leave it out of one of them."
                for name in left
                if name in right
            ]
        if not 0 < self.confidence <= 1:
            faults.append(f"the confidence must be in (0, 1], got {self.confidence}. Write for example 0.8.")
        return faults

    @property
    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The three groups, in the order ref, plus, minus."""
        return self.ref, self.plus, self.minus

    @property
    def where(self) -> str:
        """How messages name this relation: its line if it came from a file, and its text."""
        text = f"'{_write_order(self, {})}'"
        return text if self.line is None else f"line {self.line}: {text}"

    def __str__(self) -> str:
        return _write_relation(self, {})


@dataclass(frozen=True)
class Knowledge:
    """What a person knows: relations, and the names that they gave to groups of features.

    Args:
        relations: the statements, in order.
        groups: name -> features, for reading and writing; the relations hold the features themselves.

    Raises:
        KnowledgeError: a group is empty, or bears the name of a feature that a relation or a group uses.

    >>> knowledge = Knowledge.parse('''
    ...     near = b_flow, b_temp
    ...     a_temp: near > ambient > "price of gas"   @ 0.9   # neighbours, then weather
    ... ''')
    >>> print(knowledge)
    near = b_flow, b_temp
    a_temp: near > ambient  @ 0.9  # neighbours, then weather
    a_temp: ambient > "price of gas"  @ 0.9  # neighbours, then weather
    >>> len(knowledge), Knowledge.parse(str(knowledge)) == knowledge
    (2, True)
    """

    relations: tuple[Relation, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        groups = {name: tuple(members) for name, members in self.groups.items()}
        object.__setattr__(self, "relations", tuple(self.relations))
        object.__setattr__(self, "groups", groups)
        used = {*self.features, *(name for members in groups.values() for name in members)}
        faults = [f"group '{name}' has no members. Name at least one feature." for name in groups if not groups[name]]
        faults += [_group_is_feature(name) for name in groups if name in used]
        if faults:
            raise KnowledgeError(faults)

    def __hash__(self) -> int:
        return hash(self.relations)

    def __iter__(self) -> Iterator[Relation]:
        return iter(self.relations)

    def __len__(self) -> int:
        return len(self.relations)

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the relations name, in order of first mention."""
        return tuple(dict.fromkeys(name for relation in self for group in relation.groups for name in group))

    def describe(self, relation: Relation) -> str:
        """Return `ref: plus > minus` with this knowledge's group names, as reports show it."""
        return _write_order(relation, self._names)

    @property
    def _names(self) -> dict[tuple[str, ...], str]:
        return {members: name for name, members in reversed(list(self.groups.items()))}

    def __str__(self) -> str:
        lines = [f"{write_name(name)} = {', '.join(map(write_name, members))}" for name, members in self.groups.items()]
        return "\n".join(lines + [_write_relation(relation, self._names) for relation in self])

    def check(self, features: Sequence[str]) -> None:
        """Raise unless every name is one of `features`.

        Raises:
            KnowledgeError: all unknown names at once, each with its line and the nearest known name.
        """
        if faults := self._unknown(features):
            raise KnowledgeError(fault for _, fault in faults)

    def restrict(self, features: Iterable[str]) -> "Knowledge":
        """Return the relations that name only `features`."""
        known = set(features)
        kept = [relation for relation in self if known.issuperset(relation.ref + relation.plus + relation.minus)]
        return Knowledge(tuple(kept), {name: group for name, group in self.groups.items() if known.issuperset(group)})

    def _unknown(self, features: Sequence[str]) -> list[tuple[int, str]]:
        """The faults of `check`, each with its line (0 where it has none)."""
        known = set(features)
        faults = {(0, name): _group_is_feature(name) for name in self.groups if name in known}
        for relation in self:
            for name in (name for group in relation.groups for name in group if name not in known):
                fault = f"{relation.where} names an unknown feature '{name}'.{did_you_mean(name, features)}"
                # A chain makes several relations of one line; its faults are told once.
                faults.setdefault((relation.line or 0, name), fault)
        return [(line, fault) for (line, _), fault in faults.items()]

    @classmethod
    def parse(cls, text: str, features: Sequence[str] | None = None) -> "Knowledge":
        """Read statements from text; the grammar stands in `docs/knowledge-file.md`.

        Args:
            text: one statement a line.
            features: where given, names outside it are faults too.

        Raises:
            KnowledgeError: every fault of every line, in the order of the lines; or no statement at all.
        """
        groups: dict[str, tuple[str, ...]] = {}
        relations: list[Relation] = []
        faults: list[tuple[int, str]] = []
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                statement = parse_line(line)
                if isinstance(statement, Group):
                    _define(statement, groups, number)
                elif isinstance(statement, Chain):
                    relations += _relations(statement, groups, number)
            except SyntaxFault as fault:
                faults.append((number, f"line {number}, column {fault.column}: {fault}"))
            except KnowledgeError as error:
                faults += [(number, fault) for fault in error.faults]
        if not relations and not faults:
            raise KnowledgeError(["no statement found. Write one a line, for example 'outlet: inlet > ambient'."])
        knowledge = None
        try:
            knowledge = cls(tuple(relations), groups)
            faults += [] if features is None else knowledge._unknown(features)
        except KnowledgeError as error:
            faults += [(0, fault) for fault in error.faults]
        if faults or knowledge is None:
            raise KnowledgeError((fault for _, fault in sorted(faults, key=lambda pair: pair[0])), knowledge)
        return knowledge

    @classmethod
    def read(cls, path: str | os.PathLike[str], features: Sequence[str] | None = None) -> "Knowledge":
        """Read a knowledge file (UTF-8).

        Raises:
            KnowledgeError: as `parse`, each fault led by the file's name; also where there is no text file.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise KnowledgeError([f"{path}: cannot be read ({error.strerror}). Check the path."]) from error
        except UnicodeDecodeError as error:
            raise KnowledgeError(
                [f"{path}: is not UTF-8 text. Give a knowledge file, one statement a line."]
            ) from error
        try:
            return cls.parse(text, features)
        except KnowledgeError as error:
            raise KnowledgeError((f"{path}: {fault}" for fault in error.faults), error.readable) from None

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the knowledge file that `read` reads back as an equal object."""
        with atomic_write(path) as scratch:
            scratch.write_text(f"{self}\n", encoding="utf-8", newline="\n")


def _relations(chain: Chain, groups: Mapping[str, tuple[str, ...]], line: int) -> list[Relation]:
    ref, *sides = (_expand(names, groups) for names in (chain.ref, *chain.sides))
    relations: list[Relation] = []
    faults: list[str] = []
    for plus, minus in pairwise(sides):
        try:
            relations.append(Relation(ref, plus, minus, chain.confidence, chain.reason, line))
        except KnowledgeError as error:
            faults += error.faults
    if faults:
        raise KnowledgeError(dict.fromkeys(faults))
    return relations


def _define(group: Group, groups: dict[str, tuple[str, ...]], line: int) -> None:
    members = _expand(group.members, groups)
    where = f"line {line}: group '{group.name}'"
    faults = [f"{where} is defined twice. Keep one."] if group.name in groups else []
    faults += [f"{where} names '{name}' twice. Name it once." for name in _repeated(members)]
    if faults:
        raise KnowledgeError(faults)
    groups[group.name] = members


def _expand(names: Iterable[str], groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(member for name in names for member in groups.get(name, (name,)))


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _group_is_feature(name: str) -> str:
    return f"group '{name}' bears the name of a feature. Rename the group."


def _write_order(relation: Relation, names: Mapping[tuple[str, ...], str]) -> str:
    ref, plus, minus = (write_name(names[side]) if side in names else write_side(side) for side in relation.groups)
    return f"{ref}: {plus} > {minus}"


def _write_relation(relation: Relation, names: Mapping[tuple[str, ...], str]) -> str:
    confidence = f"  @ {relation.confidence}" if relation.confidence < 1 else ""
    reason = f"  # {relation.reason}" if relation.reason else ""
    return _write_order(relation, names) + confidence + reason
