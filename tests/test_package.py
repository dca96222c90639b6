"""What `make package` checks by, and what can be checked without building."""

import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.package.contents import package_files, sdist_problems, wheel_problems
from tests.package.lowest import FIRST_WHEELS, lowest, user_requirements

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
PINNED = {canonicalize_name(name): version for name, version in PINS.items()}


def test_lowest_pins_what_a_requirement_allows() -> None:
    assert lowest(["b>=1.2", "a>=3,<5", "c>=1"], ["c==2.0"], {"a": "4.1", "b": "1.0"}) == ["a==4.1", "b==1.2", "c==2.0"]
    with pytest.raises(ValueError, match="'b<3' has no lower bound"):
        lowest(["a>=1", "b<3"])


def test_every_dependency_has_a_lowest_version_that_is_allowed() -> None:
    requirements = user_requirements(ROOT)
    allowed = {each.name: each.specifier for each in map(Requirement, requirements)}
    assert {"duckdb", "torch"} < set(allowed) and "pytest" not in allowed
    for first in (None, *FIRST_WHEELS.values()):
        pins = [Requirement(pin) for pin in lowest(requirements, first=first)]
        assert {pin.name for pin in pins} == set(allowed) and len(pins) == len(allowed)
        assert all(next(iter(pin.specifier)).version in allowed[pin.name] for pin in pins)
        assert set(first or ()) <= set(allowed)


def test_what_is_pinned_is_allowed() -> None:
    """In the environment of the tests, extras included; what `make bench` installs is pinned too."""
    for requirement in map(Requirement, sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])):
        if requirement.name != PROJECT["name"]:
            assert Version(PINNED[canonicalize_name(requirement.name)]) in requirement.specifier, requirement


def test_versions_agree() -> None:
    assert metadata("moreso")["Requires-Python"] == PROJECT["requires-python"]
    (cited,) = [line for line in (ROOT / "CITATION.cff").read_text().splitlines() if line.startswith("version:")]
    assert cited == f"version: {PROJECT['version']}"


def test_contents_name_what_is_missing_and_what_is_junk() -> None:
    package = package_files(ROOT)
    assert {"moreso/py.typed", "moreso/__init__.pyi", "moreso/evaluation/templates/report.html"} <= package
    whole = {*package, "moreso-0.1.0.dist-info/METADATA"}
    assert wheel_problems(whole, package) == []
    assert len(wheel_problems(whole - {"moreso/py.typed"}, package)) == 1
    assert len(wheel_problems({*whole, "tests/oracles.py"}, package)) == 1
    sources = {f"src/{name}" for name in package} | {
        "LICENSE",
        "Makefile",
        "PKG-INFO",
        "README.md",
        "SECURITY.md",
        "constraints.txt",
        "pyproject.toml",
    }
    assert sdist_problems(sources, package) == []
    assert len(sdist_problems(sources - {"README.md", "src/moreso/py.typed"}, package)) == 2
    assert len(sdist_problems({*sources, "src/moreso/__pycache__/regularizer.cpython-311.pyc"}, package)) == 1


def test_all_that_the_sdist_names_is_there() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    for pattern in build["sdist"]["include"]:
        assert list(ROOT.glob(pattern.lstrip("/"))), pattern
