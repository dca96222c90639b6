"""What `gain.py` measured, as Markdown tables."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from experiments import compare, gain, sets
from experiments.gain import DRAWS, ENSEMBLE, MARGINS, NAMES, ONE, RATIOS, ROWS, STAGES
from moreso.evaluation import extra_rows
from moreso.guidance import AUTO_RATIO

MAIN, PEERS = ("default", "flipped"), ("default", "l2", "dropout", "undropped", "gaussian")
OVER = ("l2", "dropout", "gaussian")
SIGNED = ["default", "signed"]
RATIO_ARMS = [f"ratio {ratio:g}" for ratio in RATIOS]
KEYS = ["set", "model", "seed", "rows", "folds", "edition"]
"""What arms that are compared have in common; "folds" is the number of members of the ensemble."""


def gains() -> pd.DataFrame:
    """Return the gain of every arm over the plain model, one row for each of `KEYS` and arm.

    "l2" and "dropout" have the strength that is better on validation rows, seed by seed.
    """
    lines = _lines()
    plain = lines[lines["arm"] == "plain"].set_index(KEYS)[
        ["log_likelihood", "held_in_samples", "error", "error_of_rows"]
    ]
    lines = lines[lines["arm"] != "plain"].join(plain.add_suffix("_plain"), KEYS)
    # A fit that falls back is the plain model to the bit; on another machine the two may differ by rounding.
    lines["gain"] = (lines["log_likelihood"] - lines["log_likelihood_plain"]) * lines["fell_back"].ne(True)
    lines["kind"] = lines["arm"].str.split(" ").str[0]
    tuned = lines[lines["kind"].isin(["l2", "dropout"])].sort_values("validation").groupby([*KEYS, "kind"]).tail(1)
    found = pd.concat([lines, tuned.assign(arm=tuned["kind"])], ignore_index=True).dropna(subset="gain")
    return found.sort_values("model", key=lambda models: models.map(NAMES.index), kind="stable", ignore_index=True)


def _lines() -> pd.DataFrame:
    lines = pd.read_json(gain.RESULTS, lines=True)
    editions = lines["edition"].fillna(1).astype(int) if "edition" in lines else 1
    return lines.assign(edition=editions).drop_duplicates([*KEYS, "arm"])


def latest(found: pd.DataFrame, shown: Sequence[str] = ("default",)) -> pd.DataFrame:
    """Return, of every model, what the latest edition of the training that has all these arms measured."""
    parts = []
    for _, part in found.groupby("model", sort=False):
        whole = [int(str(edition)) for edition, own in part.groupby("edition") if set(shown) <= set(own["arm"])]
        if whole:
            parts.append(part[part["edition"] == max(whole)])
    return pd.concat(parts) if parts else found[:0]


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


def table(
    names: Iterable[str] = tuple(sets.SETS),
    shown: Sequence[str] = MAIN,
    members: int = ENSEMBLE,
    models: Sequence[str] = NAMES,
) -> str:
    """Return gains at 40 rows, a set and model, as a Markdown table."""
    found, plain = latest(at(gains(), names, members)), plains(members)
    found = found[found["model"].isin(models)]
    head = ["model", "set", "seeds that gain", "statements", "undecided", "held in samples", *shown, "in rows"]
    rows = [head]
    for (model, name), part in found.groupby(["model", "set"], sort=False):
        own = part[part["arm"] == "default"]
        if own.empty:
            continue
        held = f"{own['held_in_samples_plain'].mean():.2f} -> {own['held_in_samples'].mean():.2f}"
        won = f"{(own['gain'] > 0).sum()} of {len(own)}"
        counts = [won, f"{own['statements'].mean():.0f}", f"{own['undecided'].mean():.1f}", held]
        cells = [cell(part.loc[part["arm"] == arm, "gain"]) for arm in shown]
        rows.append(
            [str(model), str(name), *counts, *cells, in_rows(own["gain"].mean(), plain.get((str(model), str(name))))]
        )
    return compare.markdown(rows)


def at(found: pd.DataFrame, names: Iterable[str], members: int = ENSEMBLE) -> pd.DataFrame:
    """Return the gains of some sets at 40 rows."""
    return found[found["set"].isin(list(names)) & (found["rows"] == ROWS) & (found["folds"] == members)]


def summary(shown: Sequence[str] = MAIN) -> str:
    """Return, a model, on how many public sets the default gains and loses, and the mean gains of arms."""
    found = latest(at(gains(), sets.SETS))
    head = ["model", "runs", "sets that gain", "sets that lose", *(f"mean gain, {arm}" for arm in shown), "fell back"]
    rows = [head]
    for model, part in found.groupby("model", sort=False):
        own = part[part["arm"] == "default"]
        if own.empty:
            continue
        ends = [interval(each) for _, each in own.groupby("set")["gain"]]
        won = sum(low > 0 for _, low, _ in ends)
        lost = sum(high < 0 for _, _, high in ends)
        means = [part[part["arm"] == arm].groupby("set")["gain"].mean() for arm in shown]
        cells = [cell(each) for each in means]
        fell = f"{own['fell_back'].sum():.0f} of {len(own)}"
        rows.append([str(model), str(len(own)), f"{won} of {len(ends)}", f"{lost} of {len(ends)}", *cells, fell])
    return compare.markdown(rows)


def curve() -> str:
    """Return the default's gains by the number of training rows, with the number of seeds, and its worth in rows."""
    found = gains()
    found = found[(found["arm"] == "default") & (found["folds"] == ONE) & found["set"].isin(STAGES["curve"].names)]
    found = found[found["edition"] == found["edition"].min()]
    plain, counts = plains(ONE), sorted(found["rows"].unique())
    rows = [["model", "set", *(f"{count} rows" for count in counts), f"gain at {ROWS} in rows"]]
    for (model, name), part in found.groupby(["model", "set"], sort=False):
        if part["rows"].nunique() > 1:
            cells = [part.loc[part["rows"] == count, "gain"] for count in counts]
            shown = [f"{cell(each)} ({len(each)})" if len(each) else "-" for each in cells]
            own = part.loc[part["rows"] == ROWS, "gain"].mean()
            rows.append([str(model), str(name), *shown, in_rows(own, plain.get((str(model), str(name))))])
    return compare.markdown(rows)


