"""What was asked of the default before anything was measured, and what came out, as a Markdown table."""

from typing import NamedTuple

import pandas as pd

from experiments import compare, games, runs, sets, tables
from experiments.tables import cell, interval

OPEN = 1
"""Statements that the audit leaves undecided, on average over seeds: a set with fewer leaves nothing open."""
SEEDS = 10
"""Asked of each set; what rests on fewer holds only so far."""


class Bar(NamedTuple):
    """One demand.

    Args:
        name: what is measured.
        asked: of it.
        measured: as text.
        runs: that it rests on: a model, set and seed each.
        met: whether it is as asked.
    """

    name: str
    asked: str
    measured: str
    runs: int
    met: bool


def table() -> str:
    """Return each bar, what it asks, what was measured, and whether it is met."""
    rows = [["bar", "model", "asked", "measured", "runs", "met"]]
    found = tables.at(tables.gains(), sets.SETS)
    bars = [(str(model), bar) for model, part in found.groupby("model", sort=False) for bar in of_likelihood(part)]
    played = pd.DataFrame(runs.read(games.RESULTS), columns=["model", "set", "seed", "without", "with"])
    bars += [(str(model), bar) for model, part in played.groupby("model", sort=False) for bar in of_game(part)]
    for model, bar in bars:
        so_far = "so far " if bar.runs < SEEDS * len(sets.SETS) else ""
        met = f"{so_far}yes" if bar.met else f"{so_far}**no**"
        rows.append([bar.name, model, bar.asked, bar.measured, str(bar.runs), met])
    return compare.markdown(rows)


def of_likelihood(part: pd.DataFrame) -> list[Bar]:
    """Return the bars of a model with a density.

    Args:
        part: its gains.
    """
    found = tables.latest(part)
    own, swapped, bars = found[found["arm"] == "default"], found[found["arm"] == "flipped"], []
    if len(own):
        undecided = own.groupby("set")["undecided"].mean() >= OPEN
        won = (ends(own)["low"] > 0)[undecided]
        measured = f"{won.sum()} of {len(won)}"
        bars.append(
            Bar("sets with undecided statements that gain", "two thirds", measured, len(own), won.mean() >= 2 / 3)
        )
    for name, lines in (("sets that lose", own), ("sets that lose, half of the statements swapped", swapped)):
        if len(lines):
            lost = ends(lines)["high"] < 0
            bars.append(Bar(name, "none", f"{lost.sum()} of {len(lost)}", len(lines), not lost.any()))
    means, best = tables.ratios(tables.latest(part, tables.RATIO_ARMS))
    if len(means):
        share = float(means["default"].mean() / best.mean())
        bars.append(
            Bar("share of the best ratio's gain", "80%", f"{share:.0%}", int(means["seeds"].sum()), share >= 0.8)
        )
    for arm in ("l2", "dropout"):
        wide = tables.paired(tables.latest(part, ["default", arm]), ["default", arm])
        if len(wide):
            means = wide.groupby("set").mean()
            over = means["default"] - means[arm]
            measured = f"{cell(over)}, on {(over > 0).sum()} of {len(over)} sets"
            bars.append(Bar(f"gain over {arm}", "above 0", measured, len(wide), interval(over)[1] > 0))
    wide = tables.paired(tables.latest(part, tables.SIGNED), tables.SIGNED)
    if len(wide):
        over = wide.groupby("set").mean().diff(axis=1)["signed"]
        bars.append(Bar("gain by directions", "0.05", cell(over), len(wide), over.mean() >= 0.05))
        lost = pd.DataFrame([interval(each)[2] < 0 for _, each in wide.groupby("set")["signed"]]).sum().item()
        bars.append(Bar("sets that lose, with directions", "none", f"{lost} of {len(over)}", len(wide), not lost))
    return bars


def ends(part: pd.DataFrame) -> pd.DataFrame:
    """Return mean, low and high end of the interval of gains, a row a set."""
    found = {str(name): interval(each) for name, each in part.groupby("set")["gain"]}
    return pd.DataFrame(found, index=["mean", "low", "high"]).T


def of_game(part: pd.DataFrame) -> list[Bar]:
    """Return the bars of a model without a density.

    Args:
        part: its lines in the results of `games`.
    """
    means = [pd.DataFrame(list(part[arm])).groupby(part["set"].to_numpy()).mean() for arm in ("without", "with")]
    before, after = (mean["broken"].mean() for mean in means)
    change = means[1]["auc"] - means[0]["auc"]
    return [
        Bar("share of broken statements", "halved", f"{before:.2f} -> {after:.2f}", len(part), after <= before / 2),
        Bar("change of the AUC", "not above 0", cell(change), len(part), not interval(change)[1] > 0),
    ]
