"""Commands about statements: check, audit, derive, ask."""

from pathlib import Path

import click

from moreso.ask import ask as run_ask
from moreso.ask import questionnaire
from moreso.audit import Verdict
from moreso.audit import audit as run_audit
from moreso.cli.shell import FILE, Faults, defaults, main, misuse, plain_console
from moreso.derive.distances import PER_FEATURE, RATIO, check_rule
from moreso.derive.files import KINDS, measure
from moreso.files import atomic_write, check_writable
from moreso.relations import explain_contradiction, explain_redundancy
from moreso.tables import check_table, read_table


@main.command()
@click.argument("knowledge", type=FILE)
@click.option(
    "--features",
    "data",
    type=FILE,
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
    faults = Faults()
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
@click.argument("data", type=FILE)
@click.argument("knowledge", type=FILE)
@click.option(
    "--level", type=float, default=defaults(run_audit)["level"], show_default=True, help="Level of the tests."
)
@click.option(
    "--block",
    type=int,
    default=defaults(run_audit)["block"],
    show_default=True,
    help="Of a time series: how many rows in a row may depend on each other.",
)
@click.option("--json", "form", flag_value="json", help="Print everything as a JSON object.")
@click.option("--csv", "form", flag_value="csv", help="Print a CSV table, a row a statement.")
@click.pass_context
def audit(context: click.Context, data: Path, knowledge: Path, level: float, block: int, form: str | None) -> None:
    """Test every statement in KNOWLEDGE on the rows of DATA (CSV, Parquet, Feather, or a query in a .sql file).

    Exit code 0: nothing is contradicted; 1: something is; 2: misuse.
    """
    faults = Faults()
    table = faults.attempt(read_table, data)
    known = faults.knowledge(knowledge, table)
    if table is not None and known is not None:
        faults.attempt(
            check_table,
            table,
            [name for name in known.features if name in table.columns],
            missing=True,
            categories=True,
        )
    faults.end()
    assert table is not None and known is not None
    with misuse():
        found = run_audit(table, known, level=level, block=block)
    if form is not None:
        # Only the table goes to stdout; what is said of it goes to stderr, unless the JSON object holds it.
        click.echo(found.to_json() if form == "json" else found.to_frame().to_csv(index=False), nl=form == "json")
        for note in found.notes if form == "csv" else ():
            click.echo(note, err=True)
    else:
        console = plain_console()
        console.print(found)
        for verdict in Verdict:
            console.print(f"{verdict}: {found.count(verdict)} ({verdict.sentence})")
        for note in found.notes:
            console.print(note, markup=False)
    context.exit(1 if found.count(Verdict.CONTRADICTED) else 0)


@main.command()
@click.argument("drawing", type=FILE)
@click.option("-o", "--output", type=FILE, help="Where the knowledge file goes; by default stdout.")
@click.option("--features", "data", type=FILE, help="A table: only its columns are named in statements.")
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
    faults = Faults()
    faults.attempt(check_rule, ratio, per_feature)
    if output is not None:
        faults.attempt(check_writable, output)
    table = None if data is None else faults.attempt(read_table, data)
    names = None if table is None else [str(name) for name in table.columns]
    found = faults.attempt(measure, drawing, kind, features=names, length=length, unit=unit)
    faults.end()
    assert found is not None
    with misuse():
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
@click.argument("data", type=FILE)
@click.option("--features", help="Columns to ask about, with commas between them; by default all.")
@click.option(
    "-n", "--questions", type=int, default=defaults(run_ask)["questions"], show_default=True, help="Most questions."
)
@click.option("-o", "--output", type=FILE, help="Where the questions go; by default stdout.")
def ask(data: Path, features: str | None, questions: int, output: Path | None) -> None:
    """Write what the rows of DATA leave open as questions, a knowledge file to be filled in by an expert.

    Those come first whose answer is worth most. Replace each ? by > or <, and audit or fit with the file.
    """
    faults = Faults()
    if output is not None:
        faults.attempt(check_writable, output)
    table = faults.attempt(read_table, data)
    faults.end()
    assert table is not None
    names = None if features is None else [name.strip() for name in features.split(",")]
    with misuse():
        found = run_ask(table, names, questions=questions)
        text = questionnaire(found, len(table))
        if output is not None:
            with atomic_write(output) as scratch:
                scratch.write_text(text, encoding="utf-8")
    if output is None:
        click.echo(text, nl=False)
    wrote = f"wrote {output}: " if output else ""
    click.echo(f"{wrote}{len(found)} questions that {len(table)} rows leave open.", err=output is None)
