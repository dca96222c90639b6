"""Problems, exit codes and printing, shared by all commands. Imports click alone, so that `--help` is fast."""

import errno
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import click

from moreso import tabular
from moreso.relations import Knowledge
from moreso.tabular import Reading

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

P = ParamSpec("P")
T = TypeVar("T")
PLAIN_WIDTH = 160
TYPED = "moreso.typed"
"""Where a context keeps the command as it was typed."""
FILE = click.Path(path_type=Path)

tables_argument = click.argument("data", type=FILE, nargs=-1, required=True)
"""One table or several, which are joined by the columns that they share."""


def typed() -> str:
    """Return the command as it was typed."""
    return str(click.get_current_context().meta[TYPED])


def tell(notes: Iterable[str]) -> None:
    """Print notes to stderr, one line each; of several processes that train together, the first one does."""
    if any(os.environ.get(name, "0") != "0" for name in ("RANK", "LOCAL_RANK")):
        return
    for note in notes:
        click.echo(note, err=True)


class Misuse(click.ClickException):
    """What the user has to change: one sentence per line on stderr, with exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print only the sentences."""
        click.echo(self.message, err=True)


@contextmanager
def misuse() -> Iterator[None]:
    """Turn the library's errors into errors of the command line."""
    try:
        yield
    except OSError as error:
        name = error.filename or "the output"
        raise Misuse(f"{name}: cannot be written ({error.strerror}). Check the path and the disk.") from error
    except (ValueError, TypeError) as error:
        raise Misuse(str(error)) from error


class Source(NamedTuple):
    """How tables are read, whether they fit into memory or not.

    Args:
        reading: how to read text files.
        engine: "pandas" or "dask".
        scheduler: the address of Dask's scheduler, or None.
    """

    reading: Reading
    engine: str
    scheduler: str | None

    @property
    def parted(self) -> bool:
        """Whether tables are in partitions."""
        return self.engine == "dask"

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Turn errors into those of the command line, while partitions are computed where the user says."""
        with misuse(), tabular.scheduler(self.scheduler) if self.parted else nullcontext():
            yield


class Collector:
    """Collects the problems of several inputs, so that one error reports them all."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def attempt(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what the function returns, or record its problems and return None."""
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            self.add(str(error).splitlines())
            return None

    def knowledge(self, path: Path, table: "pd.DataFrame | None") -> Knowledge | None:
        """Return the readable part of a knowledge file, in the names of the table's columns and checked against them.

        Names that are taken for columns are printed to stderr.
        """
        columns = None if table is None else [str(name) for name in table.columns]
        known, problems = Knowledge.examine_file(path, columns)
        self.add(problems)
        if known is None or columns is None:
            return known
        matched, notes = known.matched(columns)
        tell(f"{path}: {note}" for note in notes)
        return matched

    def table(self, path: Path, reading: Reading) -> "pd.DataFrame | None":
        """Return a table, or record its problems; what was found in a text file goes to stderr."""
        found = self.attempt(tabular.read_table, path, reading)
        if found is None:
            return None
        tell(f"{path}: {note}" for note in found.notes)
        return found.table

    def tables(self, paths: Sequence[Path], reading: Reading) -> "pd.DataFrame | None":
        """Return one table of all files, or record their problems; how columns match goes to stderr."""
        if len(paths) == 1:
            return self.table(paths[0], reading)
        readings = self._shared(paths, reading)
        found = {str(path): self.table(path, own) for path, own in zip(paths, readings, strict=True)}
        if len(found) < len(paths):
            self.add([f"{', '.join(map(str, paths))}: a file is given twice. Give each table once."])
            return None
        read = {name: table for name, table in found.items() if table is not None}
        joined = self.attempt(tabular.join_tables, read) if len(read) == len(found) else None
        if joined is None:
            return None
        tell(joined.notes)
        return joined.table

    def source(self, paths: Sequence[Path], source: Source) -> Any:
        """Return one table of all files, of pandas or of Dask, or record their problems."""
        if source.parted:
            return self.partitions(paths, source.reading)
        if source.scheduler is not None:
            self.add(["--scheduler is for --engine dask. Add it, or leave out the scheduler."])
        return self.tables(paths, source.reading)

    def partitions(self, paths: Sequence[Path], reading: Reading) -> Any:
        """Return a Dask DataFrame of Parquet files, or record their problems."""
        if reading != Reading():
            self.add(["Parquet files have types, so nothing can be said of how to read them. Leave these options out."])
        try:
            return self.attempt(tabular.read_partitions, paths)
        except ImportError as error:
            self.add([f"--engine dask needs the package '{error.name}'. Install it: pip install 'moreso[dask]'"])
            return None

    def _shared(self, paths: Sequence[Path], reading: Reading) -> list[Reading]:
        """Return how to read each of several files: what was said of a column holds for the files that have it."""
        if not reading.kinds:
            return [reading] * len(paths)
        bare = [self.attempt(tabular.read_table, path, replace(reading, kinds={})) for path in paths]
        names = [set() if read is None else set(map(str, read.table.columns)) for read in bare]
        known = set().union(*names)
        if all(bare) and (unknown := [name for name in reading.kinds if name not in known]):
            self.add([f"no table has the column '{name}'. Correct --column {name}=..." for name in unknown])
        return [
            replace(reading, kinds={name: kind for name, kind in reading.kinds.items() if name in own}) for own in names
        ]

    def add(self, problems: list[str]) -> None:
        """Record problems, each once."""
        self.problems += [problem for problem in problems if problem not in self.problems]

    def end(self) -> None:
        """Raise `Misuse` if there are any problems."""
        if self.problems:
            raise Misuse("\n".join(self.problems))


