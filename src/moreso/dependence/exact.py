"""HSIC of groups of any width from tiles of Gram matrices: O(rows^2) time, with one tile in memory.

With K the Gram matrices without their diagonals, r their row sums and s their totals,

    HSIC = [ <K, L> + s_g s_h / ((m - 1)(m - 2)) - 2 / (m - 2) r_g' r_h ] / (m (m - 3))

and its derivative with respect to K_ij is L~_ij / (m (m - 3)), where L~ is the other matrix, U-centred. If the tiles do
not all fit in memory, the backward pass computes them again.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import threshold

from moreso.dependence.lowrank import refuse_second_derivative
from moreso.dependence.moments import Pairs, symmetric_product

TILE = 2**24
"""The most numbers in one tile of Gram matrices, over all groups."""


NEGLIGIBLE = {torch.float32: 1e-15, torch.float64: 1e-100}
"""Smaller values of the kernel count as 0, by type: their products would be denormal numbers, with which processors
compute slowly. One sample a thousand bandwidths away made a step eight times as long."""


class Exact:
    """The HSIC of pairs of groups on one sample, or on one sample per member of a population.

    Args:
        scalars: samples of the scalar groups in units of the bandwidth, one column per group.
        wide: samples of the other groups, one tensor of rows per group; they count after the scalars.
        pairs: the pairs to compute.
    """

    def __init__(
        self, scalars: Float[Tensor, "*members m scalars"], wide: Sequence[Float[Tensor, "*members m _"]], pairs: Pairs
    ) -> None:
        self.scalars = scalars.detach().mT.contiguous()
        # A shift changes no distance, but it adds rounding error: an offset of 100 costs a factor 30 in float32.
        self.wide = [group.detach() - group.detach().mean(-2, keepdim=True) for group in wide]
        self.pairs = pairs
        self.halves = [torch.linalg.vector_norm(group, dim=-1).square_().div_(-2) for group in self.wide]
        *members, scalar, self.count = self.scalars.shape
        self.members, self.width = torch.Size(members), scalar + len(wide)
        product, self.sums, self.kept = self._measure()
        m, totals = self.count, self.sums.sum(-1)
        sides = pairs.left, pairs.right
        left, right = (self.sums.index_select(-2, side) for side in sides)
        found = product.flatten(-2).index_select(-1, pairs.left * pairs.groups + pairs.right)
        found = found - 2 / (m - 2) * (left * right).sum(-1)
        left, right = (totals.index_select(-1, side) for side in sides)
        self.found = ((found + left * right / ((m - 1) * (m - 2))) / (m * (m - 3))).to(scalars.dtype)

    def value(self, scalars: Tensor, wide: Sequence[Tensor]) -> Float[Tensor, "*members pairs"]:
        """Return the HSIC of each pair, with gradient to the samples that this object was built from."""
        return _ExactHSIC.apply(self, scalars, *wide)

    def size(self) -> int:
        """Return how many rows of all Gram matrices are one tile."""
        return max(1, TILE // (self.width * self.count * self.members.numel()))

    def chunks(self) -> Iterator[slice]:
        """Yield slices of rows whose tiles fit in memory."""
        size = min(self.count, self.size())
        for start in range(0, self.count, size):
            yield slice(start, min(start + size, self.count))

    def tile(self, rows: slice) -> Float[Tensor, "*members groups chunk m"]:
        """Return some rows of all Gram matrices, without the diagonal; do not write to them."""
        if self.kept is not None:
            return self.kept[..., rows, :]
        first = self.scalars.shape[-2]
        tile = self.scalars.new_empty(*self.members, self.width, rows.stop - rows.start, self.count)
        own = tile[..., :first, :, :]
        torch.sub(self.scalars[..., rows, None], self.scalars[..., None, :], out=own)
        own.square_().mul_(-0.5)
        for index, (group, half) in enumerate(zip(self.wide, self.halves, strict=True), start=first):
            own = tile[..., index, :, :]
            if own.shape[-2] == self.count:
                torch.add(symmetric_product(group), half[..., None, :], out=own)
            else:
                torch.add(group[..., rows, :] @ group.mT, half[..., None, :], out=own)
            own += half[..., rows, None]
            own.clamp_(max=0)
        tile.exp_()
        threshold(tile, NEGLIGIBLE[tile.dtype], 0.0, inplace=True)
        torch.diagonal(tile, rows.start, -2, -1).zero_()
        return tile

    def _measure(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return <K, L> of all groups, their row sums, and the tile if a single one holds everything."""
        self.kept = None
        shape = *self.members, self.width, self.width
        product = torch.zeros(shape, dtype=torch.float64, device=self.scalars.device)
        sums = []
        kept = None
        for index, rows in enumerate(self.chunks()):
            tile = self.tile(rows)
            flat = tile.flatten(-2)
            product += (flat @ flat.mT).double()
            sums.append(tile.sum(-1))
            kept = tile if index == 0 and rows.stop == self.count else None
        return product, torch.cat(sums, -1).double(), kept

    def centre(self, tile: Tensor, sums: Tensor, rows: slice, weights: Tensor | None = None) -> Tensor:
        """U-centre a tile in place, or a weighted sum of tiles (its diagonal is then not zero)."""
        m = self.count
        sums = sums if weights is None else weights @ sums
        tile -= (sums[..., rows, None] / (m - 2)).to(tile.dtype)
        column = sums.sum(-1, keepdim=True) / ((m - 1) * (m - 2)) - sums / (m - 2)
        tile += column[..., None, :].to(tile.dtype)
        return tile

    def rows(self, rows: slice) -> Float[Tensor, "*members pairs chunk"]:
        """Return q_i = sum_j K~_ij L~_ij of U-centred Gram matrices for some rows, less its mean over all rows."""
        parts = []
        for start in range(rows.start, min(rows.stop, self.count), self.size()):
            part = slice(start, min(start + self.size(), rows.stop, self.count))
            tile = self.centre(self.tile(part).clone(), self.sums, part)
            torch.diagonal(tile, part.start, -2, -1).zero_()
            pairs = zip(self.pairs.left.tolist(), self.pairs.right.tolist(), strict=True)
            parts.append(torch.stack([(tile[..., g, :, :] * tile[..., h, :, :]).sum(-1) for g, h in pairs], -2))
        return torch.cat(parts, -1) - (self.count - 3) * self.found[..., None]


