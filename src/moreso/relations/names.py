"""Names that look alike: the column that a name means although it is spelt a little differently.

Names from a keyboard, a spreadsheet and a drawing may look the same and differ all the same: an accent may be part of
its letter or follow it, a space may be a no-break space, and capitals come and go.
"""

import unicodedata
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher


def _composed(name: str) -> str:
    """Return the name with accents that are part of their letters."""
    return unicodedata.normalize("NFC", name)


def _plain(name: str) -> str:
    """Return the name in compatible characters that have a width, with single spaces inside and none around."""
    visible = (mark for mark in unicodedata.normalize("NFKC", name) if unicodedata.category(mark) != "Cf")
    return unicodedata.normalize("NFKC", " ".join("".join(visible).split()))


def _folded(name: str) -> str:
    """Return the plain name without the difference of capitals and small letters."""
    return unicodedata.normalize("NFKC", _plain(name).casefold())


_LEVELS: tuple[Callable[[str], str], ...] = (_composed, _plain, _folded)
"""How names are compared, the strictest way first."""


def find_alike(names: Iterable[str], features: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the features that look like each name, for names that are no features and look like some.

    Names are compared with composed accents first, then as compatible characters (NFKC) with blanks of any kind as
    single spaces, then without case. The first comparison that finds a feature counts.

    Args:
        names: the names.
        features: the features, such as the columns of a table.

    >>> find_alike(["INLET", "inlet  temp", "outlet"], ["Inlet", "inlet", "inlet temp"])
    {'INLET': ('Inlet', 'inlet'), 'inlet  temp': ('inlet temp',)}
    """
    known = dict.fromkeys(features)
    left = [name for name in dict.fromkeys(names) if name not in known]
    found: dict[str, tuple[str, ...]] = {}
    for level in _LEVELS if left else ():
        by_key: dict[str, list[str]] = {}
        for feature in known:
            by_key.setdefault(level(feature), []).append(feature)
        found |= {name: tuple(by_key.get(level(name), ())) for name in left if level(name) and not found.get(name)}
    return {name: found[name] for name in left if found.get(name)}


def match_names(names: Iterable[str], features: Iterable[str]) -> dict[str, str]:
    """Return the feature that each name means, for names that are no features and look like exactly one.

    >>> match_names(["Inlet ", "outlet", "ambient"], ["inlet", "outlet"])
    {'Inlet ': 'inlet'}
    """
    return {name: alike[0] for name, alike in find_alike(names, features).items() if len(alike) == 1}


def spell_alike(names: Iterable[str], features: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the names as the features spell them, where they mean one, and a note on each name that changed.

    >>> spell_alike(["Inlet", "wind"], ["inlet", "outlet"])[0]
    ['inlet', 'wind']
    """
    names = list(names)
    found = match_names(names, features)
    return [found.get(name, name) for name in names], [explain_match(*pair) for pair in found.items()]


def explain_match(name: str, feature: str) -> str:
    """Return the note on a name that was taken for a column.

    >>> print(explain_match("Inlet", "inlet"))
    'Inlet' was taken for the column 'inlet' (they differ in: I and i).
    """
    shown = " ".join(name.splitlines())
    return f"'{shown}' was taken for the column '{feature}' ({explain_difference(name, feature)})."


def explain_difference(one: str, other: str) -> str:
    r"""Return in which characters two names differ, as code points where the characters cannot be told apart.

    >>> print(explain_difference("entr\u00e9e 1", "entre\u0301e\u00a01"))
    they differ in: U+00E9 and e + U+0301; U+0020 and U+00A0
    """
    left, right = _letters(one), _letters(other)
    steps = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    found = [f"{_spell(left[a:b])} and {_spell(right[c:d])}" for step, a, b, c, d in steps if step != "equal"]
    return f"they differ in: {'; '.join(found)}"


def _letters(name: str) -> list[str]:
    """Return the characters of a name, each with the marks that combine with it."""
    letters: list[str] = []
    for mark in name:
        if letters and unicodedata.combining(mark):
            letters[-1] += mark
        else:
            letters.append(mark)
    return letters


def _spell(letters: Iterable[str]) -> str:
    """Return letters of ASCII as they are and other characters as code points."""
    parts: list[str] = []
    plain = False
    for mark in "".join(letters):
        was, plain = plain, "!" <= mark <= "~"
        if plain and was:
            parts[-1] += mark
        else:
            parts.append(mark if plain else f"U+{ord(mark):04X}")
    return " + ".join(parts) if parts else "nothing"
