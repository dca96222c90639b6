"""Which statements of experts hold in all rows of real tables? `python -m experiments.audit`, under a minute.

Writes one line of JSON per set to experiments/results/audit.jsonl; lines of sets whose package is missing stay.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments import sets
from moreso import Verdict, audit

RESULTS = Path(__file__).parent / "results" / "audit.jsonl"
VERDICTS = ("holds", "undecided", "contradicted")


def measure(name: str) -> dict[str, Any]:
    """Return the line of one set: how many statements got each verdict, and which did not hold.

    Raises:
        MissingPackageError: the package that the set comes with is not installed.
    """
    data = sets.load(name)
    findings = audit(data, sets.knowledge(name))
    found: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for finding in findings:
        found["holds" if finding.verdict.holds else str(finding.verdict)].append(
            findings.knowledge.describe(finding.relation)
        )
    return {
        "name": name,
        "n": len(data),
        "columns": data.shape[1],
        "statements": len(findings),
        "held": len(found["holds"]),
        "certain": findings.count(Verdict.CERTAIN),
        "undecided": len(found["undecided"]),
        "contradicted": len(found["contradicted"]),
        "normalized_gap_positive": sum(bool(finding.normalized_gap > 0) for finding in findings),
        "undecided_statements": found["undecided"],
        "contradicted_statements": found["contradicted"],
        "notes": list(findings.notes),
        "expected": sets.SETS[name].expected,
        "version": version("moreso"),
    }


def read(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return the lines that were written, by set, in the order of the sets."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = {line["name"]: line for line in map(json.loads, text.splitlines())}
    return {name: lines[name] for name in sets.SETS if name in lines}


def table(path: Path = RESULTS) -> str:
    """Return the lines that were written as a Markdown table."""
    counts = ["statements", "held", "certain", "undecided", "contradicted", "normalized_gap_positive"]
    head = [
        "set",
        "rows x columns",
        "statements",
        "held",
        "of these certain",
        "undecided",
        "contradicted",
        "normalised gap > 0",
        "other statements, held before",
    ]
    rows = [head, ["---"] * len(head)]
    for name, line in read(path).items():
        before = "{} of {}".format(*line["expected"]) if line["expected"] else "-"
        numbers = [str(line[key]) for key in counts]
        rows.append([f"{sets.SETS[name].title} (`{name}`)", f"{line['n']} x {line['columns']}", *numbers, before])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(path: Path = RESULTS) -> None:
    """Audit every set, write the lines and print the table and what did not hold."""
    lines = read(path)
    for name in sets.SETS:
        try:
            lines[name] = measure(name)
        except sets.MissingPackageError as error:
            print(f"{name}: skipped, it {error}")
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(lines[name]) + "\n" for name in sets.SETS if name in lines)
    path.write_text(text, encoding="utf-8")
    print(table(path))
    for name, line in lines.items():
        for verdict in VERDICTS[1:]:
            for statement in line[f"{verdict}_statements"]:
                print(f"{name}, {verdict}: {statement}")


if __name__ == "__main__":
    main()
