"""The main use case on real data: few rows, known relations, and a model without and with knowledge."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_diabetes
from sklearn.model_selection import ShuffleSplit
from sklearn.preprocessing import StandardScaler

from moreso._audit import Audit, audit
from moreso.evaluation import Report, report
from moreso.guidance import MAX_SEED
from moreso.relations import Knowledge, count_problems, raise_problems
from moreso.synthesizer import Synthesizer, fit_all
from moreso.tabular import MIN_ROWS, write_table

_NAMES = {
    "bp": "blood_pressure",
    "s1": "cholesterol",
    "s2": "ldl",
    "s3": "hdl",
    "s4": "cholesterol_hdl_ratio",
    "s5": "log_triglycerides",
    "s6": "glucose",
    "target": "progression",
}


@dataclass(frozen=True)
class Demo:
    """Result of `run`.

    Args:
        audit: the audit of the training rows of the first split.
        report: the report over all splits, on the rows held out.
        files: the files written, by role: "data", "knowledge", "model", "report".
    """

    audit: Audit
    report: Report
    files: dict[str, Path]


def patients() -> pd.DataFrame:
    """Return the diabetes table of scikit-learn: 442 patients and 11 columns in their original units.

    References:
        Efron, Hastie, Johnstone & Tibshirani, "Least Angle Regression", Annals of Statistics 2004.
    """
    return load_diabetes(as_frame=True, scaled=False).frame.rename(columns=_NAMES)


def knowledge_text() -> str:
    """Return the bundled knowledge file about `patients`."""
    return (files("moreso.cli") / "data" / "diabetes.txt").read_text(encoding="utf-8")


def run(
    folder: Path,
    *,
    rows: int = 40,
    splits: int = 5,
    model: str = "vae",
    max_epochs: int = 3000,
    random_state: int = 0,
    progress: bool = False,
    tell: Callable[[object], None] = lambda thing: None,
    command: str = "",
) -> Demo:
    """Audit, train without and with knowledge on few rows, and report on the rows held out.

    Args:
        folder: where to write the table, the knowledge file, the model of the first split and the report; created if
            missing.
        rows: how many of the 442 rows to train on.
        splits: the number of random splits into training rows and rows held out.
        model: as in `Synthesizer`.
        max_epochs: as in `Synthesizer`.
        random_state: seed of the splits and the fits.
        progress: show progress bars while training.
        tell: called with each result as soon as it is available.
        command: as for `Report.to_html`.
    """
    table, knowledge = patients(), Knowledge.parse(knowledge_text())
    _check(len(table), rows, splits, Synthesizer(model, knowledge, max_epochs=max_epochs, random_state=random_state))
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        "data": folder / "patients.csv",
        "knowledge": folder / "knowledge.txt",
        "model": folder / "patients.model",
        "report": folder / "report.html",
    }
    write_table(table, paths["data"])
    paths["knowledge"].write_text(knowledge_text(), encoding="utf-8")
    # scikit-learn's seeds are shorter.
    splitter = ShuffleSplit(splits, train_size=rows, random_state=random_state % 2**32)
    trained, held_out = zip(
        *((table.iloc[train], table.iloc[test]) for train, test in splitter.split(table)), strict=True
    )
    first = audit(trained[0], knowledge)
    tell(first)
    seeds = [(random_state + split) % (MAX_SEED + 1) for split in range(splits)]
    made = [
        Synthesizer(model, knowledge, max_epochs=max_epochs, progress=progress, random_state=seed) for seed in seeds
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report says the same
        fits = fit_all(made, trained)
    tell(f"trained on {rows} rows without and with knowledge, in {splits} splits")
    fits[0].save(paths["model"])
    found = report(fits, held_out, training=trained)
    found.write(paths["report"], command=command)
    tell(found)
    for sentence in [*found.summary, _baseline(trained, held_out), found.information, *found.advice]:
        tell(sentence)
    return Demo(first, found, paths)


def _check(whole: int, rows: int, splits: int, synthesizer: Synthesizer) -> None:
    """Raise all problems of the settings at once."""
    found = count_problems("rows", rows, MIN_ROWS, "The default is 40.")
    if not found and rows > whole - MIN_ROWS:
        found.append(
            f"'rows' must leave {MIN_ROWS} of the {whole} rows to compare with, got {rows}. The default is 40."
        )
    found += count_problems("splits", splits, 1, "The default is 5.")
    raise_problems(settings=found + synthesizer.problems().settings)


def _baseline(trained: Sequence[pd.DataFrame], held_out: Sequence[pd.DataFrame]) -> str:
    """Say how well a shrunk Gaussian does, the strongest simple model: small tables rarely support more."""
    scores = []
    for train, test in zip(trained, held_out, strict=True):
        scaler = StandardScaler().fit(train)
        gaussian = LedoitWolf().fit(scaler.transform(train))
        scores.append(gaussian.score(scaler.transform(test)) - np.log(scaler.scale_).sum())
    return f"For comparison, a Ledoit-Wolf Gaussian fitted to the same rows: {np.mean(scores):.3f}."
