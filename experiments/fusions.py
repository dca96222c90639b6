"""Two tables that never met: which columns each of two institutions has, and what an expert says of the unseen pairs.

Statements are in experiments/knowledge/fusion/<name>.txt. Columns were split, and statements written and committed,
before any dependence between columns of these splits was computed; neither was changed afterwards. Three things were
known beforehand: what statements about the whole tables had held in an earlier audit (`audit.py`), a trial of another
split of the mental tests, and what is commonly known of such tables. Directions are part of what was stated.
"""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import sets
from moreso import Knowledge

KNOWLEDGE = Path(__file__).parent / "knowledge" / "fusion"

Pair = frozenset[str]


@dataclass(frozen=True)
class Task:
    """A split of the columns of a set.

    Args:
        common: columns of both tables.
        first: columns of the first table only.
        second: columns of the second table only.
        target: the column of `second` that a regression predicts from all others but those of `second`.
    """

    common: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    target: str

    @property
    def columns(self) -> list[str]:
        """All columns."""
        return [*self.common, *self.first, *self.second]

    @property
    def unseen(self) -> list[tuple[str, str]]:
        """The pairs of columns that are in no table together."""
        return [(one, other) for one in self.first for other in self.second]


TASKS = {
    "holzinger": Task(
        ("addition", "code", "counting", "straight", "figurer", "deduct"),
        ("general", "paragrap", "visual", "flags"),
        ("sentence", "wordc", "wordm", "cubes", "paper"),
        "sentence",
    ),
    "bfi": Task(("age", "gender", "A2", "C1", "O1"), ("N1", "N2", "E1", "E2"), ("N3", "N4", "N5", "E4", "E5"), "E4"),
    "bdims": Task(
        ("age", "hgt", "sex"),
        ("bia_di", "bii_di", "che_de", "kne_di", "wri_di"),
        ("sho_gi", "che_gi", "wai_gi", "hip_gi", "kne_gi", "wri_gi"),
        "che_gi",
    ),
    "diabetes": Task(
        ("age", "sex", "bmi"),
        ("blood_pressure", "cholesterol", "hdl"),
        ("ldl", "cholesterol_hdl_ratio", "log_triglycerides", "glucose", "progression"),
        "progression",
    ),
    "concrete": Task(
        ("cement", "water"),
        ("blast_furnace_slag", "fly_ash", "superplasticizer"),
        ("coarse_aggregate", "fine_aggregate", "age", "compressive_strength"),
        "compressive_strength",
    ),
    "wine": Task(
        ("alcohol", "malic_acid", "color_intensity"),
        ("total_phenols", "nonflavanoid_phenols", "proanthocyanins"),
        ("flavanoids", "hue", "od280/od315_of_diluted_wines", "proline"),
        "flavanoids",
    ),
    "pbc": Task(
        ("age", "bili"),
        ("albumin", "protime", "platelet"),
        ("stage", "spiders", "hepato", "copper", "ast"),
        "stage",
    ),
    "chicago": Task(
        ("temp", "pressure"),
        ("dew", "wind", "gust"),
        ("humidity", "wind_max", "gust_max", "weather_rain"),
        "humidity",
    ),
    "solar": Task(
        ("berlin",), ("hamburg", "hannover", "stuttgart"), ("bremen", "leipzig", "frankfurt", "munich"), "munich"
    ),
}
"""By the name of their set in `sets.py`."""


def load(name: str) -> pd.DataFrame:
    """Return the rows that are complete in the columns of a task, as numbers.

    Raises:
        KeyError: there is no such task.
        sets.MissingPackageError: the package that it comes with is not installed.
    """
    return sets.load(name)[TASKS[name].columns].dropna().astype(float).reset_index(drop=True)


@dataclass(frozen=True)
class Statement:
    """A statement as text: `ref: sides[0] > sides[1] > ...`, each side with its sign, "+", "-" or ""."""

    ref: str
    sides: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"{_quoted(self.ref)}: " + " > ".join(sign + _quoted(name) for sign, name in self.sides)

    @property
    def signs(self) -> dict[Pair, str]:
        """The signs of pairs of columns."""
        return {frozenset((self.ref, name)): sign for sign, name in self.sides if sign}

    @property
    def pairs(self) -> list[Pair]:
        """All pairs that are compared."""
        return [frozenset((self.ref, name)) for _, name in self.sides]

    def signed(self, signs: dict[Pair, str]) -> "Statement":
        """Return it with other signs, and none where none is given."""
        return replace(self, sides=tuple((signs.get(frozenset((self.ref, name)), ""), name) for _, name in self.sides))


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.]+", name) else f'"{name}"'


def statements(name: str) -> list[Statement]:
    """Return what an expert says of the unseen pairs of a task.

    Read here rather than by `Knowledge`, since arms turn signs and sides round.
    """
    found = []
    for line in (KNOWLEDGE / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if stated := line.split("#")[0].strip():
            ref, sides = (part.strip() for part in stated.split(":"))
            each = (side.strip() for side in sides.split(" > "))
            found.append(Statement(ref, tuple((s[0] if s[0] in "+-" else "", s.lstrip("+-").strip('"')) for s in each)))
    return found


def text(stated: list[Statement]) -> str:
    """Return statements as lines that `Knowledge.parse` reads."""
    return "".join(f"{statement}\n" for statement in stated)


def consistent(stated: list[Statement]) -> bool:
    """Return whether no two statements contradict each other, in order or in sign."""
    signs: dict[Pair, str] = {}
    for statement in stated:
        for pair, sign in statement.signs.items():
            if signs.setdefault(pair, sign) != sign:
                return False
    return not Knowledge.parse(text([statement.signed({}) for statement in stated])).contradictions()


def altered(stated: list[Statement], how: str, random: np.random.Generator) -> list[Statement]:
    """Return statements as an arm uses them.

    Args:
        stated: the statements.
        how: "relations" leaves out all signs; "directions" changes nothing; "flipped signs" turns the signs of half of
            the pairs that have one; "flipped" turns half of the statements round: sides, signs or both, each as likely
            (only sides where there is no sign). What is turned is drawn again until nothing contradicts.
        random: the generator.
    """
    if how == "directions":
        return stated
    if how == "relations":
        return [statement.signed({}) for statement in stated]
    while True:
        if how == "flipped signs":
            signs = {pair: sign for statement in stated for pair, sign in statement.signs.items()}
            pairs = list(signs)
            for place in random.permutation(len(pairs))[: len(pairs) // 2]:
                signs[pairs[place]] = _turned(signs[pairs[place]])
            return [statement.signed(signs) for statement in stated]
        found = list(stated)
        for place in random.permutation(len(stated))[: len(stated) // 2]:
            statement = found[place]
            kind = random.choice(["sides", "signs", "both"]) if statement.signs else "sides"
            if kind != "sides":
                statement = statement.signed({pair: _turned(sign) for pair, sign in statement.signs.items()})
            if kind != "signs":
                statement = replace(statement, sides=statement.sides[::-1])
            found[place] = statement
        if consistent(found):
            return found


def _turned(sign: str) -> str:
    return "-" if sign == "+" else "+"


def about(statement: Statement, unseen: set[Pair]) -> bool:
    """Return whether every comparison of a statement concerns an unseen pair."""
    return all(one in unseen or other in unseen for one, other in pairwise(statement.pairs))
