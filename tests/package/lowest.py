"""Print constraints with the lowest versions that pyproject.toml names, extras for users included, for this Python.

A version to use in place of the lowest is given as an argument, such as torch==2.13.0.
"""

import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]

FOR_DEVELOPERS = ("bench", "dev", "docs", "fuzz")
"""Extras whose lowest versions are not tried."""

FIRST_WHEELS = {
    (3, 13): {
        "matplotlib": "3.9.2",
        "numpy": "2.1.0",
        "pandas": "2.2.3",
        "pyarrow": "18.0.0",
        "safetensors": "0.4.4",
        "scikit-learn": "1.5.2",
        "scipy": "1.14.1",
    }
}
"""The first versions that have wheels for a Python, if these are later than the lowest ones."""


def lowest(
    requirements: Iterable[str], overrides: Iterable[str] = (), first: Mapping[str, str] | None = None
) -> list[str]:
    """Return one pin for each requirement.

    Args:
        requirements: requirements with lower bounds.
        overrides: pins to use in place of the lowest versions.
        first: name -> the first version that can be installed.
    """
    pins = {Requirement(each).name: each for each in overrides}
    for requirement in map(Requirement, requirements):
        name = requirement.name
        versions = [Version(specifier.version) for specifier in requirement.specifier if specifier.operator == ">="]
        if not versions:
            raise ValueError(f"'{requirement}' has no lower bound. Write for example '{name}>=1.0'.")
        later = [Version(first[name])] if first and name in first else []
        pins.setdefault(name, f"{name}=={max(versions + later)}")
    return sorted(pins.values())


def user_requirements(root: Path) -> list[str]:
    """Return the requirements of the package and of its extras for users."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return sum((extras[name] for name in extras if name not in FOR_DEVELOPERS), project["dependencies"])


if __name__ == "__main__":
    print(*lowest(user_requirements(ROOT), sys.argv[1:], FIRST_WHEELS.get(sys.version_info[:2])), sep="\n")
