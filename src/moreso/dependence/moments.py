"""Sufficient statistics of low-rank features for HSIC: means and cross products, for all needed pairs at once.

Below, phi are the features of one group (`kernels.CosineBasis`), mu is their mean over the m rows, A = phi - mu,
and C = sum_i A_i B_i' for the two groups of a pair. With beta = |phi|^2 - |mu|^2, which is known because |phi|^2 is
constant,

    HSIC = [ |C|_F^2 - m^2 beta_g beta_h / (m - 1) - 4 m / (m - 2) mu_g' C mu_h ] / (m (m - 3))

so (m, mu, C) are sufficient, and the moments of two chunks of rows merge into those of both (`Moments`). All quantities
may have leading dimensions: one sample per member of a population.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moreso.dependence.kernels import CosineBasis
from moreso.dependence.processes import Group, total

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

    def scatter(self, left: Tensor, right: Tensor, dim: int) -> Tensor:
        """Return, per group, the sum over pairs of what a pair contributes to its left and to its right group.

        Args:
            left: contributions to left groups.
            right: contributions to right groups.
            dim: the dimension of pairs, counted from the end.
        """
        total = left.new_zeros(*left.shape[:dim], self.groups, *left.shape[dim:][1:])
        return total.index_add_(dim, self.left, left).index_add_(dim, self.right, right)

    def matrix(self, values: Float[Tensor, "*members pairs"]) -> Float[Tensor, "*members groups groups"]:
        """Return the symmetric matrix of the pairs' values; the values of a group with itself count twice."""
        total = values.new_zeros(*values.shape[:-1], self.groups**2)
        total.index_add_(-1, self.left * self.groups + self.right, values)
        total = total.unflatten(-1, (self.groups, self.groups))
        return total + total.mT


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
    mean: Float[Tensor, "*members groups rank"]
    cross: Float[Tensor, "*members pairs rank rank"] | Float[Tensor, "*members groups rank groups rank"]
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
        mean = features.mean(-1)
        features -= mean[..., None]
        if pairs.dense:
            shape = features.shape[-3:-1]
            cross = symmetric_product(features.flatten(-3, -2)).unflatten(-1, shape).unflatten(-3, shape)
        else:
            cross = features.index_select(-3, pairs.left) @ features.index_select(-3, pairs.right).mT
        return Moments(features.shape[-1], mean, cross, pairs, basis)

    def __add__(self, other: "Moments") -> "Moments":
        """Merge in double precision (Chan, Golub & LeVeque, 1979)."""
        if (self.basis.width, self.basis.rank) != (other.basis.width, other.basis.rank):
            raise ValueError("moments merge only if they were taken with one basis. Give both chunks the same basis.")
        rows = self.rows + other.rows
        shift = other.mean.double() - self.mean.double()
        return Moments(
            rows,
            self.mean.double() + shift * (other.rows / rows),
            self.cross.double() + other.cross.double() + self._outer(shift) * (self.rows * other.rows / rows),
            self.pairs,
            self.basis,
        )

    def over(self, group: Group | None) -> "Moments":
        """Return the moments of the rows of all processes, in double precision if there are several."""
        if group is None:
            return self
        # One message, of products that are not centred: features are at most 1, so double precision bears it.
        own = self.mean.double()
        count = torch.tensor([self.rows], dtype=own.dtype, device=own.device)
        sums = count, self.rows * own, self.cross.double() + self._outer(self.rows**0.5 * own)
        whole = total(torch.cat([each.flatten() for each in sums]), group).split([each.numel() for each in sums])
        rows, mean, cross = (part.view_as(each) for part, each in zip(whole, sums, strict=True))
        mean = mean / rows
        return Moments(int(rows), mean, cross - self._outer(rows.sqrt() * mean), self.pairs, self.basis)

    def _outer(self, shift: Float[Tensor, "*members groups rank"]) -> Tensor:
        """Return the products of what belongs to the groups, in the form of `cross`."""
        if self.pairs.dense:
            return shift[..., None, None] * shift[..., None, None, :, :]
        left, right = (shift.index_select(-2, side) for side in (self.pairs.left, self.pairs.right))
        return left[..., :, None] * right[..., None, :]

    @cached_property
    def beta(self) -> Float[Tensor, "*members groups"]:
        """Mean of |A_i|^2, per group."""
        return self.basis.square - self.mean.square().sum(-1)

    @cached_property
    def blocks(self) -> Float[Tensor, "*members pairs rank rank"]:
        """C of each pair."""
        if not self.pairs.dense:
            return self.cross
        groups = self.pairs.groups
        flat = self.cross.transpose(-3, -2).flatten(-4, -3)
        return flat.index_select(-3, self.pairs.left * groups + self.pairs.right)

    @cached_property
    def pulled(self) -> Float[Tensor, "*members groups rank groups"]:
        """C mu_h, of all groups with all groups; only if the pairs are dense."""
        return (self.cross * self.mean[..., None, None, :, :]).sum(-1)

    @cached_property
    def sides(self) -> "Sides":
        """The quantities of the two groups of each pair."""
        sides = self.pairs.left, self.pairs.right
        left, right = (self.mean.index_select(-2, side) for side in sides)
        to_right = (self.blocks @ right[..., None]).squeeze(-1)
        to_left = (left[..., None, :] @ self.blocks).squeeze(-2)
        beta_left, beta_right = (self.beta.index_select(-1, side) for side in sides)
        return Sides((left, right), (beta_left, beta_right), to_right, to_left, (left * to_right).sum(-1))

    def hsic(self) -> Float[Tensor, "*members pairs"]:
        """Return the unbiased HSIC of each pair."""
        m = self.rows
        a, b = m * m / (m - 1), 4 * m / (m - 2)
        if self.pairs.dense:
            # No gathering of pairs: on small batches, the number of operations matters more than their size.
            found = self.cross.square().sum((-3, -1)) - b * (self.pulled * self.mean[..., None]).sum(-2)
            found = found - a * self.beta[..., :, None] * self.beta[..., None, :]
            found = found.flatten(-2).index_select(-1, self.pairs.left * self.pairs.groups + self.pairs.right)
        else:
            sides = self.sides
            found = self.cross.square().sum((-2, -1)) - b * sides.quadratic - a * (sides.beta[0] * sides.beta[1])
        return found / (m * (m - 3))

    def gradient(
        self, weight: Float[Tensor, "*members pairs"]
    ) -> tuple[
        Float[Tensor, "*members groups rank"],
        Float[Tensor, "*members pairs rank rank"] | Float[Tensor, "*members groups rank groups rank"],
    ]:
        """Return the derivatives of the sum of weight x HSIC, with respect to mu and to C.

        If the pairs are dense, C_gh and C_hg count as two.
        """
        m = self.rows
        a, b = m * m / (m - 1), 4 * m / (m - 2)
        weight = weight.to(self.mean.dtype) / (m * (m - 3))
        if self.pairs.dense:
            weights = self.pairs.matrix(weight)
            by_mean = (2 * a) * (weights @ self.beta[..., None]) * self.mean
            by_mean -= b * (self.pulled @ weights[..., None]).squeeze(-1)
            outer = self.mean[..., None, None], self.mean[..., None, None, :, :]
            by_cross = torch.addcmul(self.cross, *outer, value=-b / 2)
            by_cross *= (2 * weights)[..., :, None, :, None]
        else:
            sides, weight = self.sides, weight[..., None]
            by_mean = self.pairs.scatter(
                weight * (2 * a * sides.beta[1][..., None] * sides.mean[0] - b * sides.to_right),
                weight * (2 * a * sides.beta[0][..., None] * sides.mean[1] - b * sides.to_left),
                -2,
            )
            outer = sides.mean[0][..., :, None], sides.mean[1][..., None, :]
            by_cross = torch.addcmul(self.cross, *outer, value=-b / 2)
            by_cross *= 2 * weight[..., None]
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

    mean: tuple[Float[Tensor, "*members pairs rank"], Float[Tensor, "*members pairs rank"]]
    beta: tuple[Float[Tensor, "*members pairs"], Float[Tensor, "*members pairs"]]
    to_right: Float[Tensor, "*members pairs rank"]
    to_left: Float[Tensor, "*members pairs rank"]
    quadratic: Float[Tensor, "*members pairs"]


def symmetric_product(flat: Float[Tensor, "*members size m"]) -> Float[Tensor, "*members size size"]:
    """Return flat @ flat.T; blocks below the diagonal are copied from above it."""
    size = flat.shape[-2]
    strip = max(BLOCK, -(-size // 6))
    if size <= 2 * strip:
        return flat @ flat.mT
    result = flat.new_empty(*flat.shape[:-1], size)
    for start in range(0, size, strip):
        stop = min(start + strip, size)
        result[..., start:stop, start:] = flat[..., start:stop, :] @ flat[..., start:, :].mT
        result[..., stop:, start:stop] = result[..., start:stop, stop:].mT
    return result
