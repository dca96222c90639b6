"""What knowledge gains at 40 rows, beside other ways to regularize: `python -m experiments.gain [model ...]`.

Each run fits one model on 40 random rows of a table and scores held-out rows; arms of one set, model and seed share
rows, split and starting parameters, so that their differences are paired. A run is a line of JSON in
experiments/results/gain.jsonl, and one that is there is not run again: stop and start as you like. Sets and models are
the inner loops, so that any part of it is a fair picture.

Tables are cut to complete rows, and to the columns that statements name and the first others, up to `COLUMNS` in all:
without their many further columns the wide tables are still those of their field, and a run takes seconds.
"""

import json
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from experiments import sets
from moreso import Knowledge, Relation, Synthesizer, Verdict, audit
from moreso.models import MODELS
from moreso.training import split

RESULTS = Path(__file__).parent / "results" / "gain.jsonl"
ROWS, HELD_OUT, COLUMNS, SEEDS = 40, 500, 16, 10
FIRST = 10
"""Seeds below it, and the splits they stand for, were used to choose the default (docs/decisions/0010)."""

NAMES = ["factor", "vae", "flow"]
RATIOS = [0.1, 0.5, 1.0]
L2 = [0.001, 0.01]
DROPOUT = [0.1, 0.3]


class L2Penalised(nn.Module):
    """A model whose loss adds `weight` times the sum of its squared parameters while it trains."""

    def __init__(self, model: Any, weight: float) -> None:
        super().__init__()
        self.model, self.weight = model, weight
        self.sample, self.log_prob = model.sample, model.log_prob

    def loss(self, x: Tensor) -> Tensor:
        """Return the loss, penalised in training mode."""
        loss: Tensor = self.model.loss(x)
        if self.training:
            loss = loss + self.weight * sum(parameter.square().sum() for parameter in self.model.parameters())
        return loss


def with_dropout(model: nn.Module, share: float) -> nn.Module:
    """Put dropout behind every activation of the model's networks, in place."""
    for network in [module for module in model.modules() if isinstance(module, nn.Sequential)]:
        for place in reversed(range(1, len(network) - 1)):
            if not list(network[place].parameters()):
                network.insert(place + 1, nn.Dropout(share))
    return model


def arms(model: str) -> dict[str, dict[str, Any]]:
    """Return the settings of a `Synthesizer` by the name of the arm; the fit of "default" makes the plain model too."""
    build = MODELS[model]
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
        **l2,
        **({} if model == "factor" else dropout),
        **{f"ratio {ratio:g}": {"knowledge": "stated", "ratio": ratio, "compare": False} for ratio in RATIOS},
    }


