"""HSIC of scalar groups through low-rank features: O(rows x groups x rank^2) in place of O(rows^2).

Below, phi are the features of one group (`moreso.kernels.CosineBasis`), mu their mean over the m rows, A = phi - mu,
and C = sum_i A_i B_i' for the two groups of a pair. With beta = |phi|^2 - |mu|^2, which is known because |phi|^2 is
constant,

    HSIC = [ |C|_F^2 - m^2 beta_g beta_h / (m - 1) - 4 m / (m - 2) mu_g' C mu_h ] / (m (m - 3))

so (m, mu, C) are sufficient, and those of two chunks of rows merge into those of both (`Moments`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moreso.kernels import CosineBasis, cosine_basis

CHUNK = 2**21
"""Numbers that the features of one chunk of rows may hold, so that they stay in the processor's cache."""

PAIR_CHUNK = 2**19
"""The same for the products of several pairs with a chunk of rows."""

DENSE = 6.5
"""All groups are multiplied at once where there are more than groups^2 / DENSE pairs, else each pair by itself."""


@dataclass(frozen=True)
class Pairs:
    """Unordered pairs of groups, as positions.

    Args:
        left: first of each pair.
        right: second of each pair.
        groups: how many groups there are.
    """

    left: Int[Tensor, " pairs"]
    right: Int[Tensor, " pairs"]
    groups: int

    @property
    def dense(self) -> bool:
        """Whether one product of all groups is cheaper than a product per pair."""
        return len(self.left) * DENSE > self.groups**2

    def scatter(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the sum over pairs, per group, of what a pair gives to its left and to its right group."""
        total = torch.zeros(self.groups, *left.shape[1:], dtype=left.dtype, device=left.device)
        return total.index_add_(0, self.left, left).index_add_(0, self.right, right)


@dataclass(frozen=True)
class Moments:
    """What HSIC needs to know of a chunk of rows; `+` gives that of two chunks together.

    Args:
        rows: m.
        mean: mu of each group.
        cross: C of each pair.
        pairs: the pairs.
        basis: the features that were used; both chunks must have the same.
    """

    rows: int
    mean: Float[Tensor, "groups rank"]
    cross: Float[Tensor, "pairs rank rank"]
    pairs: Pairs
    basis: CosineBasis

    def __add__(self, other: "Moments") -> "Moments":
        """Merge in double precision (Chan, Golub & LeVeque, 1979)."""
        if self.basis is not other.basis:
            raise ValueError("moments merge only if they were taken with one basis. Give both chunks the same basis.")
        rows = self.rows + other.rows
        shift = other.mean.double() - self.mean.double()
        outer = shift[self.pairs.left, :, None] * shift[self.pairs.right, None, :]
        return Moments(
            rows,
            self.mean.double() + shift * (other.rows / rows),
            self.cross.double() + other.cross.double() + outer * (self.rows * other.rows / rows),
            self.pairs,
            self.basis,
        )

    @cached_property
    def beta(self) -> Float[Tensor, " groups"]:
        """Mean of |A_i|^2, per group."""
        return self.basis.square - self.mean.square().sum(1)

    @cached_property
    def sides(self) -> "Sides":
        """What the two groups of each pair have of their own."""
        left, right = self.pairs.left, self.pairs.right
        mean = self.mean[left], self.mean[right]
        to_right = torch.bmm(self.cross, mean[1].unsqueeze(2)).squeeze(2)
        to_left = torch.bmm(mean[0].unsqueeze(1), self.cross).squeeze(1)
        return Sides(mean, (self.beta[left], self.beta[right]), to_right, to_left, (mean[0] * to_right).sum(1))

    def hsic(self) -> Float[Tensor, " pairs"]:
        """Return the unbiased HSIC of each pair."""
        m, sides = self.rows, self.sides
        bias = m * m / (m - 1) * (sides.beta[0] * sides.beta[1])
        square = self.cross.flatten(1).square().sum(1)
        return (square - bias - 4 * m / (m - 2) * sides.quadratic) / (m * (m - 3))


@dataclass(frozen=True)
class Sides:
    """Quantities of each pair (g, h).

    Args:
        mean: mu_g and mu_h.
        beta: beta_g and beta_h.
        to_right: C mu_h.
        to_left: C' mu_g.
        quadratic: mu_g' C mu_h.
    """

    mean: tuple[Float[Tensor, "pairs rank"], Float[Tensor, "pairs rank"]]
    beta: tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]
    to_right: Float[Tensor, "pairs rank"]
    to_left: Float[Tensor, "pairs rank"]
    quadratic: Float[Tensor, " pairs"]


def moments(features: Float[Tensor, "groups rank m"], pairs: Pairs, basis: CosineBasis) -> Moments:
    """Take the moments of features, which are centred in place.

    Args:
        features: phi of every group and row; on return A.
        pairs: the pairs.
        basis: where the features come from.
    """
    groups, rank, m = features.shape
    mean = features.mean(2)
    features -= mean[:, :, None]
    if pairs.dense:
        flat = features.view(groups * rank, m)
        cross = (flat @ flat.T).view(groups, rank, groups, rank)[pairs.left, :, pairs.right, :]
    else:
        cross = features[pairs.left] @ features[pairs.right].transpose(1, 2)
    return Moments(m, mean, cross, pairs, basis)


class LowRank:
    """The HSIC of pairs of scalar groups on one sample.

    Args:
        z: samples in units of the bandwidth, one column a group.
        pairs: which to compute.
        tolerance: greatest error of the kernel, see `moreso.kernels.cosine_basis`; samples that leave the range of one
            basis are given a wider one.
    """

    def __init__(self, z: Float[Tensor, "m groups"], pairs: Pairs, *, tolerance: float) -> None:
        self.z = z.detach()
        low, high = torch.aminmax(self.z, dim=0)
        self.basis = cosine_basis(float((high - low).max()), tolerance=tolerance, dtype=z.dtype, device=z.device)
        self.pairs = pairs
        self.middle = (low + high) / 2
        self.moments, self.kept = self._measure()

    def value(self, z: Float[Tensor, "m groups"]) -> Float[Tensor, " pairs"]:
        """Return the HSIC of each pair, with gradient to the samples that this object was made of."""
        return _LowRankHSIC.apply(z, self)

    def chunks(self) -> Iterator[slice]:
        """Yield slices of rows whose features fit the cache."""
        size = max(256, CHUNK // (self.basis.rank * self.pairs.groups))
        for start in range(0, len(self.z), size):
            yield slice(start, start + size)

    def raw(self, rows: slice) -> Float[Tensor, "groups n2 chunk"]:
        """Return cosines and sines."""
        count = len(self.basis.frequencies)
        angles = (self.z[rows] - self.middle).T[:, None, :] * self.basis.frequencies
        raw = angles.new_empty(angles.shape[0], 2 * count, angles.shape[2])
        torch.cos(angles, out=raw[:, :count])
        torch.sin(angles, out=raw[:, count:])
        return raw

    def _measure(self) -> tuple[Moments, tuple[Tensor, Tensor] | None]:
        """Return the moments of all rows, and raw and centred features where one chunk holds them."""
        total: Moments | None = None
        kept = None
        for rows in self.chunks():
            raw = self.raw(rows)
            features = self.basis.projection @ raw
            found = moments(features, self.pairs, self.basis)
            kept = (raw, features) if total is None else None
            total = found if total is None else total + found
        assert total is not None
        return total, kept

    def centred(self, rows: slice) -> tuple[Float[Tensor, "groups n2 chunk"], Float[Tensor, "groups rank chunk"]]:
        """Return cosines and sines, and centred features."""
        if self.kept is not None:
            raw, features = self.kept
            return raw[:, :, rows], features[:, :, rows]
        raw = self.raw(rows)
        features = self.basis.projection @ raw
        features -= self.moments.mean.to(features.dtype)[:, :, None]
        return raw, features

    def rows(self, rows: slice) -> Float[Tensor, "pairs chunk"]:
        """Return q_i = sum_j K~_ij L~_ij of U-centred Gram matrices for some rows, less its mean over all rows.

        q_i = A_i' C B_i - 2/(m-2) (B_i' C' mu_g + A_i' C mu_h) - m (m-1)/(m-2)^2 d_i e_i + (t e_i + u d_i)/(m-2)^2
        up to a constant, with d = |A_i|^2 and e = |B_i|^2, t and u their totals.
        """
        found, left, right = self.moments, self.pairs.left, self.pairs.right
        m = found.rows
        mean, cross, beta = (part.to(self.z.dtype) for part in (found.mean, found.cross, found.beta))
        features = self.centred(rows)[1]
        d = beta[:, None] - 2 * torch.einsum("gr,grc->gc", mean, features)
        to_left = found.sides.to_left.to(self.z.dtype)
        q = torch.empty(len(left), features.shape[2], dtype=self.z.dtype, device=self.z.device)
        size = max(1, PAIR_CHUNK // (self.basis.rank * features.shape[2]))
        for start in range(0, len(left), size):
            part = slice(start, start + size)
            g, h = left[part], right[part]
            far = features[h]
            near = cross[part].transpose(1, 2) @ features[g]
            near -= 2 / (m - 2) * to_left[part, :, None]
            far -= 2 / (m - 2) * mean[h, :, None]
            # The product of both shifts is a constant of each pair; it goes with the mean.
            q[part] = (near * far).sum(1)
            q[part] -= d[g] * d[h] * (m * (m - 1) / (m - 2) ** 2)
            q[part] += (d[g] * beta[h, None] + d[h] * beta[g, None]) * (m / (m - 2) ** 2)
        return q - self.mean_of_rows[:, None].to(q.dtype)

    @cached_property
    def mean_of_rows(self) -> Float[Tensor, " pairs"]:
        """Mean over rows of the terms of q that `rows` computes."""
        found = self.moments
        m = found.rows
        sides = found.sides
        mean = found.cross.square().sum((1, 2)) / m + (2 / (m - 2)) ** 2 * (sides.to_left * sides.mean[1]).sum(1)
        product = sides.beta[0] * sides.beta[1]
        mean -= m * (m - 1) / (m - 2) ** 2 * (product + 4 / m * sides.quadratic)
        return mean + 2 * m / (m - 2) ** 2 * product


class _LowRankHSIC(torch.autograd.Function):
    """Values and closed-form gradient; see the module's docstring."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, owner: LowRank) -> Tensor:
        ctx.owner = owner
        return owner.moments.hsic().to(z.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        refuse_second_derivative()
        owner: LowRank = ctx.owner
        found, pairs, basis = owner.moments, owner.pairs, owner.basis
        g, h, m = pairs.left, pairs.right, found.rows
        weight = gradient.to(found.mean.dtype)[:, None] / (m * (m - 3))
        a, b = m * m / (m - 1), 4 * m / (m - 2)
        mean, beta, to_right, to_left = found.sides.mean, found.sides.beta, found.sides.to_right, found.sides.to_left
        by_mean = pairs.scatter(
            weight * (2 * a * beta[1][:, None] * mean[0] - b * to_right),
            weight * (2 * a * beta[0][:, None] * mean[1] - b * to_left),
        )
        by_cross = torch.baddbmm(found.cross, mean[0].unsqueeze(2), mean[1].unsqueeze(1), beta=2, alpha=-b)
        by_cross *= weight[:, :, None]
        shift, blocks = (by_mean / m).to(gradient.dtype)[:, :, None], by_cross.to(gradient.dtype)
        if pairs.dense:
            size = pairs.groups * basis.rank
            matrix = blocks.new_zeros(pairs.groups, basis.rank, pairs.groups, basis.rank)
            matrix[g, :, h, :] = blocks
            matrix = matrix.view(size, size)
            matrix = matrix + matrix.T
        result = torch.empty_like(owner.z)
        count = len(basis.frequencies)
        for rows in owner.chunks():
            raw, features = owner.centred(rows)
            if pairs.dense:
                back = (matrix @ features.view(size, -1)).view_as(features)
            else:
                back = pairs.scatter(blocks @ features[h], blocks.transpose(1, 2) @ features[g])
            back += shift
            back = basis.derivative @ back
            turned = raw[:, :count] * back[:, count:]
            turned -= raw[:, count:] * back[:, :count]
            result[rows] = turned.sum(1).T
        return result, None


def refuse_second_derivative() -> None:
    """Raise where a backward pass is itself to be differentiated."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the dependence has a closed-form gradient but no second derivative. "
            "Call backward without create_graph=True, or take the regularizer's gradient apart from yours."
        )
