"""What a person knows: the collection of relations, and its file."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from moreso.files import atomic_write
from moreso.relations.errors import KnowledgeError, did_you_mean
from moreso.relations.grammar import Chain, Group, SyntaxFault, parse_statements, write_name
from moreso.relations.relation import Relation, repeated, write_order, write_relation


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
        faults += [
            f"group '{name}' bears the name of a feature. Rename the group, or define it before its first use."
            for name in groups
            if name in used
        ]
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
        return write_order(relation, self._names)

    @property
    def _names(self) -> dict[tuple[str, ...], str]:
        return {members: name for name, members in reversed(list(self.groups.items()))}

    def __str__(self) -> str:
        lines = [f"{write_name(name)} = {', '.join(map(write_name, members))}" for name, members in self.groups.items()]
        return "\n".join(lines + [write_relation(relation, self._names) for relation in self])

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
                fault = (
                    f"{relation.where} names an unknown feature '{name}'.{did_you_mean(name, features, self.groups)}"
                )
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
            KnowledgeError: every fault of every line, in the order of the lines; a question that is still open; or no
                statement at all.
        """
        groups: dict[str, tuple[str, ...]] = {}
        relations: list[Relation] = []
        faults: list[tuple[int, str]] = []
        for statement in parse_statements(text):
            try:
                if isinstance(statement, SyntaxFault):
                    faults.append((statement.line, str(statement)))
                elif isinstance(statement, Group):
                    _define(statement, groups)
                else:
                    relations += _relations(statement, groups)
            except KnowledgeError as error:
                faults += [(statement.line, fault) for fault in error.faults]
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


def _relations(chain: Chain, groups: Mapping[str, tuple[str, ...]]) -> list[Relation]:
    ref, *sides = (_expand(names, groups) for names in (chain.ref, *chain.sides))
    relations: list[Relation] = []
    faults: list[str] = []
    for plus, minus in pairwise(sides):
        try:
            relations.append(Relation(ref, plus, minus, chain.confidence, chain.reason, chain.line))
        except KnowledgeError as error:
            faults += error.faults
    if faults:
        raise KnowledgeError(dict.fromkeys(faults))
    return relations


def _define(group: Group, groups: dict[str, tuple[str, ...]]) -> None:
    members = _expand(group.members, groups)
    where = f"line {group.line}: group '{group.name}'"
    faults = [f"{where} is defined twice. Keep one."] if group.name in groups else []
    faults += [f"{where} names '{name}' twice. Name it once." for name in repeated(members)]
    if faults:
        raise KnowledgeError(faults)
    groups[group.name] = members


def _expand(names: Iterable[str], groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(member for name in names for member in groups.get(name, (name,)))


def _group_is_feature(name: str) -> str:
    return f"group '{name}' bears the name of a feature. Rename the group."
