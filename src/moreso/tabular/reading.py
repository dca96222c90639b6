"""How to read text files: what a user may say of them. Imports nothing heavy, so that `--help` is fast."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

KINDS = "numbers", "text", "dates", "identifiers"
"""What a user may call a column, beside ordered levels: "small<medium<large"."""


def levels_of(kind: str) -> list[str]:
    """Return the levels that a kind such as "small<medium<large" names, in their order; none if it is another kind."""
    return [level.strip() for level in kind.split("<")] if "<" in kind else []


@dataclass(frozen=True)
class Reading:
    """How to read text files, where what they look like is not what they are.

    Args:
        separator: the character between fields; by default the one that fits.
        decimal: the decimal mark, "." or ","; by default the one that fits.
        encoding: the encoding; by default that of the byte-order mark, UTF-8, or Windows-1252.
        kinds: column -> "numbers" (other cells are missing), "text", "dates", "identifiers", or ordered
            levels, such as "small<medium<large".
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    kinds: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def problems(self) -> list[str]:
        """Return the problems of the settings, one sentence per problem."""
        found = []
        if self.separator is not None and len(self.separator) != 1:
            found.append(f"the separator must be one character, got '{self.separator}'. For tabs, leave it out.")
        if self.decimal not in (None, ".", ","):
            found.append(f"the decimal mark must be '.' or ',', got '{self.decimal}'. Leave it out to find it.")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError:
                found.append(f"the encoding '{self.encoding}' is unknown. Take for example utf-8 or cp1252.")
        found += [
            f"column '{name}' must be one of {', '.join(KINDS)}, or levels such as small<large, got '{kind}'."
            for name, kind in self.kinds.items()
            if kind not in KINDS and not _distinct(levels_of(kind))
        ]
        return found


def _distinct(levels: list[str]) -> bool:
    return len(levels) > 1 and all(levels) and len(set(levels)) == len(levels)
