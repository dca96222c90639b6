"""Search for inputs that break a reader, guided by coverage: `python -m tests.fuzz knowledge --seconds 60`.

Needs atheris. Inputs that reach new code go to .fuzz/<target>/, and one that breaks the reader to .fuzz/.
"""

import resource
import sys
from pathlib import Path

import click
import numpy as np

FOUND = Path(".fuzz")
MEMORY = 4 << 30
"""The address space of the process, in bytes."""


@click.command(help=__doc__)
@click.argument("target", type=click.Choice(["knowledge", "table", "header", "condition"]))
@click.option("--seconds", type=int, default=60, show_default=True)
def main(target: str, seconds: int) -> None:
    """Run one target."""
    import atheris  # noqa: PLC0415 (found by no other command)

    with atheris.instrument_imports(include=["moreso.relations", "moreso.tabular", "moreso.synthesizer"]):
        from tests.fuzz import harness  # noqa: PLC0415 (instrumented)
    for data in harness.corpus(target):
        harness.TARGETS[target](data)
    (FOUND / target).mkdir(parents=True, exist_ok=True)
    harness.watch()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        random = np.random.default_rng(seed)
        changed = harness.altered(data, random) if random.random() < 0.5 else atheris.Mutate(data, longest)
        return bytes(changed[:longest])

    mutator = {"custom_mutator": mutate} if target in harness.JSON_TARGETS else {}
    options = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=60", f"-artifact_prefix={FOUND}/"]
    atheris.Setup(
        [sys.argv[0], *options, str(FOUND / target), str(harness.CORPUS / target)], harness.TARGETS[target], **mutator
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
