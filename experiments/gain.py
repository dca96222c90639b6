"""What knowledge gains on few rows, beside other ways to regularize: `python -m experiments.gain [model ...]`.

Each run fits one model on random rows of a table and scores held-out rows; arms of one set, model and seed share rows,
splits and initial parameters, so that their differences are paired. A run is a line of JSON in
experiments/results/gain.jsonl, and one that is there is not run again: stop and start as you like. `STAGES` are the
questions, in their order; within one, sets and models are the inner loops, so that any part of it is a fair picture.
The arms of one set, model and seed are one job, for they share the plain model.

Tables are cut to complete rows, and to the columns that statements name and the first others, up to `COLUMNS` in all:
without their many further columns the wide tables are still those of their field, and a run takes seconds.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from torch import nn

from experiments import runs, sets
from experiments.rivals import Blocks, Drawing, L2Penalised, gaussian, with_dropout
from moreso import Knowledge, Settings, Synthesizer, Verdict, audit
from moreso.models import MODELS

RESULTS = Path(__file__).parent / "results" / "gain.jsonl"
ROWS, HELD_OUT, COLUMNS = 40, 500, 16
LEAST = 40
"""Held-out rows; a table that leaves fewer is not measured at that number of training rows."""
ENSEMBLE, ONE = 4, 1
"""Members of a fit: the default at 40 rows, and a single model for side questions, in a quarter of the time."""
SEEDS = {ENSEMBLE: range(30, 40), ONE: range(10, 20)}
"""Lower seeds, and the splits that they stand for, were used to choose the default (docs/decisions/0010, 0012, 0013).
Seeds from 30 on had no part in any choice but the share of dropout that is tried (0014)."""
HARM = 0.01
"""Nats a row: `Synthesizer` keeps the plain model if validation rows lose more with knowledge (docs/decisions/0012)."""

NAMES = ["factor", "vae", "flow", "gplvm"]
RATIOS = [0.1, 1.0]
MARGINS = [1.0, 2.0]
DRAWS = [64, 1024]
L2 = [0.001, 0.01]
DROPOUT = [0.1, 0.3]

EDITION = 2
"""Of the training: 1 trained one model after the other (until November 2026), 2 trains populations (decision 16). Lines
say theirs, and only lines of one edition are compared; those that do not say it are of the first."""

KEY = ("set", "model", "seed", "arm", "rows", "folds", "edition")
"""What makes a run the same run."""

Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Arm:
    """One way to fit a model.

    Args:
        knowledge: how the statements are changed, see `altered`, or "signed": with their directions; None fits
            without statements.
        build: returns the model from the number of columns; by default the model itself is fitted.
        settings: of the `Synthesizer`.
        obeyed: whether the model with statements is kept even if they harm.
    """

    knowledge: str | None = None
    build: Build | None = None
    settings: Settings = field(default_factory=Settings)
    obeyed: bool = False


@dataclass(frozen=True)
class Stage:
    """One question.

    Args:
        arms: the first words of their names.
        names: of the tables.
        rows: to train on.
        models: that can answer it.
        members: how many models an ensemble has.
    """

    arms: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[int, ...] = (ROWS,)
    models: tuple[str, ...] = ("factor", "vae", "flow")
    members: int = ONE


WORLDS = (*sets.WORLDS, "solar")
SMALL = ("concrete", "solar", "diabetes", "wine", "toy")
STAGES = {
    "claim": Stage(("default", "flipped"), tuple(sets.SETS), members=ENSEMBLE),
    "signed": Stage(("default", "signed"), tuple(sets.SETS), members=ENSEMBLE),
    "worlds": Stage(("default", "flipped", "l2", "dropout", "gaussian", "dedicated"), (*WORLDS, *sets.OWN)),
    "curve": Stage(("default",), (*WORLDS, "holzinger", "bfi"), (20, ROWS, 80, 160, 320), ("factor", "vae")),
    "sensitivity": Stage(
        ("default", "flipped", "turned", "half", "margin", "draws"),
        (*WORLDS, "holzinger", "bfi", "diabetes"),
        models=("vae",),
    ),
    "hindsight": Stage(("ratio",), tuple(sets.SETS), members=ENSEMBLE),
    "peers": Stage(("undropped", "l2", "dropout", "gaussian"), tuple(sets.SETS), members=ENSEMBLE),
    "gplvm": Stage(("default",), SMALL, models=("gplvm",)),
    "rows": Stage((), tuple(sets.SETS), (2 * ROWS,), ("vae",), ENSEMBLE),
}


# Columns that are independent of those of other blocks, by how their names begin.
BLOCKS: dict[str, list[tuple[str, ...]]] = {
    "toy": [("a_",), ("b_",), ("c_",)],
    "triples": [("first_", "second_"), ("third_",)],
    "mnist": [("first_", "second_"), ("third_",)],
}


def arms(model: str, name: str, columns: Sequence[str]) -> dict[str, Arm]:
    """Return the arms of a model and table by name; "gaussian" fits no model."""
    build: Any = MODELS[model]
    blocks = [[i for i, column in enumerate(columns) if column.startswith(starts)] for starts in BLOCKS.get(name, [])]

    def changed(change: Callable[..., nn.Module], **settings: float) -> Arm:
        return Arm(build=lambda width: change(build(width), **settings))

    l2 = {f"l2 {weight:g}": changed(L2Penalised, weight=weight) for weight in L2}
    dropout = {f"dropout {share:g}": changed(with_dropout, share=share) for share in DROPOUT}
    draws = {f"draws {n}": replace(changed(Drawing, draws=n), knowledge="stated") for n in DRAWS}
    return {
        "plain": Arm(),
        **({"undropped": Arm(settings=Settings(dropout=0.0))} if model == "vae" else {}),
        "gaussian": Arm(),
        "default": Arm("stated"),
        "signed": Arm("signed"),
        "flipped": Arm("flipped"),
        "turned one": Arm("turned one"),
        "half": Arm("half"),
        **{f"margin {margin:g}": Arm("stated", settings=Settings(margin=margin)) for margin in MARGINS},
        **draws,
        **({"dedicated": Arm(build=lambda width: Blocks(build, blocks))} if blocks else {}),
        **l2,
        **({} if model == "factor" else dropout),
        **{f"ratio {ratio:g}": Arm("stated", settings=Settings(ratio=ratio), obeyed=True) for ratio in RATIOS},
    }


def altered(knowledge: Knowledge, how: str, random: np.random.Generator) -> Knowledge:
    """Return the statements as an arm uses them: as stated, some turned into their converse, or half of them.

    Which are turned is drawn again until no two contradict each other.
    """
    if how == "half":
        kept = sorted(random.permutation(len(knowledge))[: (len(knowledge) + 1) // 2])
        return Knowledge(tuple(relation for i, relation in enumerate(knowledge) if i in kept))
    count = {"stated": 0, "turned one": 1, "flipped": len(knowledge) // 2}[how]
    while True:
        swapped = set(random.permutation(len(knowledge))[:count].tolist())
        found = Knowledge(tuple(each.converse() if i in swapped else each for i, each in enumerate(knowledge)))
        if not found.contradictions():
            return found


def prepared(
    name: str, seed: int, rows: int = ROWS, *, signed: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame, Knowledge]:
    """Return training rows, held-out rows, and the statements about columns that vary in training."""
    table, knowledge = sets.load(name), sets.knowledge(name, signed=signed)
    named = [column for column in table if column in set(knowledge.features)]
    others = [column for column in table if column not in named]
    table = table[named + others[: max(0, COLUMNS - len(named))]].dropna().astype(float)
    order = np.random.default_rng(seed).permutation(len(table))
    train, test = table.iloc[order[:rows]], table.iloc[order[rows : rows + HELD_OUT]]
    return train, test, knowledge.restrict([str(column) for column in train if train[column].nunique() > 1])


@lru_cache(maxsize=1)
def plain(name: str, model: str, seed: int, rows: int, members: int) -> Synthesizer:
    """Return the model without knowledge, with which several arms are compared."""
    settings = Settings(members=members)
    return Synthesizer(model, random_state=seed, settings=settings).fit(prepared(name, seed, rows)[0])


def error(train: pd.DataFrame, rows: pd.DataFrame, target: str) -> float:
    """Return the root of the mean squared error of a forest that predicts a column, in its standard deviations."""
    forest = RandomForestRegressor(random_state=0).fit(train.drop(columns=target), train[target])
    missed = forest.predict(rows.drop(columns=target)) - rows[target]
    return float((missed**2).mean() ** 0.5 / rows[target].std(ddof=0))


def harmed(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether validation rows are less likely with knowledge, by more than `HARM` on average.

    This is the rule of `Synthesizer.fit`, restated so that several arms share one plain model.

    Args:
        before: log-likelihood of each row without knowledge.
        after: and with it.
    """
    return not after.mean() >= before.mean() - HARM


