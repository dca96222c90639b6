"""Samples of several processes are one batch: the value and the gradient of one process on all of them."""

import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from moreso import Regularizer

NAMES = list("abcde")

CASES: Mapping[str, tuple[str, int, dict[str, object]]] = {
    "single columns": ("a: b > c\nc: d > a\nb: e > c", 300, {}),
    "few pairs of many columns": ("a: b > c", 300, {}),
    "normalised": ("a: b > c\nd: e > a", 300, {"normalize": True}),
    "plain gaps": ("a: b > c\nd: e > a", 300, {"studentize": False, "margin": 0.1}),
    "few samples": ("a: b > c\nd: e > a", 60, {}),
    "directions": ("a: +b\nc: -d", 300, {}),
    "both": ("a: +b > -c\nd: e > a", 300, {}),
    "groups": ("a: {b, c} > {d, e}\na: +b", 300, {}),
    "far samples": ("a: b > c\na: +e", 300, {}),
}


def samples(name: str, *members: int) -> Tensor:
    _, rows, _ = CASES[name]
    x = torch.randn(*members, rows, len(NAMES), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[..., 1] += 0.5 * x[..., 0]
    if name == "far samples":
        x[..., 0, 0] = 1000
        x[..., -1, 2] = -500
    return x


def made(name: str, group: dist.ProcessGroup | None = None) -> Regularizer:
    text, _, settings = CASES[name]
    data = torch.randn(80, len(NAMES), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Regularizer(text, NAMES, data=data, group=group, **settings)  # type: ignore[arg-type]


def shares(rows: int, processes: int) -> list[slice]:
    """Return the rows of each process, not the same number for all."""
    ends = [round(rows * (place / processes) ** 1.3) for place in range(processes + 1)]
    return [slice(*each) for each in pairwise(ends)]


def measured(name: str, regularizer: Regularizer, x: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    term = regularizer.measure(x)
    weights = torch.arange(1, 1 + term.value.numel(), dtype=x.dtype).reshape(term.value.shape)
    (gradient,) = torch.autograd.grad((weights * term.value).sum(), x)
    gaps = regularizer.gaps(x.detach())
    return {
        "value": term.value.detach(),
        "held": term.held,
        "gap": gaps.gap.detach(),
        "error": gaps.standard_error,
        "gradient": gradient,
    }


def work(rank: int, processes: int, folder: str) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=processes)
    found = {}
    for name in CASES:
        x = samples(name)
        found[name] = measured(name, made(name, dist.group.WORLD), x[shares(len(x), processes)[rank]])
    every = [made("both", dist.group.WORLD) for _ in range(3)]
    stacked = every[0].stack(every[1:])
    assert stacked is not None
    x = samples("both", 3)
    found["members"] = measured("both", stacked, x[:, shares(x.shape[1], processes)[rank]])
    refused = ""
    try:
        Regularizer("a: b > c", NAMES, group=dist.group.WORLD)(samples("both"))
    except ValueError as error:
        refused = str(error)
    torch.save((found, refused), Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.parametrize("processes", [2, 4])
def test_value_and_gradient_are_those_of_one_process(processes: int, tmp_path: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    spawn(work, (processes, str(tmp_path)), nprocs=processes)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(processes)]
    assert all("several processes share no bandwidths" in refused for _, refused in results)
    alone = {name: measured(name, made(name), samples(name)) for name in CASES}
    members = made("both").stack([made("both")] * 2)
    assert members is not None
    alone["members"] = measured("both", members, samples("both", 3))
    for name, expected in alone.items():
        for found, _ in results:
            for key in ("value", "held", "gap", "error"):
                torch.testing.assert_close(found[name][key], expected[key], rtol=1e-6, atol=1e-6, msg=f"{name}: {key}")
        gradient = torch.cat([found[name]["gradient"] for found, _ in results], -2)
        scale = float(expected["gradient"].abs().max())
        assert scale > 0, name
        assert float((gradient - expected["gradient"]).abs().max()) < 1e-6 * max(1.0, scale), name