class _ExactHSIC(torch.autograd.Function):
    """Values and closed-form gradient; see the module's docstring."""

    @staticmethod
    def forward(ctx: Any, owner: Exact, *groups: Tensor) -> Tensor:
        ctx.owner = owner
        return owner.found.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        owner: Exact = ctx.owner
        m, first = owner.count, owner.scalars.shape[-2]
        weights = owner.pairs.matrix(gradient.double() * (2 / (m * (m - 3))))
        scalars = torch.empty_like(owner.scalars)
        wide = [torch.empty_like(group) for group in owner.wide]
        for rows in owner.chunks():
            tile = owner.tile(rows)
            other = (weights.to(tile.dtype) @ tile.flatten(-2)).view_as(tile)
            force = owner.centre(other, owner.sums, rows, weights).mul_(tile)
            # sum_j F_ij (z_j - z_i): the z_i part goes to the diagonal, so that one product is enough.
            torch.diagonal(force, rows.start, -2, -1).sub_(force.sum(-1))
            # Quicker than a product of many small matrices with vectors.
            scalars[..., rows] = (force[..., :first, :, :] * owner.scalars[..., None, :]).sum(-1)
            for index, (result, group) in enumerate(zip(wide, owner.wide, strict=True), start=first):
                result[..., rows, :] = force[..., index, :, :] @ group
        return None, scalars.mT, *wide
