"""Runs the code of a page, as a reader would type it: for the tests, and to write what it prints under it.

- `python` blocks of a page share one namespace.
- `shell` blocks hold commands of moreso, and are run in the same folder. Lines of other programs are skipped.
- `text` blocks with a title are files, which are written to the folder.
- A `text` block directly after one that runs holds its output. `<!-- varies -->` between the two says that it depends
  on a training, so that tests do not compare it; `<!-- varies after 3 -->` that they compare the first three lines.

Indented blocks are illustrations, and are not run.
"""

import contextlib
import io
import os
import re
import shlex
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from moreso.cli import main

ROOT = Path(__file__).parents[1]

BLOCK = re.compile(r'(?ms)^```(?P<kind>\w+)(?: title="(?P<title>[^"]*)")?\n(?P<text>.*?)^```$')


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        kind: "python", "shell", "text" or another language.
        title: the name of the file that it holds, or empty.
        text: what is between the fences.
        start, end: where its text is on the page.
        output: whether it is what the block before prints.
        fixed: the number of lines of an output that do not depend on a training; None if none do.
    """

    kind: str
    title: str
    text: str
    start: int
    end: int
    output: bool = False
    fixed: int | None = None

    @property
    def runs(self) -> bool:
        """Whether it is code."""
        return self.kind in ("python", "shell")

    @property
    def libraries(self) -> list[str]:
        """The packages that Python code imports."""
        return re.findall(r"^(?:import|from) (\w+)", self.text, re.MULTILINE) if self.kind == "python" else []


def pages() -> list[Path]:
    """Return README.md and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    found: list[Block] = []
    last = 0
    for match in BLOCK.finditer(page):
        between = page[last : match.start()]
        follows = bool(found) and found[-1].runs and not re.sub(r"<!--.*?-->", "", between).strip()
        output = follows and match["kind"] == "text" and not match["title"]
        start, end = match.span("text")
        varies = re.search(r"<!-- varies(?: after (\d+))? -->", between)
        fixed = int(varies[1] or 0) if varies else None
        found.append(Block(match["kind"], match["title"] or "", match["text"], start, end, output, fixed))
        last = match.end()
    return found


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def run(
    found: Sequence[Block],
    *,
    options: Callable[[list[str]], list[str]] = list,
    names: dict[str, object] | None = None,
) -> Iterator[tuple[Block, Block | None, str]]:
    """Run blocks in the working directory, and yield each that runs, the block of its output, and what it printed.

    Args:
        found: the blocks of a page.
        options: returns the arguments of a command with further ones.
        names: the namespace of Python code; by default an empty one.
    """
    names = {} if names is None else names
    for block, following in zip(found, [*found[1:], None], strict=True):
        expected = following if following is not None and following.output else None
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.kind == "shell":
            yield block, expected, "".join(_command(line, options) for line in _commands(block.text))
        elif block.kind == "python":
            yield block, expected, _python(block.text, names, shown=expected is not None)


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of moreso, with words split as a shell does; a line may go on after a backslash."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "moreso":
            yield words[1:]


def _command(words: list[str], options: Callable[[list[str]], list[str]]) -> str:
    result = CliRunner().invoke(main, options(words), catch_exceptions=False)
    if result.exit_code:
        raise RuntimeError(f"moreso {shlex.join(words)}: exit code {result.exit_code}\n{result.output}")
    return result.output


def _python(text: str, names: dict[str, object], *, shown: bool) -> str:
    """Run code and return what it prints; warnings to users are part of it if the page shows any output."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        if shown:
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: print(f"UserWarning: {message}")
        exec(compile(text, "page", "exec"), names)
    return printed.getvalue()


def tidy(printed: str) -> str:
    """Return output as a page shows it: without blanks at the ends of lines, or empty lines around it."""
    return "\n".join(line.rstrip() for line in printed.strip("\n").splitlines()) + "\n"


def write_outputs(page: Path) -> None:
    """Run a page and write what its blocks print under them, if it shows any output."""
    text = page.read_text(encoding="utf-8")
    if not any(block.output for block in blocks(text)):
        return
    with tempfile.TemporaryDirectory() as path, folder(Path(path)):
        found = [(expected, printed) for _, expected, printed in run(blocks(text)) if expected is not None]
    for expected, printed in reversed(found):
        text = text[: expected.start] + tidy(printed) + text[expected.end :]
    page.write_text(text, encoding="utf-8")
