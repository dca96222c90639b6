"""Use an installed moreso as a person would, from the shell and from Python: `python smoke.py BIN`.

It runs in an empty folder, so that the installed package is used and not the source. BIN is the folder of programs of
an environment with moreso and its extras for users; this script itself needs nothing but Python.
"""

import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

KNOWLEDGE = "outlet: +inlet > ambient   # same pipe\n"
CODE = """# audit, load and sample
import moreso, pandas as pd
table = pd.read_csv("plant.csv")
print([str(finding.verdict) for finding in moreso.audit(table, "outlet: +inlet > ambient")])
print(moreso.Synthesizer.load("plant.model").sample(3).columns.to_list())
"""
EXTRAS = """# the examples of adapters
import doctest, moreso
from moreso import adapters
names = "distributions", "gpytorch", "lightning", "pyro"
print([doctest.testmod(getattr(adapters, name)).failed for name in names])
"""


def write_table(path: Path, rows: int = 60) -> None:
    """Write a table in which the outlet follows the inlet."""
    draw = random.Random(0).gauss
    lines = ["ambient,inlet,outlet,day"]
    for row in range(rows):
        inlet = draw(0, 1)
        day = f"2026-01-{1 + row % 28:02}"
        lines.append(f"{draw(10, 5):.3f},{inlet:.3f},{math.tanh(inlet) + draw(0, 0.1):.3f},{day}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(binaries: Path) -> None:
    """Run every command, and print what each took."""
    program, python = binaries / "moreso", binaries / "python"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(*command: str | Path, shows: str) -> None:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            print("ok:" if done.returncode == 0 else "FAILED:", *(str(word).splitlines()[0] for word in command[1:]))
            if done.returncode or shows not in done.stdout:
                sys.exit(f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}; the output must show '{shows}'.")

        write_table(folder / "plant.csv")
        (folder / "knowledge.txt").write_text(KNOWLEDGE, encoding="utf-8")
        run(program, "--help", shows="audit")
        run(program, "--version", shows="moreso")
        run(program, "check", "knowledge.txt", shows="")
        run(program, "audit", "plant.csv", "knowledge.txt", shows="outlet: inlet > ambient")
        settings = "-o", "plant.model", "--max-epochs", "5", "--model", "factor"
        run(program, "fit", "plant.csv", "knowledge.txt", *settings, shows="wrote plant.model")
        for output in ("samples.csv", "samples.parquet"):
            run(program, "sample", "plant.model", "-n", "20", "-o", output, shows="")
        run(program, "report", "plant.model", "plant.csv", "-o", "report.html", shows="")
        assert "outlet: inlet" in (folder / "report.html").read_text(encoding="utf-8")
        run(program, "ask", "plant.csv", "-o", "questions.txt", shows="")
        (folder / "plant.sql").write_text("SELECT * FROM 'plant.csv' WHERE inlet > -1", encoding="utf-8")
        run(program, "audit", "plant.sql", "knowledge.txt", shows="outlet: inlet > ambient")
        run(program, "sample", "plant.model", "-n", "6000", "-o", "long.parquet", shows="wrote long.parquet")
        run(program, "audit", "long.parquet", "knowledge.txt", "--engine", "dask", shows="outlet: inlet > ambient")
        run(python, "-c", CODE, shows="'outlet'")
        run(python, "-c", EXTRAS, shows="[0, 0, 0, 0]")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
