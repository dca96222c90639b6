"""Whether features rise together: the covariance of monotone bounded scores.

HSIC has no sign, so a direction is measured by scores s(x) = Phi((x - c) / b), where Phi is the normal distribution
function, and c and b are the median and the bandwidth of a reference sample. A score is bounded, so that far values
count no more than large ones, and monotone, so that its covariance has the sign of any monotone relation.
"""

import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from moreso.dependence.processes import Group, Rows, total


@dataclass(frozen=True)
class ScoreMoments:
    """Sufficient statistics of the scores of some rows for their covariances; `+` merges those of two chunks.

    Args:
        rows: the number of rows.
        mean: the mean score of each column.
        cross: the sums of products of centred scores.
    """

    rows: int
    mean: Float[Tensor, " columns"]
    cross: Float[Tensor, "columns columns"]

    @classmethod
    def of(cls, z: Float[Tensor, "m columns"]) -> "ScoreMoments":
        """Return the moments of samples, centred and in units of the bandwidth."""
        scores = torch.special.ndtr(z).double()
        mean = scores.mean(0)
        centred = scores - mean
        return cls(len(z), mean, centred.T @ centred)

    def __add__(self, other: "ScoreMoments") -> "ScoreMoments":
        """Merge (Chan, Golub & LeVeque, 1979)."""
        rows, shift = self.rows + other.rows, other.mean - self.mean
        cross = self.cross + other.cross + torch.outer(shift, shift) * (self.rows * other.rows / rows)
        return ScoreMoments(rows, self.mean + shift * (other.rows / rows), cross)


class Covariances:
    """Signed covariances of the scores of pairs of columns, and their standard errors.

    C = sum (s_l - mean s_l) (s_r - mean s_r) / (m - 1), times the sign that was stated: positive where the statement
    holds.

    Args:
        z: samples, one column per feature, centred and in units of the bandwidth. A leading dimension holds one sample
            per member of a population; then all results have it too.
        left: the first column of each pair.
        right: the second column of each pair.
        signs: the stated sign of each pair, 1 or -1.
        normalize: divide by the standard deviations: the correlation of the scores.
        group: the processes whose samples count as one batch.
        rows: the rows of all of them.
        known: the moments of the scores of all rows, if these are some of more rows.

    Attributes:
        value: the signed covariances or correlations, with gradient to the samples of this process.
        count: the number of rows of all processes.
        own: the number of rows of this process.
    """

    def __init__(
        self,
        z: Float[Tensor, "*members m columns"],
        left: Int[Tensor, " pairs"],
        right: Int[Tensor, " pairs"],
        signs: Float[Tensor, " pairs"],
        *,
        normalize: bool = False,
        group: Group | None = None,
        rows: Rows | None = None,
        known: "ScoreMoments | None" = None,
    ) -> None:
        self._left, self._right, self._signs, self._normalize = left, right, signs.to(z.dtype), normalize
        self.own, self.group = z.shape[-2], group
        self.count = (rows or Rows(self.own, 0)).number if known is None else known.rows
        scores = torch.special.ndtr(z)
        if known is not None:
            mean = known.mean.to(z.dtype)
        elif group is None:
            mean = scores.mean(-2, keepdim=True)
        else:
            # A constant mean leaves the gradient as it is, since scores that are centred sum to 0 over all processes.
            mean = total(scores.detach().sum(-2, keepdim=True), group) / self.count
        self._centred = scores - mean
        cross = total(self._centred.mT @ self._centred, group) if known is None else known.cross.to(z.dtype)
        moments = cross / (self.count - 1)
        width = z.shape[-1]
        own = moments.flatten(-2).index_select(-1, left * width + right)
        self._raw = own * self._signs
        self._variance = moments.diagonal(dim1=-2, dim2=-1)
        self.value = self._raw / self._roots if normalize else self._raw

    @property
    def _roots(self) -> Tensor:
        # A column that has collapsed to a point rises with nothing; the floor keeps 0/0 at 0.
        scale = self._variance.clamp(min=torch.finfo(self._variance.dtype).eps)
        return (scale.index_select(-1, self._left) * scale.index_select(-1, self._right)).sqrt()

    def unnormalized(self) -> "Covariances":
        """Return the plain covariances of the same sample, which normalised ones have already computed."""
        view = copy.copy(self)
        view._normalize, view.value = False, self._raw
        return view

    def influence(self, rows: slice = slice(None)) -> Float[Tensor, "*members pairs chunk"]:
        """Return the contribution of each row to each value, with mean zero, without gradient.

        sqrt(mean(influence^2) / m) is the standard error of a value.

        Args:
            rows: which rows.
        """
        with torch.no_grad():
            own = self._centred[..., rows, :].mT
            left, right = own.index_select(-2, self._left), own.index_select(-2, self._right)
            scale = self.count / (self.count - 1)
            spread = left * right * (scale * self._signs[:, None]) - self._raw[..., None]
            if not self._normalize:
                return spread
            # The delta method, as for the normalised HSIC.
            floor = torch.finfo(self._variance.dtype).eps
            first, second = (
                each.square() * scale / self._variance.index_select(-1, side).clamp(min=floor)[..., None] - 1
                for each, side in ((left, self._left), (right, self._right))
            )
            return spread / self._roots[..., None] - self.value[..., None] / 2 * (first + second)
