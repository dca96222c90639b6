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

from moreso.dependence.lowrank import refuse_second_derivative
from moreso.dependence.moments import Pairs, symmetric_product

TILE = 2**24
"""The most numbers in one tile of Gram matrices, over all groups."""


class Exact:
    """The HSIC of pairs of groups on one sample.

    Args:
        groups: samples in units of the bandwidth, one tensor of rows per group.
        pairs: the pairs to compute.
    """

    def __init__(self, groups: Sequence[Float[Tensor, "m _"]], pairs: Pairs) -> None:
        # A shift changes no distance, but it adds rounding error: an offset of 100 costs a factor 30 in float32.
        self.groups = [group.detach() - group.detach().mean(0) for group in groups]
        self.pairs = pairs
        self.halves = [torch.linalg.vector_norm(group, dim=1).square_().div_(-2) for group in self.groups]
        self.count = len(groups[0])
        product, self.sums, self.kept = self._measure()
        m, totals = self.count, self.sums.sum(1)
        left, right = self.sums[pairs.left], self.sums[pairs.right]
        found = product[pairs.left, pairs.right] - 2 / (m - 2) * (left * right).sum(1)
        found += totals[pairs.left] * totals[pairs.right] / ((m - 1) * (m - 2))
        self.found = (found / (m * (m - 3))).to(groups[0].dtype)

    def value(self, *groups: Float[Tensor, "m _"]) -> Float[Tensor, " pairs"]:
        """Return the HSIC of each pair, with gradient to the samples that this object was built from."""
        return _ExactHSIC.apply(self, *groups)

    def chunks(self) -> Iterator[slice]:
        """Yield slices of rows whose tiles fit in memory."""
        size = max(1, min(self.count, TILE // (len(self.groups) * self.count)))
        for start in range(0, self.count, size):
            yield slice(start, min(start + size, self.count))

    def tile(self, rows: slice) -> Float[Tensor, "groups chunk m"]:
        """Return some rows of all Gram matrices, without the diagonal; do not write to them."""
        if self.kept is not None:
            return self.kept[:, rows]
        tile = self.groups[0].new_empty(len(self.groups), rows.stop - rows.start, self.count)
        for index, (group, half) in enumerate(zip(self.groups, self.halves, strict=True)):
            if tile.shape[1] == self.count:
                torch.add(symmetric_product(group), half, out=tile[index])
            else:
                torch.addmm(half, group[rows], group.T, out=tile[index])
            tile[index] += half[rows, None]
        tile.clamp_(max=0).exp_()
        torch.diagonal(tile, rows.start, 1, 2).zero_()
        return tile

    def _measure(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return <K, L> of all groups, their row sums, and the tile if a single one holds everything."""
        self.kept = None
        product = torch.zeros(len(self.groups), len(self.groups), dtype=torch.float64, device=self.groups[0].device)
        sums = []
        kept = None
        for index, rows in enumerate(self.chunks()):
            tile = self.tile(rows)
            flat = tile.flatten(1)
            product += (flat @ flat.T).double()
            sums.append(tile.sum(2))
            kept = tile if index == 0 and rows.stop == self.count else None
        return product, torch.cat(sums, 1).double(), kept

    def centre(self, tile: Tensor, sums: Tensor, rows: slice, weights: Tensor | None = None) -> Tensor:
        """U-centre a tile in place, or a weighted sum of tiles (its diagonal is then not zero)."""
        m = self.count
        sums = sums if weights is None else weights @ sums
        tile -= (sums[:, rows, None] / (m - 2)).to(tile.dtype)
        tile += ((sums.sum(1)[:, None] / ((m - 1) * (m - 2)) - sums / (m - 2))[:, None, :]).to(tile.dtype)
        return tile

    def rows(self, rows: slice) -> Float[Tensor, "pairs chunk"]:
        """Return q_i = sum_j K~_ij L~_ij of U-centred Gram matrices for some rows, less its mean over all rows."""
        size = max(1, TILE // (len(self.groups) * self.count))
        parts = []
        for start in range(rows.start, min(rows.stop, self.count), size):
            part = slice(start, min(start + size, rows.stop, self.count))
            tile = self.centre(self.tile(part).clone(), self.sums, part)
            torch.diagonal(tile, part.start, 1, 2).zero_()
            pairs = zip(self.pairs.left.tolist(), self.pairs.right.tolist(), strict=True)
            parts.append(torch.stack([(tile[g] * tile[h]).sum(1) for g, h in pairs]))
        return torch.cat(parts, 1) - (self.count - 3) * self.found[:, None]


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
        m, pairs = owner.count, owner.pairs
        weights = torch.zeros(len(owner.groups), len(owner.groups), dtype=torch.float64, device=gradient.device)
        weights.index_put_((pairs.left, pairs.right), gradient.double() * (2 / (m * (m - 3))), accumulate=True)
        weights = weights + weights.T
        found: list[Tensor] = [torch.empty_like(group) for group in owner.groups]
        for rows in owner.chunks():
            tile = owner.tile(rows)
            other = (weights.to(tile.dtype) @ tile.flatten(1)).view_as(tile)
            force = owner.centre(other, owner.sums, rows, weights).mul_(tile)
            # sum_j F_ij (z_j - z_i): the z_i part goes to the diagonal, so that one product is enough.
            torch.diagonal(force, rows.start, 1, 2).sub_(force.sum(2))
            for result, group, pull in zip(found, owner.groups, force, strict=True):
                torch.mm(pull, group, out=result[rows])
        return None, *found
