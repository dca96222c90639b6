"""The documentation site builds without a warning, and its checks notice what they should."""

import importlib
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import moreso
from moreso import adapters, models

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocstrings", reason="mkdocs-material and mkdocstrings")
hooks = importlib.import_module("docs.hooks")
griffe_doctests = importlib.import_module("docs.griffe_doctests")


def test_the_site_builds(tmp_path: Path) -> None:
    """Broken links, wrong anchors and pages that no menu leads to are errors."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr

    # Files outside docs/.
    assert "Keep a Changelog" in (tmp_path / "CHANGELOG.html").read_text()
    assert 'href="two_hospitals.html"' in (tmp_path / "examples" / "index.html").read_text()
    assert "<code>" in (tmp_path / "examples" / "two_hospitals.html").read_text()
    experiments = (tmp_path / "experiments" / "index.html").read_text()
    assert 'href="../decisions/0016-a-population-of-models.html"' in experiments
    for page in (ROOT / "docs" / "decisions").glob("*.md"):
        assert (tmp_path / "decisions" / page.stem.replace("README", "index")).with_suffix(".html").exists()

    # Docstrings.
    synthesizer = (tmp_path / "reference" / "synthesizer.html").read_text()
    assert 'id="moreso.Synthesizer.fit"' in synthesizer
    assert "blockquote" not in synthesizer, "a doctest is shown as a quotation"


def test_every_public_name_is_on_a_page() -> None:
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    names = {f"moreso.{name}" for name in moreso.__all__ if name != "adapters"}
    names |= {f"moreso.adapters.{name}" for name in adapters.__all__}
    names |= {f"moreso.models.{model.__name__}" for model in models.MODELS.values()}
    assert names <= shown
    for library in adapters.LIBRARIES:
        assert any(name.startswith(f"moreso.adapters.{library}.") for name in shown), library


GOOD = (
    '<h1 id="top">A</h1> <a href="b/#two">b</a> <a href="https://arxiv.org/">c</a> <img src="data:,"> '
    '<a href="#top">d</a>'
)
BAD = {
    '<a href="c/">': "'c/' does not exist",
    '<a href="b/#three">': "'b/#three' has no such heading",
    '<a class="x" href="#bottom">': "'#bottom' has no such heading",
    '<script src="https://cdn.example/x.js">': "'https://cdn.example/x.js' is loaded from a network",
    '<link rel="stylesheet" href="//fonts.example/x.css">': "'//fonts.example/x.css' is loaded from a network",
    '<img src="x.svg">': "'x.svg' does not exist",
}


@pytest.mark.parametrize("bad", ["", *BAD])
def test_links_of_built_pages_are_checked(bad: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "index.html").write_text(GOOD + bad)
    (tmp_path / "b" / "index.html").write_text('<a id="two" href="../#top">a</a>')
    logger = logging.getLogger("mkdocs")
    with caplog.at_level(logging.WARNING, logger="mkdocs"):
        logger.addHandler(caplog.handler)
        hooks.on_post_build(config=SimpleNamespace(site_dir=str(tmp_path)))
        logger.removeHandler(caplog.handler)
    found = {record.getMessage() for record in caplog.records}
    assert len(found) == bool(bad)
    assert all(BAD[bad] in message for message in found)


def test_doctests_become_code() -> None:
    section = "\n\nExamples:\n    >>> g()\n    3\n"  # which mkdocstrings knows
    text = "One.\n\n>>> f(1)\n2\n>>> for x in y:\n...     z" + section
    expected = "One.\n\n```pycon\n>>> f(1)\n2\n>>> for x in y:\n...     z\n```" + section
    thing = SimpleNamespace(docstring=SimpleNamespace(value=text))
    griffe_doctests.Doctests().on_instance(obj=thing)
    assert thing.docstring.value == expected


def test_notebooks_and_scripts_become_pages(tmp_path: Path) -> None:
    notebook = tmp_path / "tour.ipynb"
    notebook.write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["# A tour"]}, '
        '{"cell_type": "code", "source": ["1 + 1"], "outputs": [{"data": {"text/plain": ["2"]}}]}]}'
    )
    assert hooks._text(notebook) == "# A tour\n\n```python\n1 + 1\n```\n\n```text\n2\n```\n"
    (tmp_path / "run.py").write_text('"""Runs."""\n')
    assert hooks._text(tmp_path).splitlines()[2:] == ["- [run.py](run.py): Runs.", "- [tour.ipynb](tour.ipynb): A tour"]
