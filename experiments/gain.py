"""What knowledge gains on few rows, beside other ways to regularize: `python -m experiments.gain [model ...]`.

Each run fits one model on random rows of a table and scores held-out rows; arms of one set, model and seed share rows,
split and starting parameters, so that their differences are paired. A run is a line of JSON in
experiments/results/gain.jsonl, and one that is there is not run again: stop and start as you like. `STAGES` are the
questions, in their order; within one, sets and models are the inner loops, so that any part of it is a fair picture.

Tables are cut to complete rows, and to the columns that statements name and the first others, up to `COLUMNS` in all:
without their many further columns the wide tables are still those of their field, and a run takes seconds.
"""

import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch

from experiments import sets
from experiments.rivals import Blocks, L2Penalised, with_dropout
from moreso import Knowledge, Relation, Synthesizer, Verdict, audit
from moreso.models import MODELS
from moreso.training import split

RESULTS = Path(__file__).parent / "results" / "gain.jsonl"
ROWS, HELD_OUT, COLUMNS, SEEDS = 40, 500, 16, 10
LEAST = 40
"""Held-out rows; a table that leaves fewer is not measured at that number of training rows."""
FIRST = 10
"""Seeds below it, and the splits they stand for, were used to choose the default (docs/decisions/0010)."""

NAMES = ["factor", "vae", "flow"]
RATIOS = [0.1, 0.5, 1.0]
MARGINS = [1.0, 2.0]
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
    """

    arms: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[int, ...] = (ROWS,)
    models: tuple[str, ...] = tuple(NAMES)


WORLDS = (*sets.WORLDS, "solar")
STAGES = {
    "claim": Stage(("default",), tuple(sets.SETS)),
    "wrong": Stage(("flipped",), tuple(sets.SETS)),
    "worlds": Stage(("default", "flipped", "l2", "dropout", "dedicated"), WORLDS),
    "curve": Stage(("default",), (*WORLDS, "holzinger", "bfi"), (20, 80, 160, 320), ("factor", "vae")),
    "sensitivity": Stage(("turned", "half", "margin"), (*WORLDS, "holzinger", "bfi", "diabetes"), models=("vae",)),
    "peers": Stage(("l2", "dropout"), tuple(sets.SETS)),
    "hindsight": Stage(("ratio",), tuple(sets.SETS)),
}


# Columns that are independent of those of other blocks, by how their names begin.
BLOCKS: dict[str, list[tuple[str, ...]]] = {
    "toy": [("a_",), ("b_",), ("c_",)],
    "triples": [("first_", "second_"), ("third_",)],
}


def arms(model: str, name: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of a `Synthesizer` by the name of the arm; the plain model is kept of the fit of "default".

    Fixed ratios are for hindsight, and fall back to no plain model.
    """
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
        "default": {"knowledge": "stated"},
        "flipped": {"knowledge": "flipped"},
        "turned one": {"knowledge": "turned one"},
        "half": {"knowledge": "half"},
        **{f"margin {m:g}": {"knowledge": "stated", "margin": m} for m in MARGINS},
        **({"dedicated": {"model": lambda width: Blocks(build, blocks)}} if blocks else {}),
        **l2,
        **({} if model == "factor" else dropout),
        **{f"ratio {ratio:g}": {"knowledge": "stated", "ratio": ratio, "compare": False} for ratio in RATIOS},
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


def run(name: str, model: str, seed: int, arm: str, rows: int = ROWS) -> list[dict[str, Any]]:
    """Fit one arm, and return what is worth keeping of it, and of the plain model where that was fitted too.

    Nothing where the table leaves too few rows to score.
    """
    train, test, knowledge = prepared(name, seed, rows)
    if len(test) < LEAST:
        return []
    settings: dict[str, Any] = {"model": model, **arms(model, name, list(map(str, train)))[arm]}
    if "knowledge" in settings:
        settings["knowledge"] = altered(knowledge, settings["knowledge"], np.random.default_rng(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        fitted = Synthesizer(**settings, random_state=seed).fit(train)
        seconds = time.process_time() - start
    undecided = [finding.verdict is Verdict.UNDECIDED for finding in audit(train, settings.get("knowledge", knowledge))]
    head = {
        "set": name,
        "model": model,
        "seed": seed,
        "rows": len(train),
        "columns": train.shape[1],
        "held_out_rows": len(test),
        "statements": len(undecided),
        "undecided": sum(undecided),
        "version": version("moreso"),
    }
    _, stops = split(len(train), fitted.validation, seed)

    def line(own: str, one: Synthesizer) -> dict[str, Any]:
        found = audit(one.sample(1000, random_state=seed), knowledge, like=train)
        return {
            **head,
            "arm": own,
            "log_likelihood": round(float(one.score_samples(test).mean()), 5),
            "validation": np.round(one.score_samples(train.iloc[stops.numpy()]), 4).tolist(),
            "held_in_samples": round(float(np.mean([finding.gap > 0 for finding in found])), 4),
            "left_out": len(one.left_out_),
            "fell_back": bool(one.harm_),
            "seconds": round(seconds, 2),
        }

    lines = [line(arm, fitted)]
    if arm == "default":
        assert fitted.plain_ is not None
        lines.append(line("plain", fitted.plain_))
    return lines


def done() -> Iterator[tuple[Any, ...]]:
    """Yield what was run."""
    if RESULTS.exists():
        for line in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines()):
            yield line["set"], line["model"], line["seed"], line["arm"], line["rows"]


def main(models: Sequence[str], seeds: int = SEEDS, stages: Sequence[str] = tuple(STAGES)) -> None:
    """Run what is lacking, question by question."""
    torch.set_num_threads(1)
    finished = set(done())
    missing: set[str] = set()
    for stage in (STAGES[each] for each in stages):
        for seed, rows, name, model in product(range(FIRST, FIRST + seeds), stage.rows, stage.names, models):
            if name in missing or model not in stage.models:
                continue
            for arm in arms(model, name, ()):
                if arm.split(" ")[0] not in stage.arms or (name, model, seed, arm, rows) in finished:
                    continue
                try:
                    lines = run(name, model, seed, arm, rows)
                except sets.MissingPackageError as error:
                    print(f"{name}: {error}")
                    missing.add(name)
                    break
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(line) + "\n" for line in lines)
                print(*map(json.dumps, lines), sep="\n", flush=True)


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(NAMES))
@click.option("--seeds", type=int, default=SEEDS, show_default=True)
@click.option("--stage", "stages", multiple=True, type=click.Choice(list(STAGES)), help="By default all.")
def command(models: tuple[str, ...], seeds: int, stages: tuple[str, ...]) -> None:
    """Run what is lacking for MODELS, by default all."""
    main(models or NAMES, seeds, stages or tuple(STAGES))


if __name__ == "__main__":
    command()