def plain_console() -> "Console":
    """Return a console that does not wrap tables if the output is not a terminal."""
    from rich.console import Console  # noqa: PLC0415 (`--help` does not need it)

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


class Shell(click.Group):
    """The group of all commands, which remembers what was typed."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of a call."""
        typed = shlex.join(["moreso", *args])
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[TYPED] = typed
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; that its output cannot be written is told in a sentence, unless a pipe was closed."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            # What was not written would be tried again, and fail again, when Python ends.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open until Python ends)
            name = error.filename or "the output"
            raise Misuse(f"{name}: cannot be written ({error.strerror}). Check the path and the disk.") from error


@click.group(cls=Shell, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="moreso")
def main() -> None:
    """Tell a generative model which features depend on each other, and which more so."""


def reads_tables(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of how to read text files to a command, which gets them as the argument 'reading'."""

    @wraps(command)
    def call(
        *args: object,
        separator: str | None,
        decimal: str | None,
        encoding: str | None,
        column: tuple[str, ...],
        **others: object,
    ) -> None:
        with misuse():
            reading = Reading(separator, decimal, encoding, _kinds(column))
        command(*args, reading=reading, **others)

    for option in (
        click.option(
            "--column",
            multiple=True,
            help="Say what a column holds: NAME=numbers, text, dates, identifiers, or levels: NAME='small<large'.",
        ),
        click.option("--encoding", help="Encoding of text files.  [default: the one that fits]"),
        click.option("--decimal", help="Decimal mark of text files, . or ,  [default: the one that fits]"),
        click.option("--separator", help="Separator of text files.  [default: the one that fits]"),
    ):
        call = option(call)
    return call


def reads_partitions(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of how to read tables larger than memory to a command, which gets all as the argument 'source'.

    It goes below `reads_tables`.
    """

    @wraps(command)
    def call(*args: object, reading: Reading, engine: str, scheduler: str | None, **others: object) -> None:
        command(*args, source=Source(reading, engine, scheduler), **others)

    for option in (
        click.option("--scheduler", help="Address of a running Dask scheduler.  [default: the cores of this machine]"),
        click.option(
            "--engine",
            type=click.Choice(["pandas", "dask"]),
            default="pandas",
            show_default=True,
            help="'dask' reads Parquet files partition by partition, for tables larger than memory.",
        ),
    ):
        call = option(call)
    return call


def _kinds(columns: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.rpartition("=") for each in columns]
    if bad := [kind for name, _, kind in pairs if not name]:
        raise ValueError(f"--column must be NAME=KIND, got '{bad[0]}'. For example: --column zip=text.")
    return {name: kind for name, _, kind in pairs}
