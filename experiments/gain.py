"""What knowledge gains on few rows, beside other ways to regularize: `python -m experiments.gain [model ...]`.

Each run fits one model on random rows of a table and scores held-out rows; arms of one set, model and seed share rows,
splits and starting parameters, so that their differences are paired. A run is a line of JSON in
experiments/results/gain.jsonl, and one that is there is not run again: stop and start as you like. `STAGES` are the
questions, in their order; within one, sets and models are the inner loops, so that any part of it is a fair picture.
The arms of one set, model and seed are one job, for they share the plain model.

Tables are cut to complete rows, and to the columns that statements name and the first others, up to `COLUMNS` in all:
without their many further columns the wide tables are still those of their field, and a run takes seconds.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from experiments import runs, sets
from experiments.rivals import Blocks, L2Penalised, gaussian, with_dropout
from moreso import Knowledge, Relation, Synthesizer, Verdict, audit, training
from moreso.models import MODELS
from moreso.synthesizer import knowing

RESULTS = Path(__file__).parent / "results" / "gain.jsonl"
ROWS, HELD_OUT, COLUMNS = 40, 500, 16
LEAST = 40
"""Held-out rows; a table that leaves fewer is not measured at that number of training rows."""
MIXED, ONE = 4, 1
"""Models of a fit: the default at 40 rows, and one alone for side questions, in a quarter of the time."""
SEEDS = {MIXED: range(30, 40), ONE: range(10, 20)}
"""Those below, and the splits they stand for, were used to choose the default (docs/decisions/0010, 0012 and 0013); off
those from 30 on nothing was read but the dropout that is tried (0014)."""

NAMES = ["factor", "vae", "flow", "gplvm"]
RATIOS = [0.1, 1.0]
MARGINS = [1.0, 2.0]
DRAWS = [64, 1024]
L2 = [0.001, 0.01]
DROPOUT = [0.1, 0.3]


@dataclass(frozen=True)
class Stage:
    """One question.

    Args:
        arms: the first words of their names.
        names: of the tables.
        rows: to train on.
        models: that can answer it.
        folds: how many models of a kind are mixed.
    """

    arms: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[int, ...] = (ROWS,)
    models: tuple[str, ...] = ("factor", "vae", "flow")
    folds: int = ONE


WORLDS = (*sets.WORLDS, "solar")
SMALL = ("concrete", "solar", "diabetes", "wine", "toy")
STAGES = {
    "claim": Stage(("default", "flipped"), tuple(sets.SETS), folds=MIXED),
    "worlds": Stage(("default", "flipped", "l2", "dropout", "gaussian", "dedicated"), (*WORLDS, *sets.OWN)),
    "curve": Stage(("default",), (*WORLDS, "holzinger", "bfi"), (20, ROWS, 80, 160, 320), ("factor", "vae")),
    "sensitivity": Stage(
        ("default", "flipped", "turned", "half", "margin", "draws"),
        (*WORLDS, "holzinger", "bfi", "diabetes"),
        models=("vae",),
    ),
    "hindsight": Stage(("ratio",), tuple(sets.SETS), folds=MIXED),
    "peers": Stage(("undropped", "l2", "dropout", "gaussian"), tuple(sets.SETS), folds=MIXED),
    "gplvm": Stage(("default",), SMALL, models=("gplvm",)),
    "rows": Stage((), tuple(sets.SETS), (2 * ROWS,), ("vae",), MIXED),
}


# Columns that are independent of those of other blocks, by how their names begin.
BLOCKS: dict[str, list[tuple[str, ...]]] = {
    "toy": [("a_",), ("b_",), ("c_",)],
    "triples": [("first_", "second_"), ("third_",)],
    "mnist": [("first_", "second_"), ("third_",)],
}


def arms(model: str, name: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of a `Synthesizer` by the name of the arm; "gaussian" needs none."""
    build = MODELS[model]
    blocks = [[i for i, column in enumerate(columns) if column.startswith(starts)] for starts in BLOCKS.get(name, [])]
    l2: dict[str, dict[str, Any]] = {
        f"l2 {weight:g}": {"model": lambda width, weight=weight: L2Penalised(build(width), weight)} for weight in L2
    }
    dropout: dict[str, dict[str, Any]] = {
        f"dropout {share:g}": {"model": lambda width, share=share: with_dropout(build(width), share)}
        for share in DROPOUT
    }
    return {
        "plain": {},
        **({"undropped": {"dropout": 0.0}} if model == "vae" else {}),
        "gaussian": {},
        "default": {"knowledge": "stated"},
        "flipped": {"knowledge": "flipped"},
        "turned one": {"knowledge": "turned one"},
        "half": {"knowledge": "half"},
        **{f"margin {m:g}": {"knowledge": "stated", "margin": m} for m in MARGINS},
        **{f"draws {draws}": {"knowledge": "stated"} for draws in DRAWS},
        **({"dedicated": {"model": lambda width: Blocks(build, blocks)}} if blocks else {}),
        **l2,
        **({} if model == "factor" else dropout),
        **{f"ratio {ratio:g}": {"knowledge": "stated", "ratio": ratio} for ratio in RATIOS},
    }


