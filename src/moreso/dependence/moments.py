"""Sufficient statistics of low-rank features for HSIC: means and cross products, for all needed pairs at once.

Below, phi are the features of one group (`kernels.CosineBasis`), mu is their mean over the m rows, A = phi - mu,
and C = sum_i A_i B_i' for the two groups of a pair. With beta = |phi|^2 - |mu|^2, which is known because |phi|^2 is
constant,

    HSIC = [ |C|_F^2 - m^2 beta_g beta_h / (m - 1) - 4 m / (m - 2) mu_g' C mu_h ] / (m (m - 3))

so (m, mu, C) are sufficient, and the moments of two chunks of rows merge into those of both (`Moments`).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moreso.dependence.kernels import CosineBasis

BLOCK = 128
"""Minimum height of the blocks in which a symmetric product is computed."""

DENSE = 6.5
"""With more than groups^2 / DENSE pairs, all groups are multiplied at once; otherwise each pair separately."""


@dataclass(frozen=True)
class Pairs:
    """Unordered pairs of groups, as positions.

    Args:
        left: the first group of each pair.
        right: the second group of each pair.
        groups: the number of groups.
    """

    left: Int[Tensor, " pairs"]
    right: Int[Tensor, " pairs"]
    groups: int

    @property
    def dense(self) -> bool:
        """Whether one product of all groups is cheaper than a product per pair."""
        return len(self.left) * DENSE > self.groups**2

    def scatter(self, left: Tensor, right: Tensor) -> Tensor:
        """Return, per group, the sum over pairs of what a pair contributes to its left and to its right group."""
        total = torch.zeros(self.groups, *left.shape[1:], dtype=left.dtype, device=left.device)
        return total.index_add_(0, self.left, left).index_add_(0, self.right, right)

    def matrix(self, values: Float[Tensor, " pairs"]) -> Float[Tensor, "groups groups"]:
        """Return the symmetric matrix of the pairs' values; the values of a group with itself count twice."""
        total = torch.zeros(self.groups, self.groups, dtype=values.dtype, device=values.device)
        total.index_put_((self.left, self.right), values, accumulate=True)
        return total + total.T


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of a chunk of rows for HSIC; `+` merges those of two chunks.

    Args:
        rows: m.
        mean: mu of each group.
        cross: C of each pair; if the pairs are dense, C of all groups with all groups.
        pairs: the pairs.
        basis: the basis of the features; chunks must share it to be merged.
    """

    rows: int
    mean: Float[Tensor, "groups rank"]
    cross: Float[Tensor, "pairs rank rank"] | Float[Tensor, "groups rank groups rank"]
    pairs: Pairs
    basis: CosineBasis

    @staticmethod
    def of(features: Float[Tensor, "groups rank m"], pairs: Pairs, basis: CosineBasis) -> "Moments":
        """Return the moments of features, and centre the features in place.

        Args:
            features: phi of every group and row; A on return.
            pairs: the pairs.
            basis: the basis of the features.
        """
        groups, rank, m = features.shape
        mean = features.mean(2)
        features -= mean[:, :, None]
        if pairs.dense:
            cross = symmetric_product(features.view(groups * rank, m)).view(groups, rank, groups, rank)
        else:
            cross = features[pairs.left] @ features[pairs.right].transpose(1, 2)
        return Moments(m, mean, cross, pairs, basis)

    def __add__(self, other: "Moments") -> "Moments":
        """Merge in double precision (Chan, Golub & LeVeque, 1979)."""
        if self.basis is not other.basis:
            raise ValueError("moments merge only if they were taken with one basis. Give both chunks the same basis.")
        rows = self.rows + other.rows
        shift = other.mean.double() - self.mean.double()
        if self.pairs.dense:
            outer = shift[:, :, None, None] * shift
        else:
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
    def blocks(self) -> Float[Tensor, "pairs rank rank"]:
        """C of each pair."""
        return self.cross[self.pairs.left, :, self.pairs.right, :] if self.pairs.dense else self.cross

    @cached_property
    def pulled(self) -> Float[Tensor, "groups rank groups"]:
        """C mu_h, of all groups with all groups; only if the pairs are dense."""
        return (self.cross * self.mean).sum(3)

    @cached_property
    def sides(self) -> "Sides":
        """The quantities of the two groups of each pair."""
        left, right = self.pairs.left, self.pairs.right
        mean = self.mean[left], self.mean[right]
        to_right = torch.bmm(self.blocks, mean[1].unsqueeze(2)).squeeze(2)
        to_left = torch.bmm(mean[0].unsqueeze(1), self.blocks).squeeze(1)
        return Sides(mean, (self.beta[left], self.beta[right]), to_right, to_left, (mean[0] * to_right).sum(1))

    def hsic(self) -> Float[Tensor, " pairs"]:
        """Return the unbiased HSIC of each pair."""
        m = self.rows
        a, b = m * m / (m - 1), 4 * m / (m - 2)
        if self.pairs.dense:
            # No gathering of pairs: on small batches, the number of operations matters more than their size.
            found = self.cross.square().sum((1, 3)) - b * (self.pulled * self.mean[:, :, None]).sum(1)
            found = torch.addr(found, self.beta, self.beta, alpha=-a)[self.pairs.left, self.pairs.right]
        else:
            sides = self.sides
            found = self.cross.flatten(1).square().sum(1) - b * sides.quadratic - a * (sides.beta[0] * sides.beta[1])
        return found / (m * (m - 3))

    def gradient(
        self, weight: Float[Tensor, " pairs"]
    ) -> tuple[
        Float[Tensor, "groups rank"], Float[Tensor, "pairs rank rank"] | Float[Tensor, "groups rank groups rank"]
    ]:
        """Return the derivatives of the sum of weight x HSIC, with respect to mu and to C.

        If the pairs are dense, C_gh and C_hg count as two.
        """
        m = self.rows
        a, b = m * m / (m - 1), 4 * m / (m - 2)
        weight = weight.to(self.mean.dtype) / (m * (m - 3))
        if self.pairs.dense:
            weights = self.pairs.matrix(weight)
            by_mean = (2 * a) * (weights @ self.beta)[:, None] * self.mean
            by_mean -= b * (self.pulled @ weights[:, :, None]).squeeze(2)
            flat = self.mean.flatten()
            by_cross = torch.addr(self.cross.view(len(flat), -1), flat, flat, beta=2, alpha=-b).view_as(self.cross)
            by_cross *= weights[:, None, :, None]
        else:
            sides, weight = self.sides, weight[:, None]
            by_mean = self.pairs.scatter(
                weight * (2 * a * sides.beta[1][:, None] * sides.mean[0] - b * sides.to_right),
                weight * (2 * a * sides.beta[0][:, None] * sides.mean[1] - b * sides.to_left),
            )
            outer = sides.mean[0].unsqueeze(2), sides.mean[1].unsqueeze(1)
            by_cross = torch.baddbmm(self.cross, *outer, beta=2, alpha=-b)
            by_cross *= weight[:, :, None]
        return by_mean, by_cross


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


def symmetric_product(flat: Float[Tensor, "size m"]) -> Float[Tensor, "size size"]:
    """Return flat @ flat.T; blocks below the diagonal are copied from above it."""
    size = len(flat)
    strip = max(BLOCK, -(-size // 6))
    if size <= 2 * strip:
        return flat @ flat.T
    result = flat.new_empty(size, size)
    for start in range(0, size, strip):
        stop = min(start + strip, size)
        torch.mm(flat[start:stop], flat[start:].T, out=result[start:stop, start:])
        result[stop:, start:stop] = result[start:stop, stop:].T
    return result
