"""What models and samples reveal of the training rows. `python -m experiments.privacy`.

A model is fitted to `ROWS` rows of a set with the experts' statements, with all defaults. Others of its rows, at most
`OTHERS`, were not trained on. What a report says of both is recorded, for the model without and with knowledge:

- `median`, `close` and `copies`: of 1000 samples and of the other rows, the distance to the nearest training row
  (median, in standard deviations per column), the share that is closer than 5% of the training rows are to another one,
  and the share that equals a training row.
- `membership`: the AUC of the log-likelihood that tells training rows from the other rows.

A run is a line of JSON in experiments/results/privacy.jsonl; what is there is not run again.
"""

import time
import warnings
from itertools import product
from pathlib import Path

import click
import numpy as np
import pandas as pd

from experiments import runs, sets
from experiments.runs import Line
from moreso import Synthesizer, report

RESULTS = Path(__file__).parent / "results" / "privacy.jsonl"
KEY = "set", "model", "rows", "seed"
SETS = "diabetes", "wine", "breast_cancer"
MODELS = "vae", "factor", "flow"
ROWS = 40, 160
OTHERS = 250
SEEDS = range(3)


def run(name: str, model: str, rows: int, seed: int) -> None:
    """Do one run, unless it is there."""
    key: Line = {"set": name, "model": model, "rows": rows, "seed": seed}
    if tuple(key.values()) in runs.done(RESULTS, KEY):
        return
    whole = sets.load(name)
    order = np.random.default_rng([seed, rows]).permutation(len(whole))
    own, others = (whole.iloc[part].reset_index(drop=True) for part in (order[:rows], order[rows : rows + OTHERS]))
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = Synthesizer(model, sets.knowledge(name), random_state=seed).fit(own)
        quality = report(fitted, others, training=own).quality
    line = key | {"others": len(others), "fell_back": bool(fitted.harm_)}
    for kind, each in quality.nearest.items():
        line |= {f"{measure}_{kind}": round(value, 5) for measure, value in each._asdict().items()}
    line |= {f"membership_{kind}": round(value, 5) for kind, value in quality.membership.items()}
    runs.write(RESULTS, line | {"seconds": round(time.process_time() - start, 1)})


def table() -> str:
    """Return the measures by model, set and number of rows, as a Markdown table: means over seeds."""
    found = pd.DataFrame(runs.read(RESULTS))
    lines = [
        "| model | rows | set | seeds | membership AUC | close, other rows | close, samples | copies |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model, rows, name in product(MODELS, ROWS, SETS):
        own = found[(found["model"] == model) & (found["rows"] == rows) & (found["set"] == name)]
        if own.empty:
            continue
        mean = own.drop(columns=["set", "model"]).mean()
        lines.append(
            f"| {model} | {rows} | {name} | {len(own)} | {mean['membership_without']:.2f} -> "
            f"{mean['membership_with']:.2f} | {mean['close_data']:.1%} | {mean['close_with']:.1%} | "
            f"{mean['copies_with']:.1%} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("models", nargs=-1, type=click.Choice(MODELS))
@click.option("--seeds", type=int, default=len(SEEDS), show_default=True)
@runs.options
def main(models: tuple[str, ...], seeds: int, processes: int, store: str | None) -> None:
    """Run what is lacking."""
    jobs = [
        (name, model, rows, seed) for seed, rows, name, model in product(SEEDS[:seeds], ROWS, SETS, models or MODELS)
    ]
    runs.do(run, jobs, processes, runs.shared(store, RESULTS, KEY))


if __name__ == "__main__":
    main()
