"""Genes of tumours: pathways as named groups, directions, how sure one is, and a statement that the rows contradict.

A biologist has fifty tumours with the expression of ten genes and a grade from 1 to 3, and knows which genes act
together: interferon switches on ISG15 and MX1, the estrogen receptor ESR1 switches on PGR, and cycling cells express
MKI67. One statement is copied from another tissue and wrong here. The tumours are simulated, so the truth is known.

    python examples/pathways.py
"""

import warnings

import numpy as np
import pandas as pd

import moreso

PATIENTS = 50

KNOWLEDGE = """
    interferon = STAT1, IRF7
    cycle = CCNB1, CDK1
    estrogen = ESR1, GATA3

    ISG15: interferon > cycle      @ 0.95  # an interferon-stimulated gene
    MX1: interferon > estrogen     @ 0.95  # another one
    MX1: +ISG15                    @ 0.9   # switched on together
    PGR: +ESR1 > STAT1             @ 0.9   # a target of the estrogen receptor
    MKI67: cycle > interferon      @ 0.95  # expressed in cycling cells
    grade: cycle > interferon      @ 0.7   # fast tumours are graded higher
    grade: +MKI67                  @ 0.8   # and more of their cells are cycling
    grade: -PGR                    @ 0.6   # and they have lost the receptor's programme
    IRF7: CDK1 > STAT1             @ 0.5   # seen in another tissue
"""


def simulate(patients: int) -> pd.DataFrame:
    """Return log expression, and the grade; a hidden activity drives the genes of each pathway."""
    random = np.random.default_rng(0)

    def noise(spread: float = 1.0) -> np.ndarray:
        return random.normal(scale=spread, size=patients)

    interferon, cycle = noise(), noise()
    estrogen = -0.4 * cycle + noise(0.9)
    genes = {
        "STAT1": 8 + interferon + noise(0.3),
        "IRF7": 6 + interferon + noise(0.4),
        "ISG15": 7 + 1.5 * np.tanh(interferon) + noise(0.5),
        "MX1": 7 + 1.5 * np.tanh(interferon) + noise(0.7),
        "CCNB1": 5 + cycle + noise(0.7),
        "CDK1": 5 + cycle + noise(0.7),
        "MKI67": 4 + np.exp(0.5 * cycle) + noise(0.5),
        "ESR1": 9 + estrogen + noise(0.6),
        "GATA3": 8 + estrogen + noise(0.8),
        "PGR": 5 + np.logaddexp(0, 2 * estrogen) + noise(0.6),
    }
    grade = 2 + 0.8 * cycle - 0.4 * estrogen + noise(0.5)
    return pd.DataFrame(genes).round(2).assign(grade=grade.round().clip(1, 3).astype(int))


def main() -> None:
    """Audit the statements on few patients, fit, and report on others."""
    table = simulate(500)
    few, others = table[:PATIENTS], table[PATIENTS:]
    knowledge = moreso.Knowledge.parse(KNOWLEDGE, few.columns)

    print(f"What {PATIENTS} tumours say of each statement:")
    for finding in moreso.audit(few, knowledge):
        sure, reason = finding.relation.confidence, finding.relation.reason
        print(f"    {knowledge.describe(finding.relation):28} {sure:4.0%} sure   {finding.verdict:17} {reason}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report names what the rows contradict
        fitted = moreso.Synthesizer("vae", knowledge, random_state=0).fit(few)
    print(f"\nThe model, judged by {len(others)} other tumours:")
    print(*moreso.report(fitted, others).summary, sep="\n")

    print("\nMean expression by grade, in 1000 drawn tumours and in the others:")
    drawn = fitted.sample(1000)
    genes = ["MKI67", "PGR", "MX1"]
    shown = {"drawn": drawn.groupby("grade")[genes].mean(), "others": others.groupby("grade")[genes].mean()}
    print(pd.concat(shown, axis=1).round(1).to_string())


if __name__ == "__main__":
    main()
