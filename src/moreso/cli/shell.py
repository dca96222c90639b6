"""What all commands share: faults, exit codes and printing."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import click
import pandas as pd
from rich.console import Console

from moreso.relations import Knowledge, KnowledgeError

T = TypeVar("T")
PLAIN_WIDTH = 160
FILE = click.Path(path_type=Path)


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of a function, so that the shell cannot drift from Python."""
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


class Misuse(click.ClickException):
    """What the user has to change: one sentence a line on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentences alone."""
        click.echo(self.message, err=True)


@contextmanager
def misuse() -> Iterator[None]:
    """Turn the library's sentences into the shell's."""
    try:
        yield
    except OSError as error:
        raise Misuse(f"{error.filename}: cannot be written ({error.strerror}). Check the path.") from error
    except (ValueError, TypeError) as error:
        raise Misuse(str(error)) from error


class Faults:
    """Collects the faults of several inputs, so that all are told at once."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def attempt(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        """Return what the function returns, or None and keep its faults."""
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            self.told += [line for line in str(error).splitlines() if line not in self.told]
            return None

    def knowledge(self, path: Path, table: pd.DataFrame | None) -> Knowledge | None:
        """Return what could be read of a knowledge file, checked against the table's columns."""
        try:
            return Knowledge.read(path, None if table is None else [str(name) for name in table.columns])
        except KnowledgeError as error:
            self.told += error.faults
            return error.readable

    def end(self) -> None:
        """Stop here if anything was at fault."""
        if self.told:
            raise Misuse("\n".join(self.told))


def plain_console() -> Console:
    """Return a console that does not fold tables where nobody looks at a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="moreso")
def main() -> None:
    """Tell a generative model which features depend on each other, and which more so."""
