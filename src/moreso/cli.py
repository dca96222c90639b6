"""The shell: parse, call, print. Each command is the function of the same name."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import click
import pandas as pd
from rich.console import Console

from moreso import demo as demonstration
from moreso.audit import Verdict
from moreso.audit import audit as run_audit
from moreso.derive.distances import PER_FEATURE, RATIO, check_rule
from moreso.derive.files import KINDS, measure
from moreso.files import check_writable
from moreso.models import MODELS
from moreso.relations import Knowledge, KnowledgeError, explain_contradiction, explain_redundancy
from moreso.report import report as run_report
from moreso.synthesizer import Synthesizer
from moreso.tables import check_suffix, check_table, read_table, write_table

T = TypeVar("T")
_PLAIN_WIDTH = 160
_FILE = click.Path(path_type=Path)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of a function, so that the shell cannot drift from Python."""
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


class Misuse(click.ClickException):
    """What the user has to change: one sentence a line on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentences alone."""
        click.echo(self.message, err=True)


@contextmanager
def _misuse() -> Iterator[None]:
    """Turn the library's sentences into the shell's."""
    try:
        yield
    except OSError as error:
        raise Misuse(f"{error.filename}: cannot be written ({error.strerror}). Check the path.") from error
    except (ValueError, TypeError) as error:
        raise Misuse(str(error)) from error


