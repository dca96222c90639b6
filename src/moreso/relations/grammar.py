"""The knowledge file's grammar: text to statements, and names to text.

line      = [ group | statement ] [ "#" reason ]
group     = name "=" name { "," name }
statement = side ":" signed { order signed } [ "@" confidence ]
order     = ">" | "<" | "?"
signed    = [ sign ] side | "{" [ sign ] name { "," [ sign ] name } "}"
sign      = "+" | "-" | "?"
side      = name | "{" name { "," name } "}"
name      = word | JSON string | "`" anything but a backtick "`"
word      = one or more characters, none of them a space or one of : > { } , = @ # " `; and not < or ? alone;
            the first is no sign

A statement has an order, or signs before all names after the colon, or both.

A statement goes on in the next line where a line ends inside braces or with one of : > < ? , = @ {
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<sign>(?<![^\s:>{},=@])[-+\u2212])
      | (?P<word>[^\s:>{},=@#"`]+)
      | (?P<mark>[:>{},=@])
      | (?P<reason>\#.*)
      | (?P<space>\s+)
      | (?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)
_LONE_MARKS = ("<", "?")
"""Characters that are marks only if they stand alone, so that names may contain them."""
_UNFINISHED = frozenset(":><?,=@{")
"""Marks that cannot end a statement."""
_SIGNS = {"+": 1, "-": -1, "\u2212": -1}
"""Signs at the start of a word; the last is the minus of typesetters."""
_ASKED = 2
"""Stands for a sign that is still a question."""
_EXAMPLE = "Write for example 'outlet: inlet > ambient'."


class StatementError(Exception):
    """A statement that the grammar does not allow; the message names the place.

    Args:
        line: the line, counted from 1.
        column: the column, counted from 1, or None for the statement as a whole.
        message: what is wrong, and the remedy.
    """

    def __init__(self, line: int, column: int | None, message: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {message}" if column is None else f"line {line}, column {column}: {message}")


@dataclass(frozen=True)
class Group:
    """`name = members`."""

    name: str
    members: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Chain:
    """`ref: sides[0] > sides[1] > ... @ confidence # reason`, before names of groups are resolved.

    Args:
        ref: the names of the reference.
        sides: the names of each side, and the sign of each name: 1, -1, or 0 for none.
        confidence: how sure the person is.
        reason: why.
        line: the line.
    """

    ref: tuple[str, ...]
    sides: tuple[tuple[tuple[str, int], ...], ...]
    confidence: float
    reason: str
    line: int


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int
    column: int

    @property
    def shown(self) -> str:
        return self.text if self.kind == "end" else f"'{self.text}'"


class _Line:
    """The tokens of one line, and its reason, if any."""

    def __init__(self, number: int, text: str) -> None:
        self.reason: str | None = None
        self.tokens: list[_Token] = []
        for match in _TOKEN.finditer(text):
            kind, found = str(match.lastgroup), match.group()
            if kind == "reason":
                self.reason = found[1:].strip()
            elif kind != "space":
                kind = "mark" if found in _LONE_MARKS else kind
                self.tokens.append(_Token(kind, found, number, match.start() + 1))

    @property
    def empty(self) -> bool:
        return not self.tokens and self.reason is None

    @property
    def may_begin(self) -> bool:
        """Whether a statement can begin here, since every statement has one of these marks."""
        return any(token.kind == "mark" and token.text in ":=" for token in self.tokens)


class _Statement:
    """A cursor over the tokens of one statement, which begins in `lines[start]` and ends before `lines[stop]`."""

    def __init__(self, lines: Sequence[_Line], start: int) -> None:
        self.tokens: list[_Token] = []
        self.at = 0
        self.stop = start
        in_braces = unfinished = False
        while self.stop == start or (unfinished and self.stop < len(lines) and not lines[self.stop].empty):
            line = lines[self.stop]
            self.tokens += line.tokens
            for token in line.tokens:
                # A mark that cannot stand in braces ends them, so that an unclosed brace does not swallow the file.
                in_braces = token.text == "{" if token.kind == "mark" and token.text != "," else in_braces
            last = self.tokens[-1] if self.tokens else None
            unfinished = last is not None and (in_braces or (last.kind == "mark" and last.text in _UNFINISHED))
            # An unclosed quote is a problem of its own.
            unfinished = unfinished and all(token.kind != "bad" for token in line.tokens)
            self.stop += 1
        self.reason = " ".join(line.reason for line in lines[start : self.stop] if line.reason)
        self.unfinished = unfinished
        if self.tokens:
            last = self.tokens[-1]
            shown = "the end of the line"
            if unfinished:
                shown = "the end of the text" if all(line.empty for line in lines[self.stop :]) else "an empty line"
            self.end = _Token("end", shown, last.line, last.column + len(last.text))

    def peek(self, ahead: int = 0) -> _Token:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else self.end

    def sees(self, marks: str, ahead: int = 0) -> bool:
        token = self.peek(ahead)
        return token.kind == "mark" and token.text in marks

    def skip(self, mark: str) -> bool:
        found = self.sees(mark)
        self.at += found
        return found

    def expect(self, mark: str, why: str) -> None:
        if not self.skip(mark):
            raise self.problem(f"expected '{mark}' {why}")

    def problem(self, expected: str, remedy: str = _EXAMPLE, found: str = "found") -> StatementError:
        token = self.peek()
        if token.kind == "bad":
            message = f"the quote {token.text} is never closed. Close it on the same line."
            return StatementError(token.line, token.column, message)
        return StatementError(
            token.line, token.column, f"{expected}, {found} {token.shown}.{self._why(token)} {remedy}"
        )

    def _why(self, token: _Token) -> str:
        """Say why the statement continues in the next line, if it does."""
        earlier = [each for each in self.tokens if each.line < token.line]
        if token.kind == "end" and self.unfinished:
            earlier = self.tokens
        if not earlier:
            return ""
        last = earlier[-1]
        reason = f"ends with '{last.text}'" if last.kind == "mark" and last.text in _UNFINISHED else "leaves '{' open"
        return f" Line {last.line} {reason}, so the statement goes on."

    def name(self) -> str:
        token = self.peek()
        if token.kind == "sign":
            remedy = "Signs stand after the colon, before what the reference rises or falls with; quote other names."
            raise self.problem("expected the name of a feature", remedy)
        if token.kind not in ("word", "string", "raw"):
            raise self.problem("expected the name of a feature")
        self.at += 1
        if token.kind == "word":
            return token.text
        if token.kind == "raw":
            return token.text[1:-1]
        try:
            return str(json.loads(token.text, strict=False))
        except json.JSONDecodeError:
            raise StatementError(
                token.line,
                token.column,
                f"{token.text} is not a quoted name. In double quotes write \\\\ for \\, or use backticks.",
            ) from None

    def names(self) -> tuple[str, ...]:
        names = [self.name()]
        while self.skip(","):
            names.append(self.name())
        return tuple(names)

    def side(self) -> tuple[str, ...]:
        if not self.skip("{"):
            return (self.name(),)
        names = self.names()
        self.expect("}", "after the group")
        return names

    def sign(self) -> int:
        """Return 1, -1, 0 for no sign, or 2 for one that is asked for."""
        if self.skip("?"):
            return _ASKED
        if self.peek().kind != "sign":
            return 0
        self.at += 1
        return _SIGNS[self.tokens[self.at - 1].text]

    def signed(self) -> tuple[tuple[str, int], ...]:
        """Return the names of a side with their signs; the sign of a group is that of each of its names."""
        whole = self.sign()
        if not self.skip("{"):
            return ((self.name(), whole),)
        names: list[tuple[str, int]] = []
        while not names or self.skip(","):
            if whole and self.peek().kind == "sign":
                raise self.problem("the group has a sign", "Give one to the group or to its names.")
            sign = whole or self.sign()
            names.append((self.name(), sign))
        self.expect("}", "after the group")
        return tuple(names)

    def confidence(self) -> float:
        try:
            value = float(self.peek().text)
        except ValueError:
            value = float("nan")
        if not 0 < value <= 1:
            rule = "the confidence after '@' must be a number in (0, 1]"
            raise self.problem(rule, "Write for example '@ 0.8'.", found="got")
        self.at += 1
        return value

    def finish(self, expected: str) -> None:
        if self.peek().kind != "end":
            raise self.problem(expected)

    def parse(self) -> Group | Chain:
        return self.group() if self.sees("=", ahead=1) else self.chain()

    def group(self) -> Group:
        line = self.peek().line
        name = self.name()
        self.expect("=", "")
        members = self.names()
        self.finish("expected ',' or the end of the group")
        return Group(name, members, line)

    def chain(self) -> Chain:
        line = self.peek().line
        ref = self.side()
        self.expect(":", "after the reference")
        sides, marks = [self.signed()], ""
        while self.sees("><?"):
            mark = self.peek().text
            if (turned := {">": "<", "<": ">"}.get(mark, "")) and turned in marks:
                message = f"a chain goes one way, and here '{mark}' follows '{turned}'. Write two statements."
                raise StatementError(self.peek().line, self.peek().column, message)
            self.at += 1
            marks += mark
            sides.append(self.signed())
        signs = [sign for side in sides for _, sign in side]
        if not marks and not all(signs):
            near = (self.tokens[self.at - 1], self.peek())
            glued = [mark for mark in _LONE_MARKS for token in near if token.kind == "word" and mark in token.text]
            remedy = f"Put spaces around '{glued[0]}' where it compares." if glued else _EXAMPLE
            raise self.problem("expected '>' and the weaker side", remedy)
        confidence = self.confidence() if self.skip("@") else 1.0
        self.finish("expected '>', '@' or the end of the line")
        if "?" in marks or _ASKED in signs:
            written = [_write_signed(side) for side in sides]
            order = "".join(f" {mark} {side}" for mark, side in zip(marks, written[1:], strict=True))
            answers = ["'>' or '<'"] * ("?" in marks) + ["'+' or '-'"] * (_ASKED in signs)
            question = f"'{write_side(ref)}: {written[0]}{order}' is still a question."
            remedy = f"Replace '?' by {' and by '.join(answers)}, or delete the line."
            raise StatementError(line, None, f"{question} {remedy}")
        return Chain(ref, tuple(reversed(sides) if "<" in marks else sides), confidence, self.reason, line)


def parse_statements(text: str) -> Iterator[Group | Chain | StatementError]:
    """Yield every statement of a text in order, or its problem if it cannot be read."""
    lines = [_Line(number, line) for number, line in enumerate(text.split("\n"), start=1)]
    at = reported = 0
    while at < len(lines):
        if not lines[at].tokens or (at < reported and not lines[at].may_begin):
            at += 1
            continue
        statement = _Statement(lines, at)
        try:
            yield statement.parse()
            at = statement.stop
        except StatementError as problem:
            if problem.line > reported:
                yield problem
            # A line that was read as the rest of a faulty statement may be a statement of its own. If it is not, its
            # problem has been reported.
            reported = max(reported, statement.stop)
            at = max(at + 1, problem.line - 1)


def write_name(name: str) -> str:
    """Return `name` as the grammar reads it back: bare if it is a plain word, else quoted."""
    plain = re.fullmatch(r'[^\s:>{},=@#"`]+', name) and name not in _LONE_MARKS and name[0] not in _SIGNS
    return name if plain else json.dumps(name, ensure_ascii=False)


def write_side(names: tuple[str, ...]) -> str:
    """Return one side of a relation as text."""
    text = ", ".join(map(write_name, names))
    return text if len(names) == 1 else f"{{{text}}}"


def write_direction(sign: int, name: str) -> str:
    """Return a name with its sign, 1 or -1, as text."""
    return f"{'+' if sign > 0 else '-'}{write_name(name)}"


def _write_signed(side: Sequence[tuple[str, int]]) -> str:
    signs = {0: "", 1: "+", -1: "-", _ASKED: "? "}
    text = ", ".join(f"{signs[sign]}{write_name(name)}" for name, sign in side)
    return text if len(side) == 1 else f"{{{text}}}"