def run(name: str, model: str, seed: int, arm: str, rows: int = ROWS, members: int = ENSEMBLE) -> dict[str, Any] | None:
    """Fit one arm, and return what is worth keeping of it; None if the table leaves too few rows to score.

    As in `Synthesizer.fit`, the plain model chooses the dropout, and replaces the model with knowledge if the
    statements harm; fixed ratios, which are for hindsight, are always kept. "obeyed" is the log-likelihood of the model
    with knowledge, kept or not, and "change" the mean over validation rows by which the rule decides. Seconds do not
    include the plain model's, except in its own line.
    """
    train, test, knowledge = prepared(name, seed, rows)
    if len(test) < LEAST:
        return None
    chosen = arms(model, name, list(map(str, train)))[arm]
    stated = None
    if chosen.knowledge == "signed":
        stated = prepared(name, seed, rows, signed=True)[2]
    elif chosen.knowledge is not None:
        stated = altered(knowledge, chosen.knowledge, np.random.default_rng(seed))
    findings = audit(train, knowledge if stated is None else stated)
    line: dict[str, Any] = {
        "set": name,
        "model": model,
        "seed": seed,
        "arm": arm,
        "rows": len(train),
        "folds": members,
        "columns": train.shape[1],
        "held_out_rows": len(test),
        "statements": len(findings),
        "undecided": findings.count(Verdict.UNDECIDED),
        "version": version("moreso"),
        "edition": EDITION,
    }
    if arm == "gaussian":
        return line | {"log_likelihood": round(float(gaussian(train, test).mean()), 5)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        if arm == "plain":
            fitted = plain(name, model, seed, rows, members)
        else:
            settings = replace(chosen.settings, members=members)
            if stated is not None:
                settings = replace(settings, dropout=plain(name, model, seed, rows, members).dropout_)
                start = time.process_time()
            made = Synthesizer(chosen.build or model, stated, compare=False, random_state=seed, settings=settings)
            fitted = made.fit(train)
        seconds, left_out, fell_back = time.process_time() - start, len(fitted.left_out_), False
        judged: dict[str, float] = {}
        if stated is not None and not chosen.obeyed:
            other = plain(name, model, seed, rows, members)
            before, after = other.score_unseen(train), fitted.score_unseen(train)
            judged = {
                "obeyed": round(float(fitted.score_samples(test).mean()), 5),
                "change": round(float((after - before).mean()), 5),
                "change_error": round(float((after - before).std(ddof=1) / len(after) ** 0.5), 5),
            }
            if fell_back := harmed(before, after):
                fitted = other
    samples = fitted.sample(1000, random_state=seed)
    target = sets.target(name)
    return line | {
        "log_likelihood": round(float(fitted.score_samples(test).mean()), 5),
        "validation": round(float(fitted.score_unseen(train).mean()), 5),
        "held_in_samples": round(float(np.mean([found.gap > 0 for found in audit(samples, knowledge, like=train)])), 4),
        "error": round(error(samples, test, target), 4),
        **({"error_of_rows": round(error(train, test, target), 4)} if arm == "plain" else {}),
        "dropout": fitted.dropout_,
        "left_out": left_out,
        "fell_back": fell_back,
        **judged,
        "seconds": round(seconds, 2),
    }


def lacking(models: Sequence[str], seeds: int | None, stages: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the jobs that are left, question by question: the arguments of `complete`."""
    finished = runs.done(RESULTS, KEY)
    there = sets.there(dict.fromkeys(name for stage in stages for name in STAGES[stage].names))
    jobs: list[tuple[Any, ...]] = []
    for stage in (STAGES[each] for each in stages):
        for seed, rows, name, model in product(SEEDS[stage.members][:seeds], stage.rows, stage.names, models):
            if name not in there or model not in stage.models:
                continue
            asked = [arm for arm in arms(model, name, ()) if arm.split(" ")[0] in ("plain", *stage.arms)]
            left = [arm for arm in asked if (name, model, seed, arm, rows, stage.members, EDITION) not in finished]
            finished |= {(name, model, seed, arm, rows, stage.members, EDITION) for arm in left}
            if left:
                jobs.append((name, model, seed, left, rows, stage.members))
    return jobs


def complete(name: str, model: str, seed: int, lacking: Sequence[str], rows: int, members: int) -> None:
    """Run some arms of one set, model and seed, unless they are there, and write their lines."""
    finished = runs.done(RESULTS, KEY)
    for arm in lacking:
        if (name, model, seed, arm, rows, members, EDITION) in finished:
            continue
        if line := run(name, model, seed, arm, rows, members):
            runs.write(RESULTS, line)


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(NAMES))
@click.option("--seeds", type=int, help="By default all.")
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="By default all.")
@runs.options
def main(
    models: tuple[str, ...], seeds: int | None, stages: tuple[str, ...], processes: int, store: str | None
) -> None:
    """Run what is lacking for MODELS, by default all."""
    jobs = lacking(models or NAMES, seeds, stages or tuple(STAGES))
    runs.do(complete, jobs, processes, runs.shared(store, RESULTS, KEY))


if __name__ == "__main__":
    main()
