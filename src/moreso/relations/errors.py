"""The errors of statements and tables, and the wording that their messages share."""

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Real

from moreso.relations.names import explain_difference, find_alike


class _ProblemsError(ValueError):
    """Every problem of an input, one sentence each.

    Args:
        problems: the sentences; they become the lines of the message.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


class KnowledgeError(_ProblemsError):
    """Statements that cannot be used: what is wrong with each, one sentence a line.

    Args:
        problems: the sentences.

    >>> from moreso import Knowledge
    >>> try:
    ...     Knowledge.parse("outlet: inlet > ambient @ 2")
    ... except KnowledgeError as error:
    ...     print(*error.problems, sep="; ")
    line 1, column 27: the confidence after '@' must be a number in (0, 1], got '2'. Write for example '@ 0.8'.
    """


class DataError(_ProblemsError):
    """A table that cannot be used: what is wrong with each column, one sentence a line.

    Args:
        problems: the sentences.

    >>> import pandas as pd
    >>> from moreso import audit
    >>> try:
    ...     audit(pd.DataFrame({"a": [1, 1, 1, 1], "b": [0, 1, 2, 3], "c": [0, 1, 4, 9]}), "a: b > c")
    ... except DataError as error:
    ...     print(*error.problems, sep="; ")
    column 'a' is constant (every value is 1). Leave it out.
    """


def raise_problems(*, settings: Sequence[str] = (), knowledge: Sequence[str] = (), data: Sequence[str] = ()) -> None:
    """Raise one error with all problems, if there are any.

    Args:
        settings: problems of other arguments.
        knowledge: problems of statements.
        data: problems of a table.

    Raises:
        KnowledgeError: there are problems of statements, perhaps with others.
        DataError: there are problems of a table, perhaps with others, but none of statements.
        ValueError: there are problems of settings alone.
    """
    problems = list(dict.fromkeys([*settings, *knowledge, *data]))
    if knowledge:
        raise KnowledgeError(problems)
    if data:
        raise DataError(problems)
    if problems:
        raise ValueError("\n".join(problems))


def count_problems(name: str, value: object, least: int, remedy: str) -> list[str]:
    """Return a sentence unless a value is a whole number, such as 3 or 1e3, of at least `least`.

    Args:
        name: the argument's name.
        value: what was given.
        least: the least number.
        remedy: the last sentence.
    """
    if isinstance(value, Real) and least <= float(value) < math.inf and float(value).is_integer():
        return []
    given = value if isinstance(value, Real) else repr(value)
    return [f"'{name}' must be a whole number of at least {least}, got {given}. {remedy}"]


def did_you_mean(name: str, features: Sequence[str], groups: Iterable[str] = ()) -> str:
    """Return ' Did you mean ...?' for a near miss of a feature or a group, followed by the features.

    What looks like the name is given with the characters in which it differs, since nobody would see them.
    """
    words = [*features, *groups]
    alike = [f"'{word}' ({explain_difference(name, word)})" for word in find_alike([name], words).get(name, ())]
    known = {word.casefold(): word for word in reversed(words)}
    near = [f"'{known[word]}'" for word in get_close_matches(name.casefold(), known, n=1)]
    guess = f" Did you mean {(alike or near)[0]}?" if alike or near else ""
    if len(alike) > 1:
        guess = (
            f" It may mean {', '.join(alike[:-1])} or {alike[-1]}. Write the one that you mean as it is spelt there."
        )
    shown = ", ".join(sorted(features)[:12])
    more = f", ... ({len(features)} in all)" if len(features) > 12 else ""
    return f"{guess} Features: {shown}{more}."
