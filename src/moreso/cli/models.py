"""Commands about models: fit, sample, report, demo."""

import warnings
from collections.abc import Callable
from pathlib import Path

import click

from moreso import demo as demonstration
from moreso.audit import explain_left_out
from moreso.cli.shell import FILE, Faults, defaults, main, misuse, plain_console
from moreso.files import check_writable
from moreso.models import MODELS
from moreso.report import report as run_report
from moreso.synthesizer import Synthesizer
from moreso.tables import check_suffix, read_table, write_table
from moreso.worth import worth as run_worth


@main.command()
@click.argument("data", type=FILE)
@click.argument("knowledge", type=FILE, required=False)
@click.option("-o", "--output", type=FILE, required=True, help="Where the model file goes.")
@click.option("--model", default=defaults(Synthesizer)["model"], show_default=True, help=f"One of {', '.join(MODELS)}.")
@click.option(
    "--weight", default=defaults(Synthesizer)["weight"], show_default=True, help="'auto', or a number of at least 0."
)
@click.option(
    "--trust",
    type=click.Choice(["audit", "all"]),
    default=defaults(Synthesizer)["trust"],
    show_default=True,
    help="'audit' leaves out what DATA contradict, and all that seems to do harm; 'all' obeys every statement.",
)
@click.option("--max-epochs", type=int, default=defaults(Synthesizer)["max_epochs"], show_default=True)
@click.option(
    "--device", default=defaults(Synthesizer)["device"], show_default=True, help="Where to train: cpu, cuda or auto."
)
@click.option(
    "--precision", default=defaults(Synthesizer)["precision"], show_default=True, help="'32-true' or 'bf16-mixed'."
)
@click.option("--log", type=FILE, help="A folder for loss, penalty and share of statements held of each epoch, as CSV.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of everything.")
def fit(
    data: Path,
    knowledge: Path | None,
    output: Path,
    model: str,
    weight: str,
    trust: str,
    max_epochs: int,
    device: str,
    precision: str,
    log: Path | None,
    seed: int,
) -> None:
    """Train a model on DATA with KNOWLEDGE, and the same model without it to compare.

    A fit that was killed goes on from OUTPUT.checkpoint when the same command is given again; Ctrl-C keeps the best
    model so far.
    """
    faults = Faults()
    faults.attempt(check_writable, output)
    table = faults.attempt(read_table, data)
    known = None if knowledge is None else faults.knowledge(knowledge, table)
    number = faults.attempt(_weight, weight)
    synthesizer = Synthesizer(
        model,
        weight=number or 0.0,
        trust=trust,
        max_epochs=max_epochs,
        progress=True,
        device=device,
        precision=precision,
        random_state=seed,
    )
    # Names that are no columns have been told already.
    readable = known if known is None or table is None else known.restrict(map(str, table.columns))
    faults.attempt(synthesizer.set_params(knowledge=readable).check, table)
    faults.end()
    assert table is not None
    with misuse(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        synthesizer.set_params(knowledge=known).fit(table, checkpoint=f"{output}.checkpoint", log=log).save(output)
    console = plain_console()
    for text in synthesizer.left_out_:
        console.print(explain_left_out(text), style="red", markup=False)
    if synthesizer.harm_:
        console.print(synthesizer.harm_, style="red", markup=False)
    if known and synthesizer.plain_ is None:
        console.print("interrupted: the plain model was not fitted, so 'moreso report' has none to compare with.")
    elif synthesizer.histories_[-1].interrupted and not synthesizer.harm_:
        console.print("interrupted: the best model so far was kept.")
    best = ", ".join(f"{history.best_epoch + 1} of {history.epochs}" for history in synthesizer.histories_)
    console.print(f"wrote {output}: {model}, best epoch {best}.")


def _weight(text: str) -> float | str:
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise ValueError(f"--weight must be 'auto' or a number of at least 0, got '{text}'.") from None


@main.command()
@click.argument("model", type=FILE)
@click.option("-n", "rows", type=int, required=True, help="How many rows.")
@click.option("-o", "--output", type=FILE, required=True, help="A .csv, .parquet or .feather file.")
@click.option("--seed", type=int, help="Another seed gives other rows; by default that of the fit.")
@click.option("--where", help="Only rows that fulfil a condition, such as \"region == 'north' and flow > 3\".")
def sample(model: Path, rows: int, output: Path, seed: int | None, where: str | None) -> None:
    """Draw rows from a fitted MODEL into a table."""
    faults = Faults()
    faults.attempt(check_suffix, output)
    faults.attempt(check_writable, output)
    loaded = faults.attempt(Synthesizer.load, model)
    faults.end()
    assert loaded is not None
    with misuse():
        write_table(loaded.sample(rows, where=where, random_state=seed), output)
    plain_console().print(f"wrote {output}: {rows} rows, {len(loaded.feature_names_in_)} columns.")


def splitting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `moreso.worth`."""
    for option in (
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of the splits and their fits."),
        click.option(
            "--budget", type=int, default=defaults(run_worth)["budget"], show_default=True, help="Fits, at most."
        ),
        click.option(
            "--splits", type=int, default=defaults(run_worth)["splits"], show_default=True, help="Random splits."
        ),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="An .html or .json file.")
@click.option(
    "--training", type=FILE, help="The rows it was trained on: tells what each statement is worth, by new fits."
)
@splitting
def report(model: Path, data: Path, output: Path, training: Path | None, splits: int, budget: int, seed: int) -> None:
    """Compare DATA with samples of MODEL, trained without and with knowledge.

    Give rows that the model was not trained on: on its own rows the likelihood flatters it. With the rows that it was
    trained on as well, tell which statements carry the gain and how many rows it is worth, as `moreso worth` does.
    """
    faults = Faults()
    faults.attempt(check_writable, output)
    loaded = faults.attempt(Synthesizer.load, model)
    table = faults.attempt(read_table, data)
    rows = None if training is None else faults.attempt(read_table, training)
    faults.end()
    assert loaded is not None and table is not None
    with misuse():
        weighed = None
        if rows is not None:
            weighed = run_worth(loaded, rows, splits=splits, budget=budget, random_state=seed)
        found = run_report(loaded, table, worth=weighed)
        found.write(output)
    console = plain_console()
    console.print(found)
    if weighed and weighed.statements:
        console.print(weighed)
    for sentence in found.summary:
        console.print(sentence)
    console.print(f"wrote {output}.")


@main.command()
@click.argument("data", type=FILE)
@click.argument("knowledge", type=FILE)
@click.option("--model", default=defaults(Synthesizer)["model"], show_default=True, help=f"One of {', '.join(MODELS)}.")
@splitting
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def worth(data: Path, knowledge: Path, model: str, splits: int, budget: int, as_json: bool, seed: int) -> None:
    """Tell what KNOWLEDGE gains on rows of DATA that no model saw, and which statements carry it.

    Each of some random splits fits the model without and with KNOWLEDGE to 80% of the rows, and scores the others.
    """
    faults = Faults()
    table = faults.attempt(read_table, data)
    known = faults.knowledge(knowledge, table)
    faults.end()
    assert table is not None
    with misuse():
        found = run_worth(Synthesizer(model, known), table, splits=splits, budget=budget, random_state=seed)
    if as_json:
        click.echo(found.to_json())
        return
    console = plain_console()
    if found.statements:
        console.print(found)
    for sentence in found.summary:
        console.print(sentence)


@main.command()
@click.option(
    "-o", "--output", "folder", type=FILE, default=Path("moreso-demo"), show_default=True, help="Folder for the files."
)
@click.option(
    "--rows", type=int, default=defaults(demonstration.run)["rows"], show_default=True, help="Rows to train on."
)
@click.option(
    "--splits", type=int, default=defaults(demonstration.run)["splits"], show_default=True, help="Random splits."
)
@click.option("--max-epochs", type=int, default=defaults(demonstration.run)["max_epochs"], show_default=True)
@click.option("--seed", type=int, default=defaults(demonstration.run)["random_state"], show_default=True)
def demo(folder: Path, rows: int, splits: int, max_epochs: int, seed: int) -> None:
    """Do the main job on bundled data: 442 patients, of whom a model sees 40."""
    console = plain_console()
    with misuse():
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
