"""Sensors of a plant: what the flow diagram says, checked on forty rows, trained on, and reported.

Two lines of pipes, each with four thermometers, feed a mixer with a thermometer of its own, and a product line. Heat
moves along the pipes, so neighbours on the diagram depend on each other more than sensors far apart, and warm water
warms what comes next. An engineer knows the diagram but has only forty rows. The plant is simulated, so that there are
later rows to judge the models by.

    python examples/sensors.py
"""

import warnings
from itertools import pairwise

import networkx as nx
import numpy as np
import pandas as pd

import moreso

ROWS = 40
LINES = [
    ["a1", "a2", "a3", "a4", "mixer", "product"],
    ["b1", "b2", "b3", "b4", "mixer"],
]


def simulate(rows: int) -> pd.DataFrame:
    """Return temperatures in degrees Celsius, rows in which the plant was at rest."""
    random = np.random.default_rng(0)
    table = {}
    for line in "ab":
        heat = random.normal(size=rows)
        for place in range(1, 5):
            table[f"{line}{place}"] = heat
            heat = 0.7 * heat + 0.7 * random.normal(size=rows)
    table["mixer"] = 0.5 * table["a4"] + 0.5 * table["b4"] + 0.7 * random.normal(size=rows)
    table["product"] = 0.7 * table["mixer"] + 0.7 * random.normal(size=rows)
    return pd.DataFrame({name: 60 + 8 * values for name, values in table.items()}).round(2)


def main() -> None:
    """Derive statements, audit them on few rows, fit, and report on rows that were not trained on."""
    table = simulate(1000)
    few, later = table[:ROWS], table[ROWS:]
    diagram = nx.Graph([pipe for line in LINES for pipe in pairwise(line)])
    knowledge = moreso.derive.from_graph(diagram, features=table.columns, rising=True)

    audit = moreso.audit(few, knowledge)
    print(f"The flow diagram makes {len(knowledge)} statements. What {ROWS} rows say of them:")
    for verdict in moreso.Verdict:
        print(f"    {audit.count(verdict):3} {verdict}")
    print("Some that they leave open:")
    for finding in [finding for finding in audit if finding.verdict is moreso.Verdict.UNDECIDED][:3]:
        print(f"    {finding.relation}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report names what the rows contradict
        fitted = moreso.Synthesizer("vae", knowledge, random_state=0).fit(few)
    print(f"\nThe model, judged by {len(later)} later rows:")
    print(*moreso.report(fitted, later).summary, sep="\n")
    print(f"\nThe plant when the mixer is cold:\n{fitted.sample(3, where='mixer < 55').to_string(index=False)}")


if __name__ == "__main__":
    main()
