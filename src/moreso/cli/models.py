"""Commands about models: fit, sample, report, worth, demo.

The defaults are repeated here, since importing them would load PyTorch; a test compares them with the library's.
"""

import logging
import warnings
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

import moreso
from moreso import tabular
from moreso._files import check_writable
from moreso.cli._folder import check_folder, digest, is_folder, open_folder, part_path
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
    typed,
)
from moreso.relations import Knowledge, explain_left_out

if TYPE_CHECKING:
    import pandas as pd

MODELS = "factor, vae, gan, vaegan, gplvm, flow, flowmatching"

model_option = click.option("--model", default="vae", show_default=True, help=f"One of {MODELS}.")


class Machine(NamedTuple):
    """Where and how a model is trained; see `moreso.Synthesizer` and `moreso.Settings`."""

    device: str
    devices: int
    strategy: str
    precision: str


def trains(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of where to train to a command, which gets them as the argument 'machine'."""

    @wraps(command)
    def call(*args: object, device: str, devices: int, strategy: str, precision: str, **others: object) -> None:
        command(*args, machine=Machine(device, devices, strategy, precision), **others)

    shared = "'ddp' the rows of every batch, 'members' the models; 'auto' the models if there are enough"
    for option in (
        click.option("--precision", default="32-true", show_default=True, help="'32-true' or 'bf16-mixed'."),
        click.option("--strategy", default="auto", show_default=True, help=f"What processes share: {shared}."),
        click.option("--devices", type=int, default=1, show_default=True, help="How many processes train."),
        click.option("--device", default="cpu", show_default=True, help="Where to train: cpu, cuda or auto."),
    ):
        call = option(call)
    return call


@main.command()
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="DATA... [KNOWLEDGE]")
@click.option("-o", "--output", type=FILE, required=True, help="The model file to write.")
@model_option
@click.option("--weight", default="auto", show_default=True, help="'auto', or a number of at least 0.")
@click.option(
    "--trust",
    type=click.Choice(["audit", "all"]),
    default="audit",
    show_default=True,
    help="'audit' drops statements that DATA contradict, or all if they seem to harm; 'all' enforces every statement.",
)
@click.option("--max-epochs", type=int, default=3000, show_default=True)
@click.option("--log", type=FILE, help="Folder for a CSV log of loss, penalty and share of statements held.")
@click.option("--report", "page", type=FILE, help="Write a report on the training rows too: an .html or .json file.")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@trains
@reads_tables
@reads_partitions
def fit(
    files: tuple[Path, ...],
    output: Path,
    model: str,
    weight: str,
    trust: str,
    max_epochs: int,
    log: Path | None,
    page: Path | None,
    seed: int,
    machine: Machine,
    source: Source,
) -> None:
    """Train a model on DATA with KNOWLEDGE, and the same model without it for comparison.

    Several tables are joined by the columns that they share: columns that were never observed together are as dependent
    as KNOWLEDGE says, and else independent given the others. With --engine dask, DATA are Parquet files with the same
    columns, a folder of them or a pattern, such as 'plant/*.parquet'; their rows are streamed.

    If a fit was killed, the same command resumes it from OUTPUT.checkpoint. Ctrl-C keeps the best model so far.
    """
    from moreso.training import is_first_process  # noqa: PLC0415 (loads PyTorch)

    problems = Collector()
    problems.attempt(check_writable, output)
    data, knowledge = _split_files(files)
    if page is not None:
        problems.attempt(check_writable, page)
        rule = "--report compares models with and without KNOWLEDGE, got none. Give a knowledge file."
        problems.add([] if knowledge else [rule])
        rule = "--report needs rows in memory, got --engine dask. Report on other rows afterwards: moreso report."
        problems.add([rule] if source.parted else [])
    table = problems.source(data, source)
    known = None if knowledge is None else problems.knowledge(knowledge, table)
    number = problems.attempt(_weight, weight)
    synthesizer = moreso.Synthesizer(
        model,
        weight=number or 0.0,
        trust=trust,
        max_epochs=max_epochs,
        device=machine.device,
        progress=True,
        random_state=seed,
        settings=moreso.Settings(
            precision=machine.precision,
            devices=machine.devices,
            strategy=machine.strategy,
            identifiers=_identifiers(table, known, source.reading),
        ),
    )
    # The collector has already reported names that are not columns.
    readable = known if known is None or table is None else known.restrict(map(str, table.columns))
    # To check partitions takes a pass over all of them, so the fit does.
    problems.attempt(synthesizer.set_params(knowledge=readable).check, None if source.parted else table)
    problems.end()
    assert table is not None
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    with source.computing(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        synthesizer.set_params(knowledge=known).fit(table, checkpoint=f"{output}.checkpoint", log=log)
    if not is_first_process():
        return
    with misuse():
        synthesizer.save(output)
    console = plain_console()
    for sentence in synthesizer.encoder_.describe(complete=bool(synthesizer.unobserved_)):
        console.print(sentence, markup=False)
    for sentence in _explain_unobserved(synthesizer, table):
        console.print(sentence, markup=False)
    for relation in synthesizer.left_out_:
        text = str(relation) if known is None else known.describe(relation)
        console.print(explain_left_out(text), style="red", markup=False)
    if synthesizer.harm_:
        console.print(synthesizer.harm_, style="red", markup=False)
    if known and synthesizer.plain_ is None:
        console.print("interrupted: the plain model was not fitted, so 'moreso report' has none to compare with.")
    elif synthesizer.histories_[-1].interrupted and not synthesizer.harm_:
        console.print("interrupted: the best model so far was kept.")
    best = ", ".join(f"{history.best_epoch + 1} of {history.epochs}" for history in synthesizer.histories_)
    console.print(f"wrote {output}: {model}, best epoch {best}.", markup=False)
    if page is not None and synthesizer.plain_ is not None:
        with misuse():
            moreso.report(synthesizer, training=table).write(page, command=typed())
        console.print(f"wrote {page}.", markup=False)


def _split_files(files: tuple[Path, ...]) -> tuple[tuple[Path, ...], Path | None]:
    """Return the tables and the knowledge file: the last one, unless it is a table or the only one."""
    if len(files) == 1 or tabular.is_table(files[-1]):
        return files, None
    return files[:-1], files[-1]


def _explain_unobserved(synthesizer: "moreso.Synthesizer", table: "pd.DataFrame") -> list[str]:
    """Return what the fit says of columns that were never observed together."""
    from moreso._audit import explain_directions, explain_pairs  # noqa: PLC0415 (loads PyTorch)

    pairs = [each.pair for each in synthesizer.unobserved_]
    if not pairs:
        return []
    known = Knowledge(()) if synthesizer.harm_ else synthesizer.statements
    return [explain_pairs(pairs, known), *explain_directions(pairs, known, table)]


def _identifiers(
    table: "pd.DataFrame | None", known: Knowledge | None, reading: tabular.Reading
) -> tuple[str, ...] | None:
    """Return the columns of identifiers: those that look so, and those of which the user says so."""
    if table is None or not reading.kinds:
        return None
    named = {*reading.kinds, *(known.features if known else ())}
    return (
        *tabular.find_identifiers(table, named),
        *(name for name, kind in reading.kinds.items() if kind == "identifiers"),
    )


def _weight(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"--weight must be 'auto' or a number of at least 0, got '{text}'.") from None


@main.command()
@click.argument("model", type=FILE)
@click.option("-n", "rows", type=int, required=True, help="Number of rows.")
@click.option(
    "-o", "--output", type=click.Path(), required=True, help="A .csv, .parquet or .feather file, or a folder: samples/"
)
@click.option("--seed", type=int, help="Random seed; by default the seed of the fit.")
@click.option("--where", help="Draw only rows that fulfil a condition, such as \"region == 'north' and flow > 3\".")
@click.option(
    "--complete",
    is_flag=True,
    help="Draw rows without missing values, as is done anyway if columns were never observed together.",
)
def sample(model: Path, rows: int, output: str, seed: int | None, where: str | None, complete: bool) -> None:
    """Draw rows from a fitted MODEL into a table, or into a folder of Parquet files of bounded size.

    For more rows than fit into memory, name a folder: an output that ends with a slash. If the command was killed, the
    same command goes on after the files that are finished.
    """
    from moreso.synthesizer import draw_problems  # noqa: PLC0415 (loads PyTorch)

    problems = Collector()
    path, parted = Path(output), is_folder(output)
    if parted:
        problems.attempt(check_folder, path)
    else:
        problems.attempt(tabular.check_suffix, path)
        problems.attempt(check_writable, path)
    loaded = problems.attempt(moreso.Synthesizer.load, model)
    problems.add(draw_problems(rows, seed))
    problems.end()
    assert loaded is not None
    files = ""
    with misuse():
        if parted:
            files = _sample_parts(loaded, path, rows, model, seed=seed, where=where, complete=complete)
        else:
            drawn = loaded.sample(rows, where=where, random_state=seed, missing=False if complete else None)
            tabular.write_table(drawn, path)
    columns = len(loaded.feature_names_in_)
    plain_console().print(f"wrote {output}: {rows} rows, {columns} columns{files}.", markup=False)


def _sample_parts(
    loaded: "moreso.Synthesizer",
    folder: Path,
    rows: int,
    model: Path,
    *,
    seed: int | None,
    where: str | None,
    complete: bool,
) -> str:
    """Write samples into a folder, and return what there is to say of the files."""
    size = loaded.fitted_.part_rows
    about = {
        "model": digest(model),
        "seed": loaded.seed_ if seed is None else seed,
        "rows": rows,
        "rows per file": size,
        "where": where,
        "complete": complete,
        "version": version("moreso"),
    }
    first = open_folder(folder, about)
    missing = False if complete else None
    parts = loaded.sample_parts(rows, size=size, first=first, where=where, random_state=seed, missing=missing)
    for number, part in enumerate(parts, first):
        tabular.write_table(part, part_path(folder, number))
    count = -(-rows // size)
    return f" in {count} file{'s' * (count != 1)}" + (f", {first} of which were there" if first else "")


@main.command()
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="A .csv, .parquet or .feather file.")
@click.option("--draws", type=int, default=1, show_default=True, help="How many filled tables, one below the other.")
@click.option("--seed", type=int, help="Random seed; by default the seed of the fit.")
@reads_tables
def impute(model: Path, data: Path, output: Path, draws: int, seed: int | None, reading: tabular.Reading) -> None:
    """Fill the missing values of DATA with draws from a fitted MODEL, given the rest of each row.

    Other values stay as they are. With several --draws, a first column 'draw' numbers the filled tables.
    """
    from moreso.synthesizer import draw_problems  # noqa: PLC0415 (loads PyTorch)

    problems = Collector()
    problems.add(draw_problems(draws, seed, "draws"))
    problems.attempt(tabular.check_suffix, output)
    problems.attempt(check_writable, output)
    loaded = problems.attempt(moreso.Synthesizer.load, model)
    table = problems.table(data, reading)
    if table is not None and draws > 1 and "draw" in table.columns:
        problems.add([f"{data}: has a column 'draw', which is to number the filled tables. Rename it."])
    problems.end()
    assert loaded is not None and table is not None
    with misuse():
        filled = loaded.impute(table, draws=draws, random_state=seed)
        if draws > 1:
            filled = filled.reset_index(level="draw")
        tabular.write_table(filled, output)
    lacking = int(table.reindex(columns=filled.columns.drop("draw", errors="ignore")).isna().sum().sum())
    plain_console().print(f"wrote {output}: {len(filled)} rows, {lacking} values filled.", markup=False)


def splitting(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `moreso.worth` to a command."""
    for option in (
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of the splits and fits."),
        click.option("--budget", type=int, default=60, show_default=True, help="Maximum number of fits."),
        click.option("--splits", type=int, default=5, show_default=True, help="Number of random splits."),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("model", type=FILE)
@tables_argument
@click.option("-o", "--output", type=FILE, required=True, help="An .html or .json file.")
@click.option("--training", type=FILE, help="The training rows: refit models to show what each statement is worth.")
@splitting
@reads_tables
def report(
    model: Path,
    data: tuple[Path, ...],
    output: Path,
    training: Path | None,
    splits: int,
    budget: int,
    seed: int,
    reading: tabular.Reading,
) -> None:
    """Compare DATA with samples of MODEL, trained without and with knowledge.

    Use rows that the model was not trained on, else the likelihood is too optimistic. Several tables are joined by the
    columns that they share. With --training, the report also shows which statements carry the gain and how many rows it
    is worth, as `moreso worth` does; what the statements say beyond these rows; and whether samples are copies of them.
    """
    from moreso.evaluation import split_problems  # noqa: PLC0415 (loads PyTorch)

    problems = Collector()
    problems.attempt(check_writable, output)
    loaded = problems.attempt(moreso.Synthesizer.load, model)
    table = problems.tables(data, reading)
    rows = None if training is None else problems.table(training, reading)
    problems.add(split_problems(splits, budget, seed))
    problems.end()
    assert loaded is not None and table is not None
    with misuse():
        weighed = None
        if rows is not None:
            shown = loaded.set_params(progress=True)
            weighed = moreso.worth(shown, rows, splits=splits, budget=budget, random_state=seed)
        found = moreso.report(loaded, table, training=rows, worth=weighed)
        found.write(output, command=typed())
    console = plain_console()
    console.print(found)
    if found.pairs:
        console.print(found.pairs_to_rich())
    if weighed and weighed.statements:
        console.print(weighed)
    for sentence in (*found.summary, found.information, *found.advice):
        console.print(sentence, markup=False)
    console.print(f"wrote {output}.", markup=False)


@main.command()
@click.argument("data", type=FILE)
@click.argument("knowledge", type=FILE)
@model_option
@splitting
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reads_tables
def worth(
    data: Path,
    knowledge: Path,
    model: str,
    splits: int,
    budget: int,
    as_json: bool,
    seed: int,
    reading: tabular.Reading,
) -> None:
    """Show what KNOWLEDGE gains on rows of DATA that no model saw, and which statements carry the gain.

    In each random split, the model is fitted without and with KNOWLEDGE to 80% of the rows and scored on the others.
    """
    from moreso.evaluation import split_problems  # noqa: PLC0415 (loads PyTorch)

    problems = Collector()
    table = problems.table(data, reading)
    known = problems.knowledge(knowledge, table)
    problems.add(split_problems(splits, budget, seed))
    problems.end()
    assert table is not None
    with misuse():
        synthesizer = moreso.Synthesizer(model, known, progress=True)
        found = moreso.worth(synthesizer, table, splits=splits, budget=budget, random_state=seed)
    if as_json:
        click.echo(found.to_json())
        return
    console = plain_console()
    if found.statements:
        console.print(found)
    for sentence in found.summary:
        console.print(sentence, markup=False)


@main.command()
@click.option(
    "-o", "--output", "folder", type=FILE, default=Path("moreso-demo"), show_default=True, help="Folder for the files."
)
@click.option("--rows", type=int, default=40, show_default=True, help="Number of training rows.")
@click.option("--splits", type=int, default=5, show_default=True, help="Number of random splits.")
@click.option("--max-epochs", type=int, default=3000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def demo(folder: Path, rows: int, splits: int, max_epochs: int, seed: int) -> None:
    """Audit, fit and report on bundled data: 442 patients, of whom a model sees 40."""
    from moreso.cli._demo import run  # noqa: PLC0415 (loads PyTorch)

    console = plain_console()
    with misuse():
        found = run(
            folder,
            rows=rows,
            splits=splits,
            max_epochs=max_epochs,
            random_state=seed,
            progress=True,
            tell=console.print,
            command=typed(),
        )
    console.print(f"\nopen {found.files['report']}, or go on by hand:", markup=False)
    data, knowledge, model = (found.files[name] for name in ("data", "knowledge", "model"))
    for command in (f"audit {data} {knowledge}", f"sample {model} -n 1000 -o synthetic.csv"):
        console.print(f"  moreso {command}", markup=False)
