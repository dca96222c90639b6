"""What moreso is compared with: two plain PyTorch loops, and libraries that compute one pair at a time.

The libraries are imported when they are called, so that parts of the benchmark that need none run without them.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Triple = tuple[int, int, int]


def gram(x: Tensor) -> Tensor:
    """Gaussian kernel, bandwidth 1."""
    return torch.exp(-torch.cdist(x, x).square() / 2) if x.shape[1] > 1 else torch.exp(-(x - x.T).square() / 2)


def unbiased(k: Tensor, m: Tensor) -> Tensor:
    """HSIC_u by its formula, O(n^2)."""
    n = len(k)
    off = 1 - torch.eye(n)
    k, m = k * off, m * off
    total = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * k.sum(0) @ m.sum(0)
    return total / (n * (n - 3))


def centred(k: Tensor, m: Tensor) -> Tensor:
    """Biased HSIC as tr(K H L H), which most published code computes."""
    n = len(k)
    h = torch.eye(n) - 1 / n
    return torch.trace(k @ h @ m @ h) / (n - 1) ** 2


def loop(groups: Sequence[Tensor], relations: Sequence[Triple], measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Value and gradient, one relation after the other, by autograd; each HSIC makes its own two Gram matrices."""
    leaves = [group.detach().requires_grad_() for group in groups]
    total = torch.zeros(())
    for ref, plus, minus in relations:
        near = measure(gram(leaves[ref]), gram(leaves[plus]))
        far = measure(gram(leaves[ref]), gram(leaves[minus]))
        total = total + (0.02 - near + far).clamp(min=0)
    total.backward()


def hyppo(groups: Sequence[Tensor], relations: Sequence[Triple]) -> None:
    """Values by hyppo."""
    from hyppo.independence import Hsic

    arrays = [group.double().numpy() for group in groups]
    for ref, plus, minus in relations:
        Hsic().statistic(arrays[ref], arrays[plus]) - Hsic().statistic(arrays[ref], arrays[minus])


def ignite(groups: Sequence[Tensor], relations: Sequence[Triple]) -> None:
    """Values by pytorch-ignite."""
    from ignite.metrics import HSIC

    for ref, plus, minus in relations:
        for other in (plus, minus):
            metric = HSIC(1.0, 1.0)
            metric.update((groups[ref], groups[other]))
            metric.compute()


def distance(groups: Sequence[Tensor], relations: Sequence[Triple]) -> None:
    """Values of another measure, distance covariance, in O(n log n) by dcor."""
    import dcor

    arrays = [group.double().numpy().ravel() for group in groups]
    for ref, plus, minus in relations:
        for other in (plus, minus):
            dcor.u_distance_covariance_sqr(arrays[ref], arrays[other], method=dcor.DistanceCovarianceMethod.MERGESORT)


def keops(groups: Sequence[Tensor], relations: Sequence[Triple]) -> None:
    """Value and gradient of the unbiased HSIC by KeOps' lazy reductions, one relation after the other."""
    from pykeops.torch import LazyTensor

    leaves = [group.detach().requires_grad_() for group in groups]
    ones = torch.ones(len(groups[0]), 1)

    def kernel(x: Tensor) -> LazyTensor:
        return (-((LazyTensor(x[:, None, :]) - LazyTensor(x[None, :, :])) ** 2).sum(-1) / 2).exp()

    def measure(x: Tensor, y: Tensor) -> Tensor:
        n = len(x)
        k, m = kernel(x), kernel(y)
        rows, columns = k @ ones - 1, m @ ones - 1
        total = ((k * m) @ ones).sum() - n + rows.sum() * columns.sum() / ((n - 1) * (n - 2))
        return (total - 2 / (n - 2) * (rows * columns).sum()) / (n * (n - 3))

    total = torch.zeros(())
    for ref, plus, minus in relations:
        total = total + (0.02 - measure(leaves[ref], leaves[plus]) + measure(leaves[ref], leaves[minus])).clamp(min=0)
    total.backward()


def problem(m: int, features: int, relations: int, *, seed: int = 0) -> tuple[Tensor, list[Triple]]:
    """Draw correlated columns and random relations among them."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(m, 1))
    x = random.normal(size=(m, features)) + common * random.uniform(size=features)
    triples: list[Triple] = [tuple(map(int, random.permutation(features)[:3])) for _ in range(relations)]  # type: ignore[misc]
    return torch.tensor(x / (0.954 * x.std(0)), dtype=torch.float32), triples
