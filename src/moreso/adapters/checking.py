"""The contract of adapters, for their authors: `check_adapter`, like scikit-learn's `check_estimator`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from moreso.adapters.attaching import Adapter, attach
from moreso.dependence import Features
from moreso.guidance import Push, RandomState, forked, seed_of
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge, Relation

LEVEL = 0.005
"""Below this p-value, draws and samples count as different."""


@dataclass(frozen=True)
class Checked:
    """The measurements of `check_adapter`.

    Args:
        pvalue: p-value of "draws and samples follow the same distribution", by a permutation test of the energy
            distance.
        statement: the planted false statement; samples without it show the converse.
        gap_before: gap of that statement in the library's own samples without it.
        gap_after: gap of that statement in the library's own samples with it.
        standard_error: standard error of the difference of the two gaps.

    >>> planted = Relation("x0", "x1", "x2")
    >>> checked = Checked(0.4, planted, gap_before=-1.0, gap_after=0.5, standard_error=0.1)
    >>> checked.gap_after - checked.gap_before > 2 * checked.standard_error
    True
    """

    pvalue: float
    statement: Relation
    gap_before: float
    gap_after: float
    standard_error: float


def check_adapter(
    build: Callable[[], Adapter],
    fit: Callable[[Any], object],
    *,
    attached: Callable[..., AbstractContextManager[Push]] | None = None,
    reload: Callable[[Any], Adapter] | None = None,
    features: Features | None = None,
    rows: int = 500,
    random_state: RandomState = 0,
    **settings: Any,
) -> Checked:
    """Raise unless an adapter meets the requirements that `attach` and reports rely on.

    - Draws are finite, have the form of samples, and carry gradients to the parameters.
    - Draws and the library's own samples follow the same distribution (a permutation test of the energy distance).
    - Weight 0 leaves the parameters and the random states after a fit bit-identical.
    - A statement that clearly holds in samples costs nothing on draws.
    - Its converse, planted, moves the gap in the library's own samples, by at least two standard errors.
    - The host can be saved and read back unchanged, a fit after the block pushes nothing, and a block without a fit
      raises.

    The check takes six fits, so choose data with a clear dependence and a fit that takes seconds.

    Args:
        build: returns a fresh adapter around a fresh host.
        fit: trains the host of an adapter, and repeats the same fit if the seeds are the same.
        attached: (adapter, penalty, weight=, ...) -> context manager; by default `attach` with the adapter's draws.
        reload: writes the host of an adapter and reads it back by the library's own means; None skips this check.
        features: the features of the draws, as a `Regularizer` takes them; by default the first six columns that vary.
        rows: the number of rows to draw and to sample for each test.
        random_state: the seed.
        settings: settings of `attached` for the false statement, such as `weight`.

    Returns:
        The numbers behind the two statistical requirements.

    Raises:
        ValueError: every requirement that the adapter breaks, one sentence each.

    >>> class Line:
    ...     def __init__(self):
    ...         self.net = torch.nn.Linear(3, 3)
    ...
    ...     def parameters(self):
    ...         return self.net.parameters()
    ...
    ...     def draw(self, n):
    ...         return self.net(torch.randn(n, 3))
    ...
    ...     def sample(self, n):
    ...         with torch.no_grad():
    ...             return self.draw(n)
    >>> covariance = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> def fit(adapter):
    ...     optimizer = torch.optim.Adam(adapter.parameters(), lr=0.05)
    ...     for _ in range(60):
    ...         optimizer.zero_grad()
    ...         (adapter.draw(128).T.cov() - covariance).square().sum().backward()
    ...         optimizer.step()
    >>> checked = check_adapter(Line, fit, weight=1.0, rows=200)
    >>> checked.gap_before < 0 < checked.gap_after
    True
    """
    random_state = seed_of(random_state)
    check = _Check(build, fit, attached or _attach, rows, random_state)
    with check.law("a fit"):
        plain = check.fitted()
        again = check.fitted()
        if plain.left != again.left:
            check.say("two fits from the same seed differ. Let 'fit' take all random numbers from the global states.")
    if check.problems:
        raise ValueError("\n".join(check.problems))
    with check.law("draws and samples"):
        samples = check.samples(plain.adapter)
        pvalue = check.draws(plain.adapter, samples)
    if check.problems:
        raise ValueError("\n".join(check.problems))
    true, false = statements(samples, features)
    judge = Regularizer(Knowledge((false,)), _names(features, samples), data=samples)
    with check.law("weight 0"):
        idle = check.fitted(judge, weight=0)
        if idle.left != plain.left:
            check.say("weight 0 changes the fit. Take random numbers only inside draw(), and change nothing there.")
    with check.law("a true statement"):
        cost = Regularizer(Knowledge((true,)), _names(features, samples), data=samples, margin=1.0)
        with forked(random_state + 1), torch.no_grad():
            if (value := cost(plain.adapter.draw(rows)).item()) > 0:
                check.say(f"'{true}' holds clearly in samples and costs {value:.3g} on draws. Let both be of one law.")
    before = after = judge.gaps(samples)
    with check.law("a false statement"):
        moved = check.fitted(judge, **settings)
        after = judge.gaps(check.samples(moved.adapter))
        pushes = len(moved.push.history) if moved.push else 0
        with forked(random_state):
            fit(moved.adapter)
        if moved.push and len(moved.push.history) != pushes:
            check.say("a fit after the 'with' block is still pushed. Remove every hook at its end.")
    error = (before.standard_error.square() + after.standard_error.square()).sqrt().item()
    gain = (after.gap - before.gap).item()
    if not gain > 2 * error:
        check.say(
            f"'{false}' was planted, and its gap in samples went from {before.gap.item():.3g} to "
            f"{after.gap.item():.3g} (standard error {error:.2g}). Fit longer, or give a larger weight; else draws do "
            "not reach what is sampled."
        )
    if reload is not None:
        with check.law("saving"):
            with forked(random_state):
                copy = reload(plain.adapter)
            if not torch.equal(check.samples(copy), samples):
                check.say("the host that was saved and read back draws other samples. Leave its attributes alone.")
    with check.law("a block without a fit"):
        check.silence()
    if check.problems:
        raise ValueError("\n".join(check.problems))
    return Checked(pvalue, false, before.gap.item(), after.gap.item(), error)


@dataclass(frozen=True)
class _Fitted:
    """An adapter after a fit, the state after the fit (parameters and random numbers), and what was pushed."""

    adapter: Adapter
    left: list[bytes]
    push: Push | None


@dataclass(frozen=True)
class _Check:
    """The adapter to check, and the problems so far."""

    build: Callable[[], Adapter]
    fit: Callable[[Any], object]
    attached: Callable[..., AbstractContextManager[Push]]
    rows: int
    seed: int
    problems: list[str] = field(default_factory=list)

    def say(self, problem: str) -> None:
        self.problems.append(problem)

    @contextmanager
    def law(self, name: str) -> Iterator[None]:
        """Turn any error into a problem, so that all problems are reported at once."""
        try:
            yield
        except Exception as error:
            self.say(f"{name}: {type(error).__name__}: {error}")

    def fitted(self, penalty: Regularizer | None = None, **settings: Any) -> _Fitted:
        with forked(self.seed):
            adapter, push = self.build(), None
            list(adapter.parameters())  # none or some, but no error
            if penalty is None:
                self.fit(adapter)
            else:
                with self.attached(adapter, penalty, **settings) as push:
                    self.fit(adapter)
            numbers = torch.rand(2).numpy().tobytes(), np.random.random(2).tobytes()
        return _Fitted(adapter, [_bytes(each) for each in adapter.parameters()] + list(numbers), push)

    def samples(self, adapter: Adapter) -> Float[Tensor, "n ..."]:
        with forked(self.seed + 2), torch.no_grad():
            return adapter.sample(self.rows)

    def draws(self, adapter: Adapter, samples: Tensor) -> float:
        """Check draws, and return the p-value of the test against samples."""
        with forked(self.seed + 3), torch.enable_grad():
            drawn = adapter.draw(self.rows)
        if drawn.shape != samples.shape or len(samples) != self.rows:
            self.say(
                f"draw({self.rows}) has shape {tuple(drawn.shape)} and sample({self.rows}) {tuple(samples.shape)}. Let "
                f"both return {self.rows} rows of one form."
            )
            return float("nan")
        if not (drawn.isfinite().all() and samples.isfinite().all()):
            self.say("draws or samples are not finite. Fit with a lower learning rate.")
            return float("nan")
        parameters = [parameter for parameter in adapter.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(drawn.square().sum(), parameters, allow_unused=True) if drawn.requires_grad else ()
        reached = [grad for grad in found if grad is not None and grad.isfinite().all() and grad.abs().sum() > 0]
        if not reached:
            self.say("draws carry no gradient to any parameter. Use rsample(), without torch.no_grad() and detach().")
        pvalue = same_law(drawn.detach(), samples, self.seed)
        if pvalue < LEVEL:
            self.say(
                f"draws and samples are not of one law (p = {pvalue:.4f}). Draw as the library's sampler does: its "
                "noise, its mode (train or eval), its conditions."
            )
        return pvalue

    def silence(self) -> None:
        try:
            with forked(self.seed), self.attached(self.build(), lambda x: x.sum()):
                pass
        except RuntimeError:
            return
        self.say("a 'with' block in which nothing was fitted passes in silence. Raise a RuntimeError at its end.")


def statements(samples: Float[Tensor, "n ..."], features: Features | None = None) -> tuple[Relation, Relation]:
    """Return the statement that samples show most clearly, and its converse.

    Raises:
        ValueError: no statement holds clearly.
    """
    names = _names(features, samples)
    usable = list(names)
    if features is None:
        spread = samples.flatten(1).std(0)
        usable = [name for name, each in zip(names, spread, strict=True) if each > 0][:6]
    triples = tuple(Relation(*names) for names in permutations(usable, 3))
    if triples:
        gaps = Regularizer(Knowledge(triples), names, data=samples).gaps(samples)
        best = int(gaps.statistic.argmax())
        if gaps.statistic[best] > 4:
            true = triples[best]
            return true, true.converse()
    raise ValueError(
        "samples of the host show no dependence clearly. Fit it to three columns at least, of which two depend on each "
        "other, and long enough."
    )


def same_law(x: Float[Tensor, "n ..."], y: Float[Tensor, "n ..."], seed: int, orders: int = 999) -> float:
    """Return the p-value of "x and y follow the same distribution", by a permutation test of the energy distance.

    References:
        Szekely & Rizzo, "Testing for equal distributions in high dimension", InterStat 2004.
    """
    pooled = torch.cat([x, y]).flatten(1).double().cpu()
    # Whitened, so that the test also sees noise orthogonal to the direction of a dependence between columns.
    values, vectors = torch.linalg.eigh(torch.atleast_2d(pooled.T.cov()))
    pooled = (pooled - pooled.mean(0)) @ vectors / values.clamp(min=1e-6 * float(values[-1]) + 1e-30).sqrt()
    distances = torch.cdist(pooled, pooled)
    signs = torch.ones(len(pooled), dtype=torch.double)
    signs[len(x) :] = -1
    generator = torch.Generator().manual_seed(seed)
    others = [signs[torch.randperm(len(pooled), generator=generator)] for _ in range(orders)]
    shuffled = torch.stack([signs, *others])
    energy = -((shuffled @ distances) * shuffled).sum(1)
    # Equality up to rounding counts as reached, for draws that do not differ at all.
    return float((energy >= energy[0] - 1e-9 * energy[0].abs()).double().mean())


def _names(features: Features | None, samples: Tensor) -> Features:
    return [f"x{column}" for column in range(samples[0].numel())] if features is None else features


def _attach(adapter: Adapter, penalty: Any, **settings: Any) -> AbstractContextManager[Push]:
    return attach(adapter, adapter.draw, penalty, **settings)


def _bytes(parameter: Tensor) -> bytes:
    return parameter.detach().cpu().flatten().view(torch.uint8).numpy().tobytes()
