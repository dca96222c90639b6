"""What `gain.py` measured, as Markdown tables."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from experiments import compare, gain, sets
from experiments.gain import MARGINS, NAMES, ROWS, STAGES

ARMS = ("default", "flipped", "l2", "dropout")


def gains() -> pd.DataFrame:
    """Return the gain of every arm over the plain model, a row a set, model, seed, arm and number of training rows.

    "l2" and "dropout" are the strength that is better on the rows that decide when to stop, seed by seed.
    """
    lines = pd.read_json(gain.RESULTS, lines=True).drop_duplicates(["set", "model", "seed", "arm", "rows"])
    keys = ["set", "model", "seed", "rows"]
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


def table(names: Iterable[str] = tuple(sets.SETS), shown: Sequence[str] = ARMS) -> str:
    """Return gains at 40 rows, a set and model, as a Markdown table."""
    found = at(gains(), names)
    head = ["model", "set", "seeds", "statements", "undecided", "held in samples", *shown]
    rows = [head]
    for (model, name), part in found.groupby(["model", "set"], sort=False):
        own = part[part["arm"] == "default"]
        held = f"{own['held_in_samples_plain'].mean():.2f} -> {own['held_in_samples'].mean():.2f}"
        counts = [str(len(own)), f"{own['statements'].mean():.0f}", f"{own['undecided'].mean():.1f}", held]
        rows.append([str(model), str(name), *counts, *(cell(part.loc[part["arm"] == arm, "gain"]) for arm in shown)])
    return compare.markdown(rows)


def at(found: pd.DataFrame, names: Iterable[str], rows: int = ROWS) -> pd.DataFrame:
    """Return the gains of some sets at one number of training rows."""
    return found[found["set"].isin(list(names)) & (found["rows"] == rows)]


def summary(shown: Sequence[str] = ARMS) -> str:
    """Return, a model, on how many public sets the default gains and loses, and the mean gains of arms."""
    found = at(gains(), sets.SETS)
    head = ["model", "runs", "sets that gain", "sets that lose", *(f"mean gain, {arm}" for arm in shown), "fell back"]
    rows = [head]
    for model, part in found.groupby("model", sort=False):
        own = part[part["arm"] == "default"]
        ends = [interval(each) for _, each in own.groupby("set")["gain"]]
        won = sum(low > 0 for _, low, _ in ends)
        lost = sum(high < 0 for _, _, high in ends)
        means = [part[part["arm"] == arm].groupby("set")["gain"].mean() for arm in shown]
        cells = [cell(each) for each in means]
        fell = f"{own['fell_back'].sum():.0f} of {len(own)}"
        rows.append([str(model), str(len(own)), f"{won} of {len(ends)}", f"{lost} of {len(ends)}", *cells, fell])
    return compare.markdown(rows)


def curve() -> str:
    """Return the default's gains by the number of training rows, with the number of seeds."""
    found = gains()
    found = found[(found["arm"] == "default") & found["set"].isin(STAGES["curve"].names)]
    counts = sorted(found["rows"].unique())
    rows = [["model", "set", *(f"{count} rows" for count in counts)]]
    for (model, name), part in found.groupby(["model", "set"], sort=False):
        if part["rows"].nunique() > 1:
            cells = [part.loc[part["rows"] == count, "gain"] for count in counts]
            rows.append(
                [str(model), str(name), *(f"{cell(each)} ({len(each)})" if len(each) else "-" for each in cells)]
            )
    return compare.markdown(rows)


def sensitivity() -> str:
    """Return the gains of other settings and other knowledge, over the seeds that the default has too."""
    found = at(gains(), STAGES["sensitivity"].names)
    found = found[found["model"] == "vae"]
    shown = ["default", "turned one", "flipped", "half", *(f"margin {margin:g}" for margin in MARGINS)]
    rows = [["set", "seeds", *shown]]
    for name, part in found.groupby("set", sort=False):
        wide = part[part["arm"].isin(shown)].pivot_table(index="seed", columns="arm", values="gain")
        wide = wide.reindex(columns=shown).dropna()
        if len(wide):
            rows.append([str(name), str(len(wide)), *(cell(wide[arm]) for arm in shown)])
    return compare.markdown(rows)
