"""Commands about statements: check, show, audit, derive, ask.

The defaults are repeated here, since importing them would load PyTorch; a test compares them with the library's.
"""

from pathlib import Path

import click

import moreso
from moreso import elicit, tabular
from moreso._files import atomic_write, check_writable
from moreso.cli.shell import (
    FILE,
    Collector,
    Source,
    main,
    misuse,
    plain_console,
    reads_partitions,
    reads_tables,
    tables_argument,
    tell,
)
from moreso.relations import explain_contradiction, explain_redundancy, spell_alike

DRAWINGS = "map", "graph", "hierarchy", "ordering"


@main.command()
@click.argument("knowledge", type=FILE)
@click.option(
    "--features",
    "data",
    type=FILE,
    help="A table (CSV, Parquet or Feather) whose columns are the only valid names.",
)
@click.option(
    "--show",
    type=click.Choice(["closure", "reduction"]),
    help="Print a knowledge file with all statements that follow from the others, or without them.",
)
@reads_tables
@click.pass_context
def check(
    context: click.Context, knowledge: Path, data: Path | None, show: str | None, reading: tabular.Reading
) -> None:
    """Check KNOWLEDGE for statements that contradict each other and statements that follow from others.

    Exit code 0: no contradictions; 1: contradictions; 2: misuse.
    """
    problems = Collector()
    table = None if data is None else problems.table(data, reading)
    known = problems.knowledge(knowledge, table)
    problems.end()
    assert known is not None
    contradictions = [explain_contradiction(cycle) for cycle in known.contradictions()]
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


@main.command()
@click.argument("knowledge", type=FILE)
@click.pass_context
def show(context: click.Context, knowledge: Path) -> None:
    """Print KNOWLEDGE as a tree: each pair of features above those that depend on each other less.

    (+): both rise together; (-): one falls with the other. '...': the branch is drawn further above. Statements that
    follow from others are left out.

    Exit code 0: no contradictions; 1: contradictions, and no tree; 2: misuse.
    """
    problems = Collector()
    known = problems.knowledge(knowledge, None)
    problems.end()
    assert known is not None
    found = list(map(explain_contradiction, known.contradictions()))
    for line in found or known.order().tree():
        click.echo(line, err=bool(found))
    context.exit(1 if found else 0)


def _section(title: str, sentences: list[str], otherwise: str) -> None:
    """Print sentences without wrapping or markup: users may copy them, and a name may look like markup."""
    for line in [f"{title}: {len(sentences)}", *(f"  {each}" for each in sentences)] if sentences else [otherwise]:
        click.echo(line)


@main.command()
@tables_argument
@click.argument("knowledge", type=FILE)
@click.option("--level", type=float, default=0.05, show_default=True, help="Level of the tests.")
@click.option(
    "--block",
    type=int,
    default=1,
    show_default=True,
    help="For a time series: how many consecutive rows may depend on each other.",
)
@click.option("--json", "form", flag_value="json", help="Print everything as a JSON object.")
@click.option("--csv", "form", flag_value="csv", help="Print a CSV table with one row per statement.")
@reads_tables
@reads_partitions
@click.pass_context
def audit(
    context: click.Context,
    data: tuple[Path, ...],
    knowledge: Path,
    level: float,
    block: int,
    form: str | None,
    source: Source,
) -> None:
    """Test every statement in KNOWLEDGE on the rows of DATA (CSV, Parquet, Feather, or a query in a .sql file).

    Several tables are joined by the columns that they share. The audit then also says which columns were never observed
    together, and what a fit would make of them. With --engine dask, DATA are Parquet files with the same columns, a
    folder of them or a pattern, such as 'plant/*.parquet'.

    Exit code 0: the data contradict no statement; 1: they contradict at least one; 2: misuse.
    """
    from moreso._audit import level_problems  # noqa: PLC0415 (loads PyTorch)

    problems = Collector()
    table = problems.source(data, source)
    rows = None if table is None or source.parted else len(table)
    known = problems.knowledge(knowledge, table)
    if table is not None and rows is not None:
        named, directed = (known.features, known.directed) if known else ((), ())
        problems.add(tabular.table_problems(table, named, directed=directed))
    problems.add(level_problems(level, block, rows))
    problems.end()
    assert table is not None and known is not None
    with source.computing():
        found = moreso.audit(table, known, level=level, block=block)
    if form is not None:
        # Only the table goes to stdout; the notes go to stderr, unless they are in the JSON object.
        click.echo(found.to_json() if form == "json" else found.to_frame().to_csv(index=False), nl=form == "json")
        for note in (*found.notes, found.information) if form == "csv" else ():
            click.echo(note, err=True)
    else:
        console = plain_console()
        console.print(found)
        for verdict in moreso.Verdict:
            console.print(f"{verdict}: {found.count(verdict)} ({verdict.sentence})")
        for note in found.notes:
            console.print(note, markup=False)
        console.print(found.information)
    context.exit(1 if found.count(moreso.Verdict.CONTRADICTED) else 0)


