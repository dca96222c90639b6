"""What `gain.py` measured, as figures."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import sets, tables
from experiments.gain import ONE, ROWS, STAGES

LIMIT = 1.0
"""Nats; what is longer is cut, for the table to tell."""


def gains() -> Figure:
    """Draw mean and 95% interval of the default's gain on each public set, a panel a model."""
    found = tables.latest(tables.at(tables.gains(), sets.SETS))
    models = list(dict.fromkeys(found["model"]))
    figure = Figure(figsize=(1 + 2.6 * len(models), 4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(models), sharey=True))
    names = list(sets.SETS)[::-1]
    for panel, model in zip(panels, models, strict=True):
        for arm, colour, shift in (("default", "C0", 0.12), ("flipped", "C3", -0.12)):
            part = found[(found["model"] == model) & (found["arm"] == arm)]
            for name, own in part.groupby("set")["gain"]:
                mean, low, high = (float(np.clip(value, -LIMIT, LIMIT)) for value in tables.interval(own))
                place = names.index(str(name)) + shift
                panel.plot([low, high], [place, place], color=colour, linewidth=1.5)
                panel.plot(mean, place, "o", color=colour, markersize=4)
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set_title(str(model))
        panel.set_xlabel("gain, nats a row")
    panels[0].set_yticks(range(len(names)), names)
    return figure


def curves() -> Figure:
    """Draw the log-likelihood of the VAE without and with knowledge over the number of training rows, a panel a set.

    Relative to that of the plain model at 40 rows, as means over the seeds that are at both numbers.
    """
    found = tables.gains()
    found = found[(found["arm"] == "default") & (found["model"] == "vae") & (found["folds"] == ONE)]
    found = found[found["set"].isin(STAGES["curve"].names)]
    names = [name for name, part in found.groupby("set", sort=False) if part["rows"].nunique() > 1]
    figure = Figure(figsize=(2.4 * max(1, len(names)), 2.8), layout="constrained")
    panels: list[Axes] = list(np.atleast_1d(figure.subplots(1, max(1, len(names)))))
    for panel, name in zip(panels, names, strict=False):
        part = found[found["set"] == name]
        base = part[part["rows"] == ROWS].set_index("seed")["log_likelihood_plain"]
        for column, style, label in (("log_likelihood_plain", "o--", "without"), ("log_likelihood", "o-", "with")):
            rise = part.assign(rise=part[column] - part["seed"].map(base)).dropna(subset="rise")
            means = rise.groupby("rows")["rise"].mean()
            panel.plot(means.index, means, style, label=label, markersize=4)
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(part["rows"].unique()), [str(count) for count in sorted(part["rows"].unique())])
        panel.set_title(str(name))
        panel.set_xlabel("training rows")
    panels[0].set_ylabel("nats a row, against 40 rows")
    panels[0].legend()
    return figure


def write(folder: Path) -> None:
    """Write all figures, the same bytes from the same measurements."""
    folder.mkdir(exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "moreso", "font.size": 8}):
        for draw in (gains, curves):
            draw().savefig(folder / f"{draw.__name__}.svg", metadata={"Date": None})