class _Faults:
    """Collects the faults of several inputs, so that all are told at once."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def attempt(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
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
        if self.told:
            raise Misuse("\n".join(self.told))


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="moreso")
def main() -> None:
    """Tell a generative model which features depend on each other, and which more so."""


@main.command()
@click.argument("knowledge", type=_FILE)
@click.option(
    "--features",
    "data",
    type=_FILE,
    help="A table (CSV, Parquet or Feather): a name that is none of its columns is a fault.",
)
@click.option(
    "--show",
    type=click.Choice(["closure", "reduction"]),
    help="Print the knowledge with all that follows from it, or without what follows, as a knowledge file.",
)
@click.pass_context
def check(context: click.Context, knowledge: Path, data: Path | None, show: str | None) -> None:
    """Read KNOWLEDGE, and say which statements contradict each other and which follow from others.

    Exit code 0: nothing contradicts; 1: something does; 2: misuse.
    """
    faults = _Faults()
    table = None if data is None else faults.attempt(read_table, data)
    known = faults.knowledge(knowledge, table)
    faults.end()
    assert known is not None
    contradictions = [explain_contradiction(circle) for circle in known.contradictions()]
    if show is not None and not contradictions:
        click.echo(known.closure() if show == "closure" else known.reduction())
    elif show is not None:
        click.echo("\n".join(contradictions), err=True)
    else:
        sizes = (len(known), "statement"), (len(known.groups), "named group"), (len(known.features), "feature")
        counts = [f"{count} {noun}{'s' * (count != 1)}" for count, noun in sizes]
        click.echo(f"{knowledge}: {', '.join(counts)}.")
        _section("contradictions", contradictions, "no statements contradict each other.")
        if not contradictions:
            found = [explain_redundancy(relation, grounds) for relation, grounds in known.redundancies()]
            _section("redundant statements", found, "no statement follows from others.")
    context.exit(1 if contradictions else 0)


def _section(title: str, sentences: list[str], otherwise: str) -> None:
    """Print sentences unbroken: they may be cut out, and a name may look like markup."""
    for line in [f"{title}: {len(sentences)}", *(f"  {each}" for each in sentences)] if sentences else [otherwise]:
        click.echo(line)


@main.command()
@click.argument("data", type=_FILE)
@click.argument("knowledge", type=_FILE)
@click.option(
    "--level", type=float, default=_defaults(run_audit)["level"], show_default=True, help="Level of the tests."
)
@click.pass_context
def audit(context: click.Context, data: Path, knowledge: Path, level: float) -> None:
    """Test every statement in KNOWLEDGE on the rows of DATA (CSV, Parquet or Feather).

    Exit code 0: nothing is contradicted; 1: something is; 2: misuse.
    """
    faults = _Faults()
    table = faults.attempt(read_table, data)
    known = faults.knowledge(knowledge, table)
    if table is not None and known is not None:
        faults.attempt(check_table, table, [name for name in known.features if name in table.columns], missing=True)
    faults.end()
    assert table is not None and known is not None
    with _misuse():
        found = run_audit(table, known, level=level)
    console = _console()
    console.print(found)
    for verdict in Verdict:
        console.print(f"{verdict}: {found.count(verdict)} ({verdict.sentence})")
    for note in found.notes:
        console.print(note)
    context.exit(1 if found.count(Verdict.CONTRADICTED) else 0)


@main.command()
@click.argument("data", type=_FILE)
@click.argument("knowledge", type=_FILE, required=False)
@click.option("-o", "--output", type=_FILE, required=True, help="Where the model file goes.")
@click.option(
    "--model", default=_defaults(Synthesizer)["model"], show_default=True, help=f"One of {', '.join(MODELS)}."
)
@click.option(
    "--weight", default=_defaults(Synthesizer)["weight"], show_default=True, help="'auto', or a number of at least 0."
)
@click.option("--max-epochs", type=int, default=_defaults(Synthesizer)["max_epochs"], show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything.")
def fit(data: Path, knowledge: Path | None, output: Path, model: str, weight: str, max_epochs: int, seed: int) -> None:
    """Train a model on DATA (a table of numbers) with KNOWLEDGE, and the same model without it to compare."""
    faults = _Faults()
    faults.attempt(check_writable, output)
    table = faults.attempt(read_table, data)
    known = None if knowledge is None else faults.knowledge(knowledge, table)
    number = faults.attempt(_weight, weight)
    synthesizer = Synthesizer(model, weight=number or 0.0, max_epochs=max_epochs, progress=True, random_state=seed)
    faults.attempt(synthesizer.check, table)
    faults.end()
    assert table is not None
    with _misuse():
        synthesizer.set_params(knowledge=known).fit(table).save(output)
    console = _console()
    history = synthesizer.history_
    console.print(f"wrote {output}: {model}, best epoch {history.best_epoch + 1} of {history.epochs}.")


def _weight(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"--weight must be 'auto' or a number of at least 0, got '{text}'.") from None


@main.command()
@click.argument("model", type=_FILE)
@click.option("-n", "rows", type=int, required=True, help="How many rows.")
@click.option("-o", "--output", type=_FILE, required=True, help="A .csv, .parquet or .feather file.")
@click.option("--seed", type=int, help="Another seed gives other rows; by default that of the fit.")
def sample(model: Path, rows: int, output: Path, seed: int | None) -> None:
    """Draw rows from a fitted MODEL into a table."""
    faults = _Faults()
    faults.attempt(check_suffix, output)
    faults.attempt(check_writable, output)
    loaded = faults.attempt(Synthesizer.load, model)
    faults.end()
    assert loaded is not None
    with _misuse():
        write_table(loaded.sample(rows, random_state=seed), output)
    _console().print(f"wrote {output}: {rows} rows, {len(loaded.feature_names_in_)} columns.")


@main.command()
@click.argument("model", type=_FILE)
@click.argument("data", type=_FILE)
@click.option("-o", "--output", type=_FILE, required=True, help="An .html or .json file.")
def report(model: Path, data: Path, output: Path) -> None:
    """Compare DATA with samples of MODEL, trained without and with knowledge.

    Give rows that the model was not trained on: on its own rows the likelihood flatters it.
    """
    faults = _Faults()
    faults.attempt(check_writable, output)
    loaded = faults.attempt(Synthesizer.load, model)
    table = faults.attempt(read_table, data)
    faults.end()
    assert loaded is not None and table is not None
    with _misuse():
        found = run_report(loaded, table)
        found.write(output)
    console = _console()
    console.print(found)
    for sentence in found.summary:
        console.print(sentence)
    console.print(f"wrote {output}.")


@main.command()
@click.argument("drawing", type=_FILE)
@click.option("-o", "--output", type=_FILE, help="Where the knowledge file goes; by default stdout.")
@click.option("--features", "data", type=_FILE, help="A table: only its columns are named in statements.")
@click.option("--as", "kind", type=click.Choice(KINDS), help="What the drawing is; by default its columns tell.")
@click.option("--length", help="Of graphs: the attribute of edges that is their length.  [default: count steps]")
@click.option("--unit", default="", help="Of the distances, to stand in the reasons.")
@click.option(
    "--ratio", type=float, default=RATIO, show_default=True, help="Least distance of minus over that of plus."
)
@click.option("--per-feature", type=int, default=PER_FEATURE, show_default=True, help="Most statements about one ref.")
def derive(
    drawing: Path,
    output: Path | None,
    data: Path | None,
    kind: str | None,
    length: str | None,
    unit: str,
    ratio: float,
    per_feature: int,
) -> None:
    """Make statements of a DRAWING: what is near depends more than what is far.

    A map is a table with 'feature' and 'x', 'y' or 'latitude', 'longitude'. A graph is GraphML, an edge list (two
    names a line), or a table with 'source' and 'target'. A hierarchy is a table with 'feature' and a column a level,
    from fine to coarse. An ordering is a table with 'feature' and 'position', or one whose column names end in numbers
    (--as ordering).
    """
    faults = _Faults()
    faults.attempt(check_rule, ratio, per_feature)
    if output is not None:
        faults.attempt(check_writable, output)
    table = None if data is None else faults.attempt(read_table, data)
    names = None if table is None else [str(name) for name in table.columns]
    found = faults.attempt(measure, drawing, kind, features=names, length=length, unit=unit)
    faults.end()
    assert found is not None
    with _misuse():
        known = found.knowledge(ratio, per_feature)
        if output is not None:
            known.write(output)
    if output is None:
        click.echo(str(known))
    wrote = f"wrote {output}: " if output else ""
    lost = (
        f"; {found.left_out} of {len(found.names) + found.left_out} left out: not in {data}" if found.left_out else ""
    )
    # Beside a knowledge file on stdout, what is said of it goes to stderr.
    click.echo(
        f"{wrote}{len(known)} statements about {len(known.features)} features, from {found.source}{lost}. "
        f"Audit them: moreso audit {data or 'data.csv'} {output or 'knowledge.txt'}",
        err=output is None,
    )


@main.command()
@click.option(
    "-o", "--output", "folder", type=_FILE, default=Path("moreso-demo"), show_default=True, help="Folder for the files."
)
@click.option(
    "--rows", type=int, default=_defaults(demonstration.run)["rows"], show_default=True, help="Rows to train on."
)
@click.option(
    "--splits", type=int, default=_defaults(demonstration.run)["splits"], show_default=True, help="Random splits."
)
@click.option("--max-epochs", type=int, default=_defaults(demonstration.run)["max_epochs"], show_default=True)
@click.option("--seed", type=int, default=_defaults(demonstration.run)["random_state"], show_default=True)
def demo(folder: Path, rows: int, splits: int, max_epochs: int, seed: int) -> None:
    """Do the main job on bundled data: 442 patients, of whom a model sees 40."""
    console = _console()
    with _misuse():
        found = demonstration.run(
            folder,
            rows=rows,
            splits=splits,
            max_epochs=max_epochs,
            random_state=seed,
            progress=True,
            tell=console.print,
        )
    console.print(f"\nopen {found.files['report']}, or go on by hand:")
    data, knowledge, model = (found.files[name] for name in ("data", "knowledge", "model"))
    console.print(f"  moreso audit {data} {knowledge}", f"  moreso sample {model} -n 1000 -o synthetic.csv", sep="\n")
