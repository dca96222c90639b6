"""Two tables that never met: which columns each of two institutions has, and what an expert says of the unseen pairs.

Statements are in experiments/knowledge/fusion/<name>.txt. Columns were split, and statements written and committed,
before any dependence between columns of these splits was computed; neither was changed afterwards. Three things were
known beforehand: what statements about the whole tables had held in an earlier audit (`audit.py`), a trial of another
split of the mental tests, and what is commonly known of such tables. Directions are part of what was stated.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiments import gain, sets
from moreso import Knowledge

KNOWLEDGE = Path(__file__).parent / "knowledge" / "fusion"


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


def knowledge(name: str) -> Knowledge:
    """Return what an expert says of the unseen pairs of a task.

    Raises:
        KeyError: there is no such task.
    """
    if name not in TASKS:
        raise KeyError(name)
    return Knowledge.read(KNOWLEDGE / f"{name}.txt")


def altered(stated: Knowledge, how: str, random: np.random.Generator) -> Knowledge:
    """Return statements as an arm uses them.

    Args:
        stated: orders and directions.
        how: "relations" leaves out the directions; "directions" changes nothing; "flipped signs" turns half of the
            directions into their converse; "flipped" half of all statements, drawn again until none contradict.
        random: the generator.
    """
    if how == "directions":
        return stated
    if how == "relations":
        return Knowledge(stated.relations)
    if how == "flipped signs":
        return Knowledge((*stated.relations, *gain.altered(Knowledge(stated.directions), "flipped", random)))
    return gain.altered(stated, how, random)
