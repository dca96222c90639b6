"""The knowledge file's grammar: one line of text to its parts, and names to text.

line      = [ group | relation ] [ "#" reason ]
group     = name "=" name { "," name }
relation  = side ":" side ">" side { ">" side } [ "@" confidence ]
side      = name | "{" name { "," name } "}"
name      = word | JSON string | "`" anything but a backtick "`"
word      = one or more characters, none of them a space or one of : > { } , = @ # " `
"""

import json
import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<word>[^\s:>{},=@#"`]+)
      | (?P<mark>[:>{},=@])
      | (?P<reason>\#.*)
      | (?P<space>\s+)
      | (?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)
_EXAMPLE = "Write for example 'outlet: inlet > ambient'."


class SyntaxFault(Exception):  # noqa: N818 (a fault is what it is called everywhere)
    """A line that the grammar does not allow: where, and in which words."""

    def __init__(self, column: int, message: str) -> None:
        self.column = column
        super().__init__(message)


@dataclass(frozen=True)
class Group:
    """`name = members`."""

    name: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """`ref: sides[0] > sides[1] > ... @ confidence # reason`, the names not yet resolved."""

    ref: tuple[str, ...]
    sides: tuple[tuple[str, ...], ...]
    confidence: float
    reason: str


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int

    @property
    def shown(self) -> str:
        return "the end of the line" if self.kind == "end" else f"'{self.text}'"


class _Line:
    """A cursor over the tokens of one line."""

    def __init__(self, text: str) -> None:
        self.reason = ""
        self.tokens: list[_Token] = []
        for match in _TOKEN.finditer(text):
            kind = str(match.lastgroup)
            if kind == "reason":
                self.reason = match.group()[1:].strip()
            elif kind != "space":
                self.tokens.append(_Token(kind, match.group(), match.start() + 1))
        self.end = _Token("end", "", len(text.rstrip()) + 1)
        self.at = 0

    def peek(self, ahead: int = 0) -> _Token:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else self.end

    def skip(self, mark: str) -> bool:
        if self.peek().kind == "mark" and self.peek().text == mark:
            self.at += 1
            return True
        return False

    def expect(self, mark: str, why: str) -> None:
        if not self.skip(mark):
            raise self.fault(f"expected '{mark}' {why}")

    def fault(self, expected: str) -> SyntaxFault:
        found = self.peek()
        if found.kind == "bad":
            return SyntaxFault(found.column, f"the quote {found.text} is never closed. Close it on the same line.")
        return SyntaxFault(found.column, f"{expected}, found {found.shown}. {_EXAMPLE}")

    def name(self) -> str:
        token = self.peek()
        if token.kind not in ("word", "string", "raw"):
            raise self.fault("expected the name of a feature")
        self.at += 1
        if token.kind == "word":
            return token.text
        if token.kind == "raw":
            return token.text[1:-1]
        try:
            return str(json.loads(token.text, strict=False))
        except json.JSONDecodeError:
            raise SyntaxFault(
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

    def confidence(self) -> float:
        token = self.peek()
        self.at += 1
        try:
            value = float(token.text)
        except ValueError:
            value = float("nan")
        if not 0 < value <= 1:
            raise SyntaxFault(
                token.column,
                f"the confidence after '@' must be a number in (0, 1], got {token.shown}. Write for example '@ 0.8'.",
            )
        return value

    def finish(self, expected: str) -> None:
        if self.peek().kind != "end":
            raise self.fault(expected)


def parse_line(text: str) -> Group | Chain | None:
    """Return the statement on one line, or None where it holds only space and a comment.

    Raises:
        SyntaxFault: the line is neither.
    """
    line = _Line(text)
    if line.peek().kind == "end":
        return None
    if line.peek(1).text == "=" and line.peek(1).kind == "mark":
        name = line.name()
        line.expect("=", "")
        members = line.names()
        line.finish("expected ',' or the end of the group")
        return Group(name, members)
    ref = line.side()
    line.expect(":", "after the reference")
    sides = [line.side()]
    line.expect(">", "and the weaker side")
    sides.append(line.side())
    while line.skip(">"):
        sides.append(line.side())
    confidence = line.confidence() if line.skip("@") else 1.0
    line.finish("expected '>', '@' or the end of the line")
    return Chain(ref, tuple(sides), confidence, line.reason)


def write_name(name: str) -> str:
    """Return `name` as the grammar reads it back: bare where it is a plain word, else quoted."""
    return name if re.fullmatch(r'[^\s:>{},=@#"`]+', name) else json.dumps(name, ensure_ascii=False)


def write_side(names: tuple[str, ...]) -> str:
    """Return one side of a relation as text."""
    text = ", ".join(map(write_name, names))
    return text if len(names) == 1 else f"{{{text}}}"
