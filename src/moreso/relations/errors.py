"""The one error for statements, and the words that it shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moreso.relations.knowledge import Knowledge


class KnowledgeError(ValueError):
    """Every fault of a set of statements, one sentence each.

    Args:
        faults: the sentences; they become the lines of the message.
        readable: the statements that could be read all the same, for those who go on looking for faults.
    """

    def __init__(self, faults: Iterable[str], readable: Knowledge | None = None) -> None:
        self.faults = tuple(faults)
        self.readable = readable
        super().__init__("\n".join(self.faults))


def did_you_mean(name: str, features: Sequence[str], groups: Iterable[str] = ()) -> str:
    """Return ' Did you mean ...?' for a near miss of a feature or a group, followed by the features."""
    known = {each.casefold(): each for each in reversed([*features, *groups])}
    near = get_close_matches(name.casefold(), known, n=1)
    guess = f" Did you mean '{known[near[0]]}'?" if near else ""
    shown = ", ".join(sorted(features)[:12])
    more = f", ... ({len(features)} in all)" if len(features) > 12 else ""
    return f"{guess} Features: {shown}{more}."
