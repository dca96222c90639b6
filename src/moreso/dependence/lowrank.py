"""HSIC of scalar groups through low-rank features: O(rows x groups x rank^2) instead of O(rows^2).

Features are computed in chunks of rows, and their moments give the values (`moreso.dependence.moments`). The gradient
goes back from moments to features to samples in closed form.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from moreso.dependence.kernels import cosine_basis
from moreso.dependence.moments import Moments, Pairs
from moreso.dependence.processes import Group

CHUNK = 2**21
"""The most numbers in the features of one chunk of rows, so that they stay in the processor's cache."""

PAIR_CHUNK = 2**19
"""The same for the products of several pairs with a chunk of rows."""


class LowRank:
    """The HSIC of pairs of scalar groups on one sample, or on one sample per member of a population.

    Args:
        z: samples in units of the bandwidth, one column per group.
        ends: least and greatest sample of each group.
        pairs: the pairs to compute.
        tolerance: greatest error of the kernel, see `cosine_basis`. Samples outside the range of one basis get a wider
            one.
        group: the processes whose samples count as one batch; `ends` are those of all.
        known: the moments of all rows, if these are some of more rows; then `value` is that of all, without gradient.
    """

    def __init__(
        self,
        z: Float[Tensor, "*members m groups"],
        ends: Float[Tensor, "2 *members groups"],
        pairs: Pairs,
        *,
        tolerance: float,
        group: Group | None = None,
        known: Moments | None = None,
    ) -> None:
        self.z = z.detach()
        width = float((ends[1] - ends[0]).max())
        self.basis = cosine_basis(width, tolerance=tolerance, dtype=z.dtype, device=z.device)
        self.pairs = pairs
        self.middle = ends.mean(0)
        self.kept: tuple[Tensor, Tensor] | None = None
        if known is None:
            self.moments, self.kept = self._measure(group)
        else:
            self.moments = known

    def value(self, z: Float[Tensor, "*members m groups"]) -> Float[Tensor, "*members pairs"]:
        """Return the HSIC of each pair, with gradient to the samples that this object was built from."""
        return _LowRankHSIC.apply(z, self)

    def chunks(self) -> Iterator[slice]:
        """Yield slices of rows whose features fit in the cache."""
        count = self.z.shape[-2]
        size = max(256, CHUNK * count // (self.basis.rank * self.z.numel()))
        for start in range(0, count, size):
            yield slice(start, start + size)

    def raw(self, rows: slice) -> Float[Tensor, "*members groups n2 chunk"]:
        """Return cosines and sines."""
        count = len(self.basis.frequencies)
        angles = (self.z[..., rows, :] - self.middle[..., None, :]).mT[..., None, :] * self.basis.frequencies
        raw = angles.new_empty(*angles.shape[:-2], 2 * count, angles.shape[-1])
        torch.cos(angles, out=raw[..., :count, :])
        torch.sin(angles, out=raw[..., count:, :])
        return raw

    def _measure(self, group: Group | None) -> tuple[Moments, tuple[Tensor, Tensor] | None]:
        """Return the moments of all rows, and the raw and centred features if one chunk holds them all."""
        total: Moments | None = None
        kept = None
        for rows in self.chunks():
            raw = self.raw(rows)
            features = self.basis.projection @ raw
            found = Moments.of(features, self.pairs, self.basis)
            kept = (raw, features) if total is None else None
            total = found if total is None else total + found
        assert total is not None
        whole = total.over(group)
        if kept is not None and whole is not total:
            kept = kept[0], kept[1] + (total.mean - whole.mean).to(kept[1].dtype)[..., None]
        return whole, kept

    def centred(
        self, rows: slice
    ) -> tuple[Float[Tensor, "*members groups n2 chunk"], Float[Tensor, "*members groups rank chunk"]]:
        """Return cosines and sines, and centred features."""
        if self.kept is not None:
            raw, features = self.kept
            return raw[..., rows], features[..., rows]
        raw = self.raw(rows)
        features = self.basis.projection @ raw
        features -= self.moments.mean.to(features.dtype)[..., None]
        return raw, features

    def rows(self, rows: slice) -> Float[Tensor, "*members pairs chunk"]:
        """Return q_i = sum_j K~_ij L~_ij of U-centred Gram matrices for some rows, less its mean over all rows.

        q_i = A_i' C B_i - 2/(m-2) (B_i' C' mu_g + A_i' C mu_h) - m (m-1)/(m-2)^2 d_i e_i + (t e_i + u d_i)/(m-2)^2
        up to a constant, with d = |A_i|^2 and e = |B_i|^2, and t and u their totals.
        """
        found = self.moments
        m = found.rows
        mean, cross, beta = (part.to(self.z.dtype) for part in (found.mean, found.blocks, found.beta))
        features = self.centred(rows)[1]
        d = beta[..., None] - 2 * (mean[..., None] * features).sum(-2)
        to_left = found.sides.to_left.to(self.z.dtype)
        size = max(1, PAIR_CHUNK * found.pairs.groups // features.numel())
        parts = []
        sides = zip(self.pairs.left.split(size), self.pairs.right.split(size), strict=True)
        for start, (g, h) in zip(range(0, len(self.pairs.left), size), sides, strict=True):
            part = slice(start, start + size)
            far = features.index_select(-3, h)
            near = cross[..., part, :, :].mT @ features.index_select(-3, g)
            near -= 2 / (m - 2) * to_left[..., part, :, None]
            far -= 2 / (m - 2) * mean.index_select(-2, h)[..., None]
            # The product of both shifts is constant for each pair; subtracting the mean removes it.
            q = (near * far).sum(-2)
            own, other = d.index_select(-2, g), d.index_select(-2, h)
            q -= own * other * (m * (m - 1) / (m - 2) ** 2)
            own *= beta.index_select(-1, h)[..., None]
            other *= beta.index_select(-1, g)[..., None]
            q += (own + other) * (m / (m - 2) ** 2)
            parts.append(q)
        q = parts[0] if len(parts) == 1 else torch.cat(parts, -2)
        return q - self.mean_of_rows[..., None].to(q.dtype)

    @cached_property
    def mean_of_rows(self) -> Float[Tensor, "*members pairs"]:
        """Mean over rows of the terms of q that `rows` computes."""
        found = self.moments
        m = found.rows
        sides = found.sides
        mean = found.blocks.square().sum((-2, -1)) / m + (2 / (m - 2)) ** 2 * (sides.to_left * sides.mean[1]).sum(-1)
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
        pairs, basis, m = owner.pairs, owner.basis, owner.moments.rows
        by_mean, by_cross = (part.to(gradient.dtype) for part in owner.moments.gradient(gradient))
        shift = (by_mean / m)[..., None]
        result = torch.empty_like(owner.z)
        count = len(basis.frequencies)
        for rows in owner.chunks():
            raw, features = owner.centred(rows)
            if pairs.dense:
                back = (by_cross.flatten(-2).flatten(-3, -2) @ features.flatten(-3, -2)).view_as(features)
            else:
                left, right = (features.index_select(-3, side) for side in (pairs.left, pairs.right))
                back = pairs.scatter(by_cross @ right, by_cross.mT @ left, -3)
            back += shift
            back = basis.derivative @ back
            turned = raw[..., :count, :] * back[..., count:, :]
            turned -= raw[..., count:, :] * back[..., :count, :]
            result[..., rows, :] = turned.sum(-2).mT
        return result, None


def refuse_second_derivative() -> None:
    """Raise if a backward pass is itself to be differentiated."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the dependence has a closed-form gradient but no second derivative. "
            "Call backward without create_graph=True, or take the regularizer's gradient separately from yours."
        )
