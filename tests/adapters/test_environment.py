"""In the environment of `make test-adapters` every library is there, and its section of docs/adapters.md runs."""

import re
import sys
import tomllib
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest

from tests.test_docs import ADAPTERS, _forked, run_section  # noqa: F401

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
FOREIGN = re.findall(r"^FOREIGN := (.*)$", MAKEFILE, re.MULTILINE)[0].replace("-tools", "").split()


@pytest.mark.parametrize("library", FOREIGN)
def test_make_test_adapters_skips_no_library(library: str) -> None:
    if Path(sys.prefix).name != ".venv-adapters":
        pytest.skip(library)
    assert find_spec(library) is not None


def test_every_file_has_its_library_installed() -> None:
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert tested - {"environment"} <= set(FOREIGN)


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("library", FOREIGN)
def test_its_section_runs(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(library, reason=library)
    sections = [section for section in ADAPTERS[1:] if f"from {library}" in section or f"import {library}" in section]
    assert sections
    for section in sections:
        run_section(section, capsys)


def test_what_is_not_free_is_no_dependency() -> None:
    """Ctgan, sdv and what they bring are under the Business Source License."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    lines += (ROOT / "constraints.txt").read_text().splitlines()
    needed = {re.match(r"[\w-]*", line)[0] for line in lines}  # type: ignore[index]
    for name in ("ctgan", "sdv", "rdt", "copulas", "deepecho"):
        assert name not in needed