def altered(knowledge: Knowledge, how: str, random: np.random.Generator) -> Knowledge:
    """Return the statements as an arm uses them: as stated, some turned round, or half of them.

    Which are turned is drawn anew until no two contradict each other.
    """
    if how == "half":
        kept = sorted(random.permutation(len(knowledge))[: (len(knowledge) + 1) // 2])
        return Knowledge(tuple(relation for i, relation in enumerate(knowledge) if i in kept))
    count = {"stated": 0, "turned one": 1, "flipped": len(knowledge) // 2}[how]
    while True:
        turned = set(random.permutation(len(knowledge))[:count].tolist())
        found = Knowledge(
            tuple(Relation(r.ref, r.minus, r.plus) if i in turned else r for i, r in enumerate(knowledge))
        )
        if not found.contradictions():
            return found


def prepared(name: str, seed: int, rows: int = ROWS) -> tuple[pd.DataFrame, pd.DataFrame, Knowledge]:
    """Return training rows, held-out rows, and the statements about columns that vary in training."""
    table, knowledge = sets.load(name), sets.knowledge(name)
    named = [column for column in table if column in set(knowledge.features)]
    others = [column for column in table if column not in named]
    table = table[named + others[: max(0, COLUMNS - len(named))]].dropna().astype(float)
    order = np.random.default_rng(seed).permutation(len(table))
    train, test = table.iloc[order[:rows]], table.iloc[order[rows : rows + HELD_OUT]]
    return train, test, knowledge.restrict([str(column) for column in train if train[column].nunique() > 1])


@lru_cache(maxsize=1)
def plain(name: str, model: str, seed: int, rows: int, folds: int) -> Synthesizer:
    """Return the model without knowledge, which several arms are compared with."""
    return Synthesizer(model, folds=folds, random_state=seed).fit(prepared(name, seed, rows)[0])


def error(train: pd.DataFrame, rows: pd.DataFrame, target: str) -> float:
    """Return the root of the mean squared error of a forest that predicts a column, in its standard deviations."""
    forest = RandomForestRegressor(random_state=0).fit(train.drop(columns=target), train[target])
    missed = forest.predict(rows.drop(columns=target)) - rows[target]
    return float((missed**2).mean() ** 0.5 / rows[target].std(ddof=0))


def run(name: str, model: str, seed: int, arm: str, rows: int = ROWS, folds: int = MIXED) -> dict[str, Any] | None:
    """Fit one arm, and return what is worth keeping of it; nothing where the table leaves too few rows to score.

    Dropout is as the plain model has chosen it, and whether the model with knowledge gives way to the plain one is
    decided, as `Synthesizer.fit` does; but fixed ratios, which are for hindsight, never give way. What it was before
    giving way is kept as "obeyed", and what decided as the mean "change" of the rows that the models have not seen.
    Seconds are without those of that choice, but for the plain model's own.
    """
    train, test, knowledge = prepared(name, seed, rows)
    if len(test) < LEAST:
        return None
    settings: dict[str, Any] = {"model": model, **arms(model, name, list(map(str, train)))[arm]}
    if "knowledge" in settings:
        settings["knowledge"] = altered(knowledge, settings["knowledge"], np.random.default_rng(seed))
    undecided = [finding.verdict is Verdict.UNDECIDED for finding in audit(train, settings.get("knowledge", knowledge))]
    line: dict[str, Any] = {
        "set": name,
        "model": model,
        "seed": seed,
        "arm": arm,
        "rows": len(train),
        "folds": folds,
        "columns": train.shape[1],
        "held_out_rows": len(test),
        "statements": len(undecided),
        "undecided": sum(undecided),
        "version": version("moreso"),
    }
    if arm == "gaussian":
        return line | {"log_likelihood": round(float(gaussian(train, test).mean()), 5)}
    kind, _, number = arm.partition(" ")
    draws: dict[str, Any] = {"draws": int(number)} if kind == "draws" else {}
    with warnings.catch_warnings(), patch.object(training, "fit", partial(training.fit, **draws)):
        warnings.simplefilter("ignore")
        start = time.process_time()
        if arm == "plain":
            fitted = plain(name, model, seed, rows, folds)
        else:
            if "knowledge" in settings:
                settings["dropout"] = plain(name, model, seed, rows, folds).dropout_
                start = time.process_time()
            fitted = Synthesizer(**settings, folds=folds, compare=False, random_state=seed).fit(train)
        seconds, left_out, fell_back = time.process_time() - start, len(fitted.left_out_), False
        judged: dict[str, float] = {}
        if "knowledge" in settings and "ratio" not in settings:
            other = plain(name, model, seed, rows, folds)
            before, after = other.score_unseen(train), fitted.score_unseen(train)
            judged = {
                "obeyed": round(float(fitted.score_samples(test).mean()), 5),
                "change": round(float((after - before).mean()), 5),
                "change_error": round(float((after - before).std(ddof=1) / len(after) ** 0.5), 5),
            }
            if fell_back := knowing.harmed(before, after):
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
    keys = ("set", "model", "seed", "arm", "rows", "folds")
    finished = {tuple(line[key] for key in keys) for line in runs.read(RESULTS)}
    there = sets.there(dict.fromkeys(name for stage in stages for name in STAGES[stage].names))
    jobs: list[tuple[Any, ...]] = []
    for stage in (STAGES[each] for each in stages):
        for seed, rows, name, model in product(SEEDS[stage.folds][:seeds], stage.rows, stage.names, models):
            if name not in there or model not in stage.models:
                continue
            asked = [arm for arm in arms(model, name, ()) if arm.split(" ")[0] in ("plain", *stage.arms)]
            left = [arm for arm in asked if (name, model, seed, arm, rows, stage.folds) not in finished]
            finished |= {(name, model, seed, arm, rows, stage.folds) for arm in left}
            if left:
                jobs.append((name, model, seed, left, rows, stage.folds))
    return jobs


def complete(name: str, model: str, seed: int, lacking: Sequence[str], rows: int, folds: int) -> None:
    """Run some arms of one set, model and seed, and write their lines."""
    for arm in lacking:
        if line := run(name, model, seed, arm, rows, folds):
            runs.write(RESULTS, line)


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(NAMES))
@click.option("--seeds", type=int, help="By default all.")
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="By default all.")
@runs.processes
def main(models: tuple[str, ...], seeds: int | None, stages: tuple[str, ...], processes: int) -> None:
    """Run what is lacking for MODELS, by default all."""
    runs.do(complete, lacking(models or NAMES, seeds, stages or tuple(STAGES)), processes)


if __name__ == "__main__":
    main()
