"""Which derived statements hold? Pixels of handwritten digits, as a map: `python experiments/derive.py`.

Each run adds lines of JSON to experiments/results/derive.jsonl: the share of statements whose normalised gap on all
rows is positive, and of these the share whose gap on 40 random rows has the wrong sign (what few rows leave undecided
is what knowledge is for). First the rule as it stands, three statements a feature, by its ratio; then, to compare,
twenty a feature, which reach beyond the nearest neighbours, by bands of the ratio.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits

from moreso import Knowledge, Regularizer, Relation, derive

RESULTS = Path(__file__).parent / "results" / "derive.jsonl"
BANDS = [(1.01, 1.5), (1.5, 2.0), (2.0, 3.0), (3.0, 5.0), (5.0, np.inf)]
FEW, DRAWS = 40, 10


def gaps(knowledge: Knowledge, data: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Return the normalised gaps on `rows`, with the bandwidths of all data."""
    measure = Regularizer(knowledge, list(map(str, data)), data=torch.tensor(data.to_numpy()), normalize=True)
    found: np.ndarray = measure.gaps(torch.tensor(rows.to_numpy())).gap.numpy()
    return found


def shares(knowledge: Knowledge, data: pd.DataFrame) -> dict[str, float]:
    """Return how many statements there are, which share holds, and how often 40 rows mistake those that hold."""
    held = gaps(knowledge, data, data) > 0
    wrong = []
    for seed in range(DRAWS):
        rows = data.sample(FEW, random_state=seed)
        varied = set(rows.columns[rows.nunique() > 1])
        true = Knowledge(tuple(each for each, holds in zip(knowledge, held, strict=True) if holds)).restrict(varied)
        wrong.append(float((gaps(true, data, rows) <= 0).mean()))
    return {
        "statements": len(knowledge),
        "held": round(float(held.mean()), 3),
        "wrong_at_40_rows": round(float(np.mean(wrong)), 3),
    }


def main() -> None:
    """Measure each ratio and each band, and write the lines."""
    data = load_digits(as_frame=True).data.astype(float)
    data = data.loc[:, data.nunique() > 1]
    sites = pd.DataFrame([name.split("_")[1:] for name in data], index=data.columns, columns=["y", "x"]).astype(float)
    place = {str(name): np.array(row) for name, row in zip(sites.index, sites.to_numpy(), strict=True)}

    def ratio(relation: Relation) -> float:
        ref, plus, minus = (place[group[0]] for group in relation.groups)
        return float(np.linalg.norm(ref - minus) / np.linalg.norm(ref - plus)) + 1e-9

    found = {f"at least {least:g}": derive.from_map(sites, ratio=least) for least in (1.5, 2.0, 3.0, 5.0)}
    for low, high in BANDS:
        many = derive.from_map(sites, ratio=low, per_feature=20)
        found[f"{low:g} to {high:g}, twenty a feature"] = Knowledge(
            tuple(each for each in many.relations if low <= ratio(each) < high)
        )
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        for band, knowledge in found.items():
            line = {
                "data": "digits 8x8",
                "statements_with": band,
                **shares(knowledge, data),
                "version": version("moreso"),
            }
            print(json.dumps(line))
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
