"""Densities of rows with independent columns, whose draws carry gradients and may be stacked by `torch.func.vmap`.

`torch.distributions` draws from fixed shapes, which `vmap` refuses, and expands every parameter to the shape of the
rows, which costs more than the rest of a small model.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from moreso.models.draws import normal_like, uniform_like

Known: TypeAlias = Float[Tensor, "*n d"] | None
"""1 where a value is known, 0 where it is missing; None if all are known."""


def observed(x: Float[Tensor, "*n d"]) -> tuple[Float[Tensor, "*n d"], Float[Tensor, "*n d"]]:
    """Return rows with 0 in place of missing values (NaN), and which values are known."""
    known = ~x.isnan()
    return torch.where(known, x, 0.0), known.to(x.dtype)


@dataclass(frozen=True)
class Gaussian:
    """N(mean, diag(scale^2)).

    Args:
        mean: mean of each column.
        scale: standard deviation of each column, of the same shape or one that expands to it.
    """

    mean: Float[Tensor, "*n d"]
    scale: Float[Tensor, "*#n d"]

    def rsample(self) -> Float[Tensor, "*n d"]:
        """Return one draw per row, with gradient."""
        return self.mean + self.scale * normal_like(self.mean)

    def log_prob(self, x: Float[Tensor, "*n d"], known: Known = None) -> Float[Tensor, "*n"]:
        """Return the log-density of each row, or of what is known of it."""
        white = (x - self.mean) / self.scale
        if known is not None:
            each = white.square() / 2 + self.scale.log() + math.log(2 * math.pi) / 2
            return -(each * known).sum(-1)
        constant = self.scale.log().sum(-1) + self.mean.shape[-1] * math.log(2 * math.pi) / 2
        return -white.square().sum(-1) / 2 - constant

    def divergence(self) -> Float[Tensor, "*n"]:
        """Return KL(N(mean, diag(scale^2)) || N(0, I)) of each row."""
        variance = self.scale.square()
        return (self.mean.square() + variance - variance.log()).sum(-1) / 2 - self.mean.shape[-1] / 2


@dataclass(frozen=True)
class Student:
    """Independent columns, location_j + scale_j t(df_j).

    Args:
        location: of each column and row.
        scale: of each column.
        df: degrees of freedom of each column.
    """

    location: Float[Tensor, "*n d"]
    scale: Float[Tensor, " d"]
    df: Float[Tensor, " d"]

    def rsample(self) -> Float[Tensor, "*n d"]:
        """Return one draw per row, with gradient to all parameters.

        With U and V uniform, sqrt(df (U^(-2 / df) - 1)) cos(2 pi V) follows t(df). It is smooth in df, and needs no
        draws of chi-squared, whose gradients are slow.

        References:
            Bailey, "Polar Generation of Random Variates with the t-Distribution", Mathematics of Computation 1994.
        """
        uniform, angle = uniform_like(self.location), uniform_like(self.location)
        # At 0 the logarithm is infinite. 1 is never drawn: there the root would have no derivative.
        logarithm = uniform.clamp(min=torch.finfo(uniform.dtype).eps / 4).log()
        radius = (self.df * torch.expm1(-2 / self.df * logarithm)).sqrt()
        return self.location + self.scale * radius * (2 * math.pi * angle).cos()

    def log_prob(self, x: Float[Tensor, "*n d"], known: Known = None) -> Float[Tensor, "*n"]:
        """Return the log-density of each row, or of what is known of it."""
        # As few operators as possible on rows: with networks this small, each costs as much as its arithmetic.
        half = self.df / 2
        power, inverse = half + 0.5, 1 / (self.df * self.scale.square())
        constant = power.lgamma() - half.lgamma() + (inverse / math.pi).log() / 2
        tail = power * ((x - self.location).square() * inverse).log1p()
        return constant.sum(-1) - tail.sum(-1) if known is None else ((constant - tail) * known).sum(-1)
