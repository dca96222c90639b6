"""A collection of relations, with its file and its logic."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

from moreso._files import atomic_write
from moreso.relations.errors import KnowledgeError, did_you_mean, raise_problems
from moreso.relations.grammar import Chain, Group, StatementError, parse_statements, write_name
from moreso.relations.logic import Graph, acyclic, find_opposites, find_repeated_directions
from moreso.relations.names import explain_match, match_names
from moreso.relations.order import Order, order_pairs
from moreso.relations.records import read_records, write_record
from moreso.relations.relation import Direction, Relation, Statement, repeated, write_claim, write_statement


@dataclass(frozen=True)
class Knowledge:
    r"""What a person knows: statements about features, and names for groups of features.

    Args:
        statements: orders of dependences (`Relation`) and directions (`Direction`), in order.
        groups: name -> features, for reading and writing; the statements hold the features themselves.

    Raises:
        KnowledgeError: a group is empty, or has the name of a feature that a statement or a group uses.

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
    >>> print(Knowledge.parse("outlet: +inlet > -valve > ambient"))
    outlet: inlet > valve
    outlet: +inlet
    outlet: valve > ambient
    outlet: -valve
    >>> knowledge = Knowledge.of("flows = a, b\nc: +d\nc: flows > d")
    >>> [str(each) for each in knowledge.relations], [str(each) for each in knowledge.directions]
    (['c: {a, b} > d'], ['c: +d'])
    >>> knowledge.features, knowledge.directed, knowledge.describe(knowledge.relations[0])
    (('c', 'd', 'a', 'b'), ('c', 'd'), 'c: flows > d')
    """

    statements: tuple[Statement, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        groups = {name: tuple(members) for name, members in self.groups.items()}
        object.__setattr__(self, "statements", tuple(self.statements))
        object.__setattr__(self, "groups", groups)
        used = {*self.features, *(name for members in groups.values() for name in members)}
        problems = [f"group '{name}' has no members. Name at least one feature." for name in groups if not groups[name]]
        problems += [
            f"group '{name}' bears the name of a feature. Rename the group, or define it before its first use."
            for name in groups
            if name in used
        ]
        if problems:
            raise KnowledgeError(problems)

    def __hash__(self) -> int:
        return hash(self.statements)

    def __iter__(self) -> Iterator[Statement]:
        return iter(self.statements)

    def __len__(self) -> int:
        return len(self.statements)

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The statements that order two dependences."""
        return tuple(statement for statement in self if isinstance(statement, Relation))

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The statements that give a dependence its direction."""
        return tuple(statement for statement in self if isinstance(statement, Direction))

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the statements name, in order of first mention."""
        return tuple(dict.fromkeys(name for statement in self for group in statement.groups for name in group))

    @property
    def directed(self) -> tuple[str, ...]:
        """The features that directions name, which need an order of their values."""
        return tuple(dict.fromkeys(name for each in self.directions for name in (each.ref, each.other)))

    def describe(self, statement: Statement) -> str:
        """Return `ref: plus > minus` or `ref: +other` with this knowledge's group names, as reports show it."""
        return write_claim(statement, self._names)

    @property
    def _names(self) -> dict[tuple[str, ...], str]:
        return {members: name for name, members in reversed(list(self.groups.items()))}

    def __str__(self) -> str:
        lines = [f"{write_name(name)} = {', '.join(map(write_name, members))}" for name, members in self.groups.items()]
        return "\n".join(lines + [write_statement(statement, self._names) for statement in self])

    def matched(self, features: Iterable[str]) -> tuple["Knowledge", list[str]]:
        r"""Return the knowledge in the columns' own names, and a note on each name that was spelt differently.

        A name that is not a column is taken for the one that looks like it. Names look alike if they differ only in how
        accents are stored, in blanks, in characters without width or of compatible forms, or in case; a column that
        differs in less comes first. A name stays as it is if more than one column or group looks like it, or if its
        statement or group names that column already; `problems` then reports it.

        Args:
            features: the names of the columns.

        >>> knowledge, notes = Knowledge.parse('outlet: "Inlet  temp" > ambient').matched(["outlet", "inlet temp"])
        >>> print(knowledge)
        outlet: "inlet temp" > ambient
        >>> print(*notes)
        'Inlet  temp' was taken for the column 'inlet temp' (they differ in: I and i; U+0020 and nothing).
        """
        sides = [sum(statement.groups, ()) for statement in self] + list(self.groups.values())
        # What looks like a group may mean the group.
        words = [*features, *self.groups]
        found = match_names((name for names in sides for name in names), words)
        found = {name: column for name, column in found.items() if column not in self.groups}
        twice: set[str] = set()
        for names in sides if found else ():
            ends = Counter(found.get(name, name) for name in names)
            twice |= {name for name in names if name in found and ends[found[name]] > 1}
        found = {name: column for name, column in found.items() if name not in twice}
        if not found:
            return self, []

        def rename(name: str) -> str:
            return found.get(name, name)

        groups = {name: tuple(map(rename, members)) for name, members in self.groups.items()}
        statements = tuple(statement.renamed(rename) for statement in self)
        return Knowledge(statements, groups), [explain_match(*pair) for pair in found.items()]

    def problems(self, features: Iterable[str]) -> list[str]:
        """Return a sentence for every name that is not in `features`, with its line and the nearest known name.

        >>> print(*Knowledge.parse("out: in > rian").problems(["in", "out", "rain"]))
        line 1: 'out: in > rian' names an unknown feature 'rian'. Did you mean 'rain'? Features: in, out, rain.
        """
        return [problem for _, problem in self._unknown(list(features))]

    def check(self, features: Iterable[str]) -> None:
        """Raise unless every name is one of `features`.

        Raises:
            KnowledgeError: names are unknown; the error lists all of them, as `problems` does.

        >>> Knowledge.parse("outlet: inlet > ambient").check(["ambient", "inlet", "outlet", "valve"])
        """
        raise_problems(knowledge=self.problems(features))

    def restrict(self, features: Iterable[str]) -> "Knowledge":
        r"""Return the statements that name only `features`, in the features' own names; see `matched`.

        A name that is taken for a feature gives a warning.

        >>> print(Knowledge.parse("a: b > c\na: b > d").restrict(["a", "b", "d"]))
        a: b > d
        """
        known = dict.fromkeys(features)
        own = match_columns(self, known, stacklevel=3)
        kept = [statement for statement in own if known.keys() >= set(sum(statement.groups, ()))]
        return Knowledge(tuple(kept), {name: group for name, group in own.groups.items() if known.keys() >= {*group}})

    def contradictions(self) -> tuple[tuple[Statement, ...], ...]:
        r"""Return statements that cannot all be true: opposite directions, and the shortest cycle of each component.

        A relation orders two dependences, and the dependence of a pair is the same from both sides: `a: b > c` says
        that a and b depend on each other more than a and c do. Statements that lead from one pair back to itself
        contradict each other. A strongly connected component may contain more cycles than the one returned: resolve
        that one, and check again.

        >>> knowledge = Knowledge.parse("a: b > c\nc: a > b\nb: +c > a\na: b > d\nc: -b")
        >>> [[statement.line for statement in cycle] for cycle in knowledge.contradictions()]
        [[1, 2, 3], [3, 5]]
        """
        cycles = Graph(self.relations).cycles()
        found = [[self._places[index] for index in cycle] for cycle in cycles] + find_opposites(self.statements)
        return tuple(tuple(self.statements[index] for index in cycle) for cycle in sorted(found))

    @property
    def _places(self) -> list[int]:
        """The positions of the relations among the statements."""
        return [index for index, statement in enumerate(self) if isinstance(statement, Relation)]

    def _left_out(self) -> dict[int, tuple[int, ...]]:
        """Return the positions of statements that follow from others, with these; requires no contradiction."""
        found = acyclic(self.statements).redundant()
        place = self._places
        return {place[index]: tuple(place[i] for i in grounds) for index, grounds in found.items()} | {
            index: (first,) for index, first in find_repeated_directions(self.statements).items()
        }

    def redundancies(self) -> tuple[tuple[Statement, tuple[Statement, ...]], ...]:
        r"""Return every statement that could be left out, with the statements from which it follows.

        A statement follows from a path of statements that each have at least its confidence. A repeated statement
        follows from its most confident occurrence, and among equals from the first.

        Raises:
            KnowledgeError: the statements contradict each other, so that anything would follow.

        >>> for statement, grounds in Knowledge.parse("a: b > c > d\na: b > d").redundancies():
        ...     print(f"'{statement}' follows from", " and ".join(f"'{each}'" for each in grounds))
        'a: b > d' follows from 'a: b > c' and 'a: c > d'
        """
        found = self._left_out()
        return tuple(
            (self.statements[index], tuple(self.statements[i] for i in found[index])) for index in sorted(found)
        )

    def order(self) -> Order:
        r"""Return the pairs of groups that the statements name, and their order: what `moreso show` prints as a tree.

        >>> print(*Knowledge.parse("a: b > c > d  # nearer\na: b > d\na: +b").order().tree(), sep="\n")
        a and b (+)
        └─ a and c  # nearer
           └─ a and d  # nearer
        """
        return order_pairs(self.statements, self._names, self.contradictions())

    def reduction(self) -> "Knowledge":
        r"""Return the knowledge without the statements that follow from others of at least the same confidence.

        Raises:
            KnowledgeError: the statements contradict each other, so that anything would follow.

        >>> print(Knowledge.parse("a: +b > c > d\na: b > d  @ 0.9").reduction())
        a: b > c
        a: +b
        a: c > d
        """
        left_out = self._left_out()
        kept = [statement for index, statement in enumerate(self) if index not in left_out]
        return Knowledge(tuple(kept), self.groups)

    def closure(self) -> "Knowledge":
        r"""Return the knowledge with every statement that follows from it, each statement once.

        The confidence of an implied statement is that of the weakest step on its most confident path, and its reason
        names the steps. Only statements that can be written are added: the two pairs must share a group, and no two of
        the three groups may share a feature. No direction follows from others.

        Raises:
            KnowledgeError: the statements contradict each other, so that anything would follow.

        >>> print(Knowledge.parse("a: b > -c\na: c > d  @ 0.9").closure())
        a: b > c
        a: -c
        a: c > d  @ 0.9
        a: b > d  @ 0.9  # follows from 'a: b > c' and 'a: c > d'
        """
        stated, implied = acyclic(self.statements).closure(self.describe)
        repeated_directions = find_repeated_directions(self.statements)
        own: dict[int, Statement] = {
            index: statement
            for index, statement in enumerate(self)
            if isinstance(statement, Direction) and index not in repeated_directions
        }
        own |= {self._places[index]: relation for index, relation in stated.items()}
        return Knowledge((*(own[index] for index in sorted(own)), *implied), self.groups)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one row per statement, for `pandas.DataFrame`: ref, plus, minus, sign, confidence, reason.

        A single feature is given by its name, a group by a tuple of names. The sign of a relation is empty. A direction
        has the other feature as plus, "+" or "-" as sign, and no minus. `Knowledge.from_records` reads the rows back.

        >>> Knowledge.parse("outlet: {wind, rain} > valve").to_records()
        [{'ref': 'outlet', 'plus': ('wind', 'rain'), 'minus': 'valve', 'sign': '', 'confidence': 1.0, 'reason': ''}]
        """
        return [write_record(statement) for statement in self]

    @classmethod
    def from_records(cls, rows: Iterable[Any], groups: Mapping[str, tuple[str, ...]] | None = None) -> "Knowledge":
        """Build knowledge from rows, or from a pandas DataFrame, with the columns of `to_records`.

        Args:
            rows: mappings, or a frame. A cell of ref, plus and minus holds the name of one feature, verbatim, or a
                list of names. A missing confidence is 1, a missing reason is empty; other columns are ignored. A row
                with a sign, "+" or "-", is a direction: it has no minus.
            groups: names for groups, as in `Knowledge`.

        Raises:
            KnowledgeError: rows have problems; the error lists all of them, each with its position from 0 or the
                frame's index.

        >>> rows = [{"ref": "outlet", "plus": "inlet", "minus": ["wind", "rain"], "confidence": 0.8}]
        >>> print(Knowledge.from_records([*rows, {"ref": "outlet", "plus": "inlet", "sign": "+"}]))
        outlet: inlet > {wind, rain}  @ 0.8
        outlet: +inlet
        """
        return cls(read_records(rows), groups or {})

    def _unknown(self, features: Sequence[str]) -> list[tuple[int, str]]:
        """Return the problems of `check`, each with its line (0 if it has none)."""
        known = set(features)
        problems = {(0, name): _group_is_feature(name) for name in self.groups if name in known}
        for statement in self:
            for name in (name for group in statement.groups for name in group if name not in known):
                hint = did_you_mean(name, features, self.groups)
                if signed := [f"{sign}{name}" for sign in "+-" if f"{sign}{name}" in known]:
                    hint = f" Quote names that begin with a sign: {write_name(signed[0])}."
                problem = f"{statement.where} names an unknown feature '{name}'.{hint}"
                # A chain makes several statements from one line, whose problems are reported once.
                problems.setdefault((statement.line or 0, name), problem)
        return [(line, problem) for (line, _), problem in problems.items()]

    @classmethod
    def parse(cls, text: str, features: Iterable[str] | None = None) -> "Knowledge":
        """Read statements from text; `docs/knowledge-file.md` has the grammar.

        Args:
            text: one statement per line.
            features: if given, names outside it are problems too. A name that looks like one of them is taken for it,
                with a warning; see `matched`.

        Raises:
            KnowledgeError: lines have problems, a question is still open, or there is no statement; the error lists all
                problems in the order of the lines.

        >>> print(Knowledge.parse("outlet: inlet > ambient   @ 0.9   # same pipe", ["ambient", "inlet", "outlet"]))
        outlet: inlet > ambient  @ 0.9  # same pipe
        """
        names = None if features is None else list(features)
        return _whole(*cls.examine(text, names), names)

    @classmethod
    def of(cls, value: "Knowledge | str") -> "Knowledge":
        """Return knowledge as it is, and text as `parse` reads it: what every function takes as `knowledge`.

        Raises:
            KnowledgeError: as `parse`.
            TypeError: the value is neither.

        >>> Knowledge.of("outlet: inlet > ambient") == Knowledge.of(Knowledge.parse("outlet: inlet > ambient"))
        True
        """
        return _whole(*cls.examine(value), None)

    @classmethod
    def examine(
        cls, text: "Knowledge | str", features: Iterable[str] | None = None
    ) -> tuple["Knowledge | None", list[str]]:
        r"""Return the readable part of a text and its problems, for callers that check several inputs.

        Args:
            text: one statement per line, or knowledge, which is returned as it is.
            features: if given, names outside it are problems too, unless `matched` finds what they mean. All statements
                are returned as they are written.

        Raises:
            TypeError: the text is neither.

        >>> readable, problems = Knowledge.examine("outlet: inlet > ambient\noutlet inlet")
        >>> print(readable, len(problems))
        outlet: inlet > ambient 1
        """
        names = None if features is None else list(features)
        if isinstance(text, Knowledge):
            return text, [] if names is None else text.matched(names)[0].problems(names)
        if not isinstance(text, str):
            raise TypeError(
                f"the knowledge must be text or a moreso.Knowledge, got {type(text).__name__}. Write for example "
                "'outlet: inlet > ambient', or read a file: moreso.Knowledge.read(path)."
            )
        groups: dict[str, tuple[str, ...]] = {}
        statements: list[Statement] = []
        problems: list[tuple[int, str]] = []
        for parsed in parse_statements(text):
            try:
                if isinstance(parsed, StatementError):
                    problems.append((parsed.line, str(parsed)))
                elif isinstance(parsed, Group):
                    _define(parsed, groups)
                else:
                    statements += _statements(parsed, groups)
            except KnowledgeError as error:
                problems += [(parsed.line, problem) for problem in error.problems]
        if not statements and not problems:
            return None, ["no statement found. Write one a line, for example 'outlet: inlet > ambient'."]
        knowledge = None
        try:
            knowledge = cls(tuple(_merge_directions(statements)), groups)
            problems += [] if names is None else knowledge.matched(names)[0]._unknown(names)
        except KnowledgeError as error:
            problems += [(0, problem) for problem in error.problems]
        return knowledge, [problem for _, problem in sorted(problems, key=lambda pair: pair[0])]

    @classmethod
    def read(cls, path: str | os.PathLike[str], features: Iterable[str] | None = None) -> "Knowledge":
        """Read a knowledge file (UTF-8).

        Raises:
            KnowledgeError: as `parse`, with the file's name before each problem; also if there is no such text file.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Knowledge.parse("outlet: inlet > ambient").write(f"{folder}/plant.txt")
        ...     print(Knowledge.read(f"{folder}/plant.txt"))
        outlet: inlet > ambient
        """
        names = None if features is None else list(features)
        return _whole(*cls.examine_file(path, names), names)

    @classmethod
    def examine_file(
        cls, path: str | os.PathLike[str], features: Iterable[str] | None = None
    ) -> tuple["Knowledge | None", list[str]]:
        """Return the readable part of a knowledge file and its problems; see `examine`.

        >>> Knowledge.examine_file("missing.txt")
        (None, ['missing.txt: cannot be read (No such file or directory). Check the path.'])
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            return None, [f"{path}: cannot be read ({error.strerror}). Check the path."]
        except UnicodeDecodeError:
            return None, [f"{path}: is not UTF-8 text. Give a knowledge file, one statement a line."]
        knowledge, problems = cls.examine(text, features)
        return knowledge, [f"{path}: {problem}" for problem in problems]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write a knowledge file that `read` reads back as an equal object.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Knowledge.parse("outlet: inlet > ambient").write(f"{folder}/plant.txt")
        ...     print(Path(f"{folder}/plant.txt").read_text(), end="")
        outlet: inlet > ambient
        """
        with atomic_write(path) as scratch:
            scratch.write_text(f"{self}\n", encoding="utf-8", newline="\n")


def match_columns(knowledge: Knowledge, features: Iterable[str], *, stacklevel: int = 2) -> Knowledge:
    """Return the knowledge in the columns' own names, as `Knowledge.matched` does, with its notes as warnings.

    Args:
        knowledge: the statements.
        features: the names of the columns.
        stacklevel: whose line the warnings show: 2 is the caller, 3 the caller's caller.
    """
    matched, notes = knowledge.matched(features)
    for note in notes:
        warnings.warn(note, stacklevel=stacklevel)
    return matched


def _whole(knowledge: Knowledge | None, problems: Sequence[str], features: Sequence[str] | None) -> Knowledge:
    if knowledge is None or problems:
        raise KnowledgeError(problems)
    return knowledge if features is None else match_columns(knowledge, features, stacklevel=4)


def _statements(chain: Chain, groups: Mapping[str, tuple[str, ...]]) -> list[Statement]:
    """Return the orders of a chain, each followed by the directions of its stronger side."""
    ref = _expand(chain.ref, groups)
    sides = [[(name, sign) for each, sign in side for name in _expand((each,), groups)] for side in chain.sides]
    found: list[Statement] = []
    problems: list[str] = []
    rest = chain.confidence, chain.reason, chain.line
    for side, following in zip_longest(sides, sides[1:]):
        claims: list[Callable[[], Statement]] = []
        if following is not None:
            claims.append(partial(Relation, ref, [name for name, _ in side], [name for name, _ in following], *rest))
        claims += [partial(Direction, own, name, sign, *rest) for own, (name, sign) in product(ref, side) if sign]
        for claim in claims:
            try:
                found.append(claim())
            except KnowledgeError as error:
                problems += error.problems
    if problems:
        raise KnowledgeError(dict.fromkeys(problems))
    return found


def _merge_directions(statements: Iterable[Statement]) -> list[Statement]:
    """Return the statements with each direction once, as the person is surest: chains with one ref often repeat it."""
    found: dict[object, Statement] = {}
    for place, statement in enumerate(statements):
        key = (statement.pair, statement.sign) if isinstance(statement, Direction) else place
        if key not in found or statement.confidence > found[key].confidence:
            found[key] = statement
    return list(found.values())


def _define(group: Group, groups: dict[str, tuple[str, ...]]) -> None:
    members = _expand(group.members, groups)
    where = f"line {group.line}: group '{group.name}'"
    problems = [f"{where} is defined twice. Keep one."] if group.name in groups else []
    problems += [f"{where} names '{name}' twice. Name it once." for name in repeated(members)]
    if problems:
        raise KnowledgeError(problems)
    groups[group.name] = members


def _expand(names: Iterable[str], groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(member for name in names for member in groups.get(name, (name,)))


def _group_is_feature(name: str) -> str:
    return f"group '{name}' bears the name of a feature. Rename the group."
