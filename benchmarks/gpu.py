"""Measure populations on a GPU beside one thread of the processor, and write a line of JSON for each case.

Run it where there is a CUDA device: `python -m benchmarks.gpu`. The lines go to benchmarks/results/gpu.jsonl, from
which `benchmarks.tables` adds a section to docs/performance.md.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from moreso import Knowledge, Regularizer
from moreso.cli import knowledge_text, patients
from moreso.guidance import Guidance, Push, stack
from moreso.models import VAE
from moreso.training import Stack

RESULTS = Path(__file__).parent / "results" / "gpu.jsonl"
MEMBERS = 8, 1000
ROWS, ROUNDS, STEPS = 30, 5, 20


class Population:
    """VAEs of the demo's table, plain or with its statements.

    Args:
        members: the number of models.
        device: where they are.
        informed: whether their samples are pushed at every fourth step.
    """

    def __init__(self, members: int, device: str, *, informed: bool) -> None:
        table = patients()[:ROWS]
        rows = torch.tensor(((table - table.mean()) / table.std()).to_numpy(), dtype=torch.float32)
        self.stack = Stack([VAE(rows.shape[1]).to(device) for _ in range(members)])
        self.stack.move(self.stack.names)
        self.rows = rows.to(device).expand(members, -1, -1).contiguous()
        self.optimizer = torch.optim.Adam(self.stack.moved, lr=5e-3, fused=True)
        self.push: Push | None = None
        if informed:
            one = Regularizer(Knowledge.parse(knowledge_text()), [str(name) for name in table], data=rows).to(device)
            self.push = Push(self.stack.sample, stack([one] * members), Guidance(ratio=1.2, every=4))

    def steps(self, count: int) -> None:
        """Take some steps."""
        for step in range(count):
            self.optimizer.zero_grad()
            self.stack.loss(self.rows).sum().backward()
            if self.push is not None and step % 4 == 0:
                self.push.add(self.stack.moved, step=step)
            self.optimizer.step()
        if self.rows.is_cuda:
            torch.cuda.synchronize()


def measure(members: int, device: str, *, informed: bool) -> dict[str, object]:
    """Return the time of a step, and the share of it that a GPU spends in kernels."""
    population = Population(members, device, informed=informed)
    count = STEPS if device == "cuda" or members < 100 else 4
    population.steps(count)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        population.steps(count)
        times.append((time.perf_counter() - start) / count)
    line: dict[str, object] = {
        "members": members,
        "device": torch.cuda.get_device_name() if device == "cuda" else "one thread of the processor",
        "statements": 12 if informed else 0,
        "seconds": statistics.median(times),
    }
    if device == "cuda":
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            start = time.perf_counter()
            population.steps(count)
            wall = time.perf_counter() - start
        line["in_kernels"] = sum(each.self_device_time_total for each in seen.key_averages()) / 1e6 / wall
        line["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return line


def main() -> None:
    """Measure all cases."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = [
        measure(members, device, informed=informed)
        for members in MEMBERS
        for informed in (False, True)
        for device in ("cpu", "cuda")
    ]
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(*map(json.dumps, lines), sep="\n")


if __name__ == "__main__":
    main()
