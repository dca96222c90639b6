"""In the environment of `make test-adapters` every library is there, and the pages that use it run."""

import re
import sys
import tomllib
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest

from tests.test_docs import CODE, _forked, run_page  # noqa: F401

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
def test_its_pages_run(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library, reason=library)
    pages = [found for found in CODE.values() if any(library in block.libraries for block in found)]
    assert pages
    for found in pages:
        assert run_page(found, tmp_path)


def test_what_is_not_free_is_no_dependency() -> None:
    """Ctgan, sdv and what they bring are under the Business Source License."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    lines += (ROOT / "constraints.txt").read_text().splitlines()
    needed = {re.match(r"[\w-]*", line)[0] for line in lines}  # type: ignore[index]
    for name in ("ctgan", "sdv", "rdt", "copulas", "deepecho"):
        assert name not in needed
