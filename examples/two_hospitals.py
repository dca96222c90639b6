"""Two hospitals that measured different things: fit both tables as one, with what a physician knows of the pairs.

Both hospitals know age, sex, body mass index and blood pressure. The first one measured cholesterol, the second one
triglycerides, glucose and how the disease went on. No patient has both, so no row shows how they depend on each other.
Here the tables are halves of one, so that the answer is known.

    python examples/two_hospitals.py
"""

import warnings

import pandas as pd
from sklearn.datasets import load_diabetes

import moreso

NAMES = {"s1": "cholesterol", "s2": "ldl", "s3": "hdl", "s4": "ratio", "s5": "triglycerides", "s6": "glucose"}
FIRST = ["cholesterol", "ldl", "hdl", "ratio"]
SECOND = ["triglycerides", "glucose", "progression"]
ROWS = 60

KNOWLEDGE = """
    hdl: -triglycerides > age              # fat-rich particles take cholesterol from HDL
    ratio: +triglycerides > age            # so the ratio of all cholesterol to HDL rises with them
    ratio: +triglycerides > +glucose       # and more than with sugar
    progression: -hdl > sex                # HDL protects vessels, those of the kidneys too
"""


def main() -> None:
    """Fit, and compare the correlations that no row shows with those of all patients."""
    table = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={**NAMES, "target": "progression"})
    table = table.sample(frac=1, random_state=0, ignore_index=True)
    first, second = table[:ROWS].drop(columns=SECOND), table[ROWS : 2 * ROWS].drop(columns=FIRST)
    both = pd.concat([first, second], ignore_index=True)

    for note in moreso.audit(both, KNOWLEDGE).notes:
        print(note)
    print("\nWhat to ask a physician next:")
    for question in moreso.ask(both, questions=5):
        print(f"    {question}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the audit said it already
        fitted = moreso.Synthesizer("vae", KNOWLEDGE, random_state=0).fit(both)
    assert fitted.plain_ is not None
    with_knowledge, without = fitted.sample(5000), fitted.plain_.sample(5000)

    rows = []
    for pair in fitted.unobserved_:
        one, other = pair.pair
        rows.append(
            {
                "pair": f"{one} and {other}",
                "possible": f"{pair.low:+.2f} to {pair.high:+.2f}",
                "without knowledge": without[one].corr(without[other]),
                "with knowledge": with_knowledge[one].corr(with_knowledge[other]),
                "all 442 patients": table[one].corr(table[other]),
            }
        )
    found = pd.DataFrame(rows).set_index("pair")
    print(f"\nCorrelations that no row shows:\n{found.round(2).to_string()}")
    for name in ("without knowledge", "with knowledge"):
        error = (found[name] - found["all 442 patients"]).abs().mean()
        print(f"mean error {name}: {error:.2f}")
    print(f"\nHospital 1 with draws of what it did not measure:\n{fitted.impute(first).head(3).round(1).to_string()}")


if __name__ == "__main__":
    main()