@main.command()
@click.argument("drawing", type=FILE)
@click.option("-o", "--output", type=FILE, help="The knowledge file to write; by default stdout.")
@click.option("--features", "data", type=FILE, help="A table; statements name only its columns.")
@click.option("--as", "kind", type=click.Choice(DRAWINGS), help="Kind of the drawing; by default its columns decide.")
@click.option("--length", help="For graphs: the edge attribute that holds lengths.  [default: count steps]")
@click.option("--unit", default="", help="Unit of the distances, for the reasons.")
@click.option("--ratio", type=float, default=3.0, show_default=True, help="Least ratio of distances, minus to plus.")
@click.option("--per-feature", type=int, default=3, show_default=True, help="Maximum number of statements per ref.")
@click.option("--rising", is_flag=True, help="State also that close features rise together.")
@reads_tables
def derive(
    drawing: Path,
    output: Path | None,
    data: Path | None,
    kind: str | None,
    length: str | None,
    unit: str,
    ratio: float,
    per_feature: int,
    rising: bool,
    reading: tabular.Reading,
) -> None:
    """Derive statements from a DRAWING: near features depend on each other more than far ones.

    A map is a table with 'feature' and 'x', 'y' or 'latitude', 'longitude'. A graph is GraphML, an edge list (two
    names per line), or a table with 'source' and 'target'. A hierarchy is a table with 'feature' and one column per
    level, from fine to coarse. An ordering is a table with 'feature' and 'position', or one whose column names end in
    numbers (--as ordering).
    """
    problems = Collector()
    problems.add(moreso.derive.rule_problems(ratio, per_feature))
    if output is not None:
        problems.attempt(check_writable, output)
    table = None if data is None else problems.table(data, reading)
    names = None if table is None else [str(name) for name in table.columns]
    found = problems.attempt(moreso.derive.measure, drawing, kind, features=names, length=length, unit=unit)
    problems.end()
    assert found is not None
    tell(f"{drawing}: {note}" for note in found.notes)
    with misuse():
        known = found.knowledge(ratio, per_feature, rising=rising)
        if output is not None:
            known.write(output)
    if output is None:
        click.echo(str(known))
    wrote = f"wrote {output}: " if output else ""
    lost = (
        f"; {found.left_out} of {len(found.names) + found.left_out} left out: not in {data}" if found.left_out else ""
    )
    # If the knowledge file goes to stdout, the summary goes to stderr.
    click.echo(
        f"{wrote}{len(known)} statements about {len(known.features)} features, from {found.source}{lost}. "
        f"Audit them: moreso audit {data or 'data.csv'} {output or 'knowledge.txt'}",
        err=output is None,
    )


@main.command()
@tables_argument
@click.option("--features", help="Columns to ask about, separated by commas; by default all.")
@click.option("-n", "--questions", type=int, default=20, show_default=True, help="Maximum number of questions.")
@click.option("-o", "--output", type=FILE, help="The file to write the questions to; by default stdout.")
@reads_tables
def ask(
    data: tuple[Path, ...], features: str | None, questions: int, output: Path | None, reading: tabular.Reading
) -> None:
    """Write the questions that the rows of DATA leave open, as a knowledge file for an expert to fill in.

    The most valuable questions come first. Replace each ? by > or <, then audit or fit with the file. Several tables
    are joined by the columns that they share; about columns that were never observed together, the questions are
    whether one rises with the other: replace ? by + or -.
    """
    problems = Collector()
    if output is not None:
        problems.attempt(check_writable, output)
    table = problems.tables(data, reading)
    problems.add(elicit.question_problems(questions))
    problems.end()
    assert table is not None
    names = None
    if features is not None:
        names, notes = spell_alike((name.strip() for name in features.split(",")), map(str, table.columns))
        tell(notes)
    with misuse():
        found = moreso.ask(table, names, questions=questions)
        text = elicit.questionnaire(found, len(table))
        if output is not None:
            with atomic_write(output) as scratch:
                scratch.write_text(text, encoding="utf-8")
    if output is None:
        click.echo(text, nl=False)
    wrote = f"wrote {output}: " if output else ""
    click.echo(f"{wrote}{len(found)} questions that {len(table)} rows leave open.", err=output is None)