def flipped(knowledge: Knowledge, random: np.random.Generator) -> Knowledge:
    """Turn half of the statements round, drawing anew until no two contradict each other."""
    while True:
        turned = set(random.permutation(len(knowledge))[: len(knowledge) // 2].tolist())
        found = Knowledge(
            tuple(Relation(r.ref, r.minus, r.plus) if i in turned else r for i, r in enumerate(knowledge))
        )
        if not found.contradictions():
            return found


def prepared(name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, Knowledge]:
    """Return training rows, held-out rows, and the statements about columns that vary in training."""
    table, knowledge = sets.load(name), sets.knowledge(name)
    named = [column for column in table if column in set(knowledge.features)]
    others = [column for column in table if column not in named]
    table = table[named + others[: max(0, COLUMNS - len(named))]].dropna().astype(float)
    order = np.random.default_rng(seed).permutation(len(table))
    train, test = table.iloc[order[:ROWS]], table.iloc[order[ROWS : ROWS + HELD_OUT]]
    return train, test, knowledge.restrict([str(column) for column in train if train[column].nunique() > 1])


def run(name: str, model: str, seed: int, arm: str) -> list[dict[str, Any]]:
    """Fit one arm, and return what is worth keeping of it, and of the plain model where that was fitted too."""
    train, test, knowledge = prepared(name, seed)
    settings: dict[str, Any] = {"model": model, **arms(model)[arm]}
    if "knowledge" in settings:
        wrong = settings["knowledge"] == "flipped"
        settings["knowledge"] = flipped(knowledge, np.random.default_rng(seed)) if wrong else knowledge
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
            yield line["set"], line["model"], line["seed"], line["arm"]


def main(models: list[str], seeds: int = SEEDS) -> None:
    """Run what is lacking: first the arms of the claim, for all sets and seeds, then what they are compared with."""
    torch.set_num_threads(1)
    finished = set(done())
    stages = [["default"], ["flipped"], ["l2", "dropout"], ["ratio"]]
    for stage, seed, name, model in product(stages, range(FIRST, FIRST + seeds), sets.SETS, models):
        for arm in arms(model):
            if arm.split(" ")[0] not in stage or (name, model, seed, arm) in finished:
                continue
            try:
                lines = run(name, model, seed, arm)
            except sets.MissingPackageError as error:
                print(f"{name}: {error}")
                break
            with RESULTS.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            print(*map(json.dumps, lines), sep="\n", flush=True)


def gains() -> pd.DataFrame:
    """Return the gain of every arm over the plain model, a row a set, model, seed and arm.

    "l2" and "dropout" are the strength that is better on the rows that decide when to stop, seed by seed.
    """
    lines = pd.read_json(RESULTS, lines=True).drop_duplicates(["set", "model", "seed", "arm"])
    keys = ["set", "model", "seed"]
    plain = lines[lines["arm"] == "plain"].set_index(keys)[["log_likelihood", "held_in_samples"]]
    lines = lines[lines["arm"] != "plain"].join(plain.add_suffix("_plain"), keys)
    lines["gain"] = lines["log_likelihood"] - lines["log_likelihood_plain"]
    lines["chosen"] = lines["validation"].map(np.mean)
    lines["kind"] = lines["arm"].str.split(" ").str[0]
    tuned = lines[lines["kind"].isin(["l2", "dropout"])].sort_values("chosen").groupby([*keys, "kind"]).tail(1)
    found = pd.concat([lines, tuned.assign(arm=tuned["kind"])], ignore_index=True).dropna(subset="gain")
    return found.sort_values("model", key=lambda models: models.map(NAMES.index), kind="stable", ignore_index=True)


def interval(values: "pd.Series[float]") -> tuple[float, float, float]:
    """Return mean and 95% interval over seeds."""
    given = values.to_numpy(dtype=float)
    mean = float(given.mean())
    if len(given) < 2:
        return mean, -np.inf, np.inf
    reach = float(student.ppf(0.975, len(given) - 1)) * float(given.std(ddof=1)) / len(given) ** 0.5
    return mean, mean - reach, mean + reach


def cell(values: "pd.Series[float]") -> str:
    """Write mean and half the interval; in bold where the interval leaves out 0."""
    if values.empty:
        return "-"
    mean, low, high = interval(values)
    text = f"{mean:+.2f} ± {high - mean:.2f}" if np.isfinite(high) else f"{mean:+.2f}"
    return f"**{text}**" if low > 0 or high < 0 else text


def table() -> str:
    """Return gains a set and model as a Markdown table."""
    found = gains()
    shown = ["default", "flipped", "l2", "dropout"]
    head = ["model", "set", "seeds", "statements", "undecided", "held in samples", *shown]
    rows = [head, ["---"] * len(head)]
    for (model, name), part in found.groupby(["model", "set"], sort=False):
        own = part[part["arm"] == "default"]
        held = f"{own['held_in_samples_plain'].mean():.2f} -> {own['held_in_samples'].mean():.2f}"
        counts = [str(len(own)), f"{own['statements'].mean():.0f}", f"{own['undecided'].mean():.1f}", held]
        rows.append([str(model), str(name), *counts, *(cell(part.loc[part["arm"] == arm, "gain"]) for arm in shown)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def summary(shown: Sequence[str] = ("default", "flipped", "l2", "dropout")) -> str:
    """Return, a model, on how many sets the default gains and loses, and the mean gains of arms."""
    found = gains()
    head = ["model", "runs", "sets that gain", "sets that lose", *(f"mean gain, {arm}" for arm in shown), "fell back"]
    rows = [head, ["---"] * len(head)]
    for model, part in found.groupby("model", sort=False):
        own = part[part["arm"] == "default"]
        ends = [interval(each) for _, each in own.groupby("set")["gain"]]
        won = sum(low > 0 for _, low, _ in ends)
        lost = sum(high < 0 for _, _, high in ends)
        means = [part[part["arm"] == arm].groupby("set")["gain"].mean() for arm in shown]
        cells = [cell(each) for each in means]
        fell = f"{own['fell_back'].sum():.0f} of {len(own)}"
        rows.append([str(model), str(len(own)), f"{won} of {len(ends)}", f"{lost} of {len(ends)}", *cells, fell])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@click.command()
@click.argument("models", nargs=-1, type=click.Choice(NAMES))
@click.option("--seeds", type=int, default=SEEDS, show_default=True)
def command(models: tuple[str, ...], seeds: int) -> None:
    """Run what is lacking for MODELS, by default all."""
    main(list(models) or NAMES, seeds)


if __name__ == "__main__":
    command()