def plains(members: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the plain model's mean log-likelihoods at 40 and 80 rows, over the seeds that both have, by model and set.

    Args:
        members: of the ensemble.
    """
    lines = _lines()
    lines = lines[(lines["arm"] == "plain") & (lines["folds"] == members)]
    wide = lines.pivot_table(index=["edition", "model", "set", "seed"], columns="rows", values="log_likelihood")
    whole = wide.reindex(columns=[ROWS, 2 * ROWS]).dropna()
    means = whole.groupby(["edition", "model", "set"]).mean().groupby(["model", "set"]).last()
    return {(str(model), str(name)): (few, many) for (model, name), few, many in means.itertuples()}


def in_rows(gain: float, plain: tuple[float, float] | None) -> str:
    """Return how many more than 40 rows would have raised the plain model as much as knowledge does, as text.

    The plain model's learning curve is a - b / n through its means at 40 and 80 rows.

    Args:
        gain: of knowledge, in nats a row.
        plain: the means at 40 and 80 rows, or None.
    """
    if plain is None or np.isnan(gain):
        return "-"
    more = extra_rows({1.0: plain[0], 2.0: plain[1]}, ROWS, gain)
    return "-" if np.isnan(more) else "more than any" if np.isinf(more) else f"{more:.0f}"


def hindsight() -> str:
    """Return, a model, the default's mean gain beside that of fixed ratios and of the best of them in hindsight."""
    found = at(gains(), sets.SETS)
    names = [f"ratio {ratio:g}" for ratio in sorted([AUTO_RATIO, *RATIOS])]
    rows = [["model", "sets", "seeds", "default", *names, "best in hindsight", "share of it"]]
    for model, part in latest(found, RATIO_ARMS).groupby("model", sort=False):
        means, best = ratios(part)
        if len(means):
            share = f"{means['default'].mean() / best.mean():.0%}"
            counts = [str(len(means)), f"{means.pop('seeds').mean():.0f}"]
            rows.append([str(model), *counts, *(cell(means[arm]) for arm in means), cell(best), share])
    return compare.markdown(rows)


def ratios(part: pd.DataFrame) -> tuple[pd.DataFrame, "pd.Series[float]"]:
    """Return mean gains of the default and of fixed ratios without fallback, a row a set, with its seeds, and the best.

    The best ratio of a set, or none, is chosen by the mean gain on held-out rows, which no user has. Means are over the
    seeds that all have.

    Args:
        part: gains of one model.
    """
    own = part[part["arm"] == "default"]
    obeyed = own.assign(arm=f"ratio {AUTO_RATIO:g}", gain=own["obeyed"] - own["log_likelihood_plain"])
    names = [f"ratio {ratio:g}" for ratio in sorted([AUTO_RATIO, *RATIOS])]
    wide = paired(pd.concat([part, obeyed.dropna(subset="gain")]), ["default", *names]).groupby("set")
    return wide.mean().assign(seeds=wide.size()), wide.mean()[names].max(axis=1).clip(lower=0)


def paired(part: pd.DataFrame, shown: Sequence[str]) -> pd.DataFrame:
    """Return the gains of the arms that are shown, a column each, for every set and seed that has all of them."""
    wide = part[part["arm"].isin(shown)].pivot_table(index=["set", "seed"], columns="arm", values="gain", sort=False)
    return wide.reindex(columns=list(shown)).dropna()


def peers() -> str:
    """Return the default's gain beside that of its peers, and the differences, over the seeds that all have."""
    found = at(gains(), sets.SETS)
    rows = [["model", "set", "seeds", *PEERS, *(f"over {arm}" for arm in OVER)]]
    for model, part in found.groupby("model", sort=False):
        shown = [arm for arm in PEERS if (part["arm"] == arm).any()]
        wide = paired(latest(part, shown), shown)
        if "l2" not in shown or wide.empty:
            continue
        for arm in OVER:
            wide[f"over {arm}"] = wide["default"] - wide[arm] if arm in wide else np.nan
        wide = wide.reindex(columns=rows[0][3:])
        for name, own in wide.groupby("set", sort=False):
            rows.append([str(model), str(name), str(len(own)), *(cell(own[arm].dropna()) for arm in own)])
        means = wide.groupby("set").mean()
        rows.append([str(model), "mean", str(len(wide)), *(cell(means[arm].dropna()) for arm in means)])
    return compare.markdown(rows)


def directions() -> str:
    """Return the gain of statements without and with their directions, and the difference, on each set."""
    found = at(gains(), sets.SETS)
    rows = [["model", "set", "seeds", "without directions", "with directions", "difference"]]
    for model, part in found.groupby("model", sort=False):
        wide = paired(latest(part, SIGNED), SIGNED)
        if wide.empty:
            continue
        wide["difference"] = wide["signed"] - wide["default"]
        for name, own in wide.groupby("set", sort=False):
            rows.append([str(model), str(name), str(len(own)), *(cell(own[arm]) for arm in own)])
        means = wide.groupby("set").mean()
        rows.append([str(model), "mean", str(len(wide)), *(cell(means[arm]) for arm in means)])
    return compare.markdown(rows)


def downstream() -> str:
    """Return errors of regressions trained on samples without and with knowledge, and on the 40 rows themselves."""
    found = latest(at(gains(), sets.SETS))
    found = found[found["arm"] == "default"]
    rows = [["model", "set", "seeds", "predicted", "trained on the rows", "on samples", "with knowledge", "change"]]
    for (model, name), part in found.groupby(["model", "set"], sort=False):
        means = [f"{part[key].mean():.2f}" for key in ("error_of_rows_plain", "error_plain", "error")]
        change = cell(part["error"] - part["error_plain"])
        rows.append([str(model), str(name), str(len(part)), f"`{sets.target(str(name))}`", *means, change])
    return compare.markdown(rows)


def sensitivity() -> str:
    """Return the gains of other settings and other knowledge, over the seeds that the default has too."""
    found = at(gains(), STAGES["sensitivity"].names, ONE)
    found = found[found["model"] == "vae"]
    shown = ["default", "turned one", "flipped", "half"]
    shown += [*(f"margin {margin:g}" for margin in MARGINS), *(f"draws {draws}" for draws in DRAWS)]
    shown = [arm for arm in shown if (found["arm"] == arm).any()]
    found = latest(found, shown)
    rows = [["set", "seeds", *shown]]
    for name, part in found.groupby("set", sort=False):
        wide = paired(part, shown)
        if len(wide):
            rows.append([str(name), str(len(wide)), *(cell(wide[arm]) for arm in shown)])
    return compare.markdown(rows)
