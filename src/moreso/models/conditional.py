"""Draws of missing values given the rest of a row, from samples of any model."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from moreso.models.densities import observed
from moreso.models.mixture import members
from moreso.models.protocol import HasDensity, HasSamples, TakesMissing

DONORS = 16
"""A draw starts from one of so many samples that are nearest to the row in what is known."""

CHUNK = 2048
"""Rows that are filled at once, since each needs a covariance of its own."""

DRAWS = 64
"""Ways to fill a row, which are weighted by a model's density."""

SAMPLES = 2000
"""Samples of a model that show where values may be."""

RIDGE = 1e-3
"""Share of a column's variance that is added to it, since samples may lie in a plane."""


def draw_missing(
    rows: Float[Tensor, "*members n d"], samples: Float[Tensor, "*members s d"]
) -> Float[Tensor, "*members n d"]:
    """Return rows in whose missing values (NaN) are draws given the rest of the row under the law of samples.

    A sample that lies near in what is known is moved onto it, and its other values move along by linear regression
    (Matheron's rule). For Gaussian samples this is exact, whichever sample is taken. Time O(n s d + n d^3).

    Args:
        rows: the rows.
        samples: complete samples; more are better.

    References:
        Journel & Huijbregts, "Mining Geostatistics", 1978; Wilson, Borovitskiy, Terenin, Mostowsky & Deisenroth,
        "Pathwise Conditioning of Gaussian Processes", JMLR 2021, section 3.
    """
    if rows.shape[-2] > CHUNK:
        return torch.cat([draw_missing(part, samples) for part in rows.split(CHUNK, dim=-2)], dim=-2)
    filled, known = observed(rows)
    # |x - s|^2 over what is known, for all rows and samples by two products.
    distance = known @ samples.square().mT - 2 * filled @ samples.mT
    near = distance.topk(min(DONORS, samples.shape[-2]), dim=-1, largest=False).indices
    # The same choice for each member of a population.
    choice = torch.randint(near.shape[-1], (rows.shape[-2], 1), device=rows.device).expand(*near.shape[:-1], 1)
    donor = torch.take_along_dim(samples, near.gather(-1, choice), dim=-2)
    _, covariance = _moments(samples)
    moved = donor + _regress(covariance, known, filled - donor)
    return torch.where(rows.isnan(), moved, rows)


def _moments(samples: Float[Tensor, "*members s d"]) -> tuple[Tensor, Tensor]:
    mean = samples.mean(-2, keepdim=True)
    apart = samples - mean
    covariance = apart.mT @ apart / samples.shape[-2]
    return mean, covariance + RIDGE * torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1) + RIDGE)


def _known_block(covariance: Float[Tensor, "*members d d"], known: Float[Tensor, "*members n d"]) -> Tensor:
    """Return each row's covariance of what is known; what is missing is independent with variance 1."""
    both = known[..., :, None] * known[..., None, :]
    return covariance[..., None, :, :] * both + torch.diag_embed(1 - known)


def _regress(
    covariance: Float[Tensor, "*members d d"],
    known: Float[Tensor, "*members n d"],
    apart: Float[Tensor, "*members n d"],
) -> Float[Tensor, "*members n d"]:
    """Return the expected distance of all columns from that of what is known."""
    root = torch.linalg.cholesky(_known_block(covariance, known))
    solved = torch.cholesky_solve((known * apart)[..., None], root)[..., 0]
    return (known * solved) @ covariance


class Proposal:
    """The Gaussian of samples, given what is known of each row: where values may be, for importance sampling.

    Args:
        rows: rows with missing values (NaN).
        samples: complete samples.
        wide: factor on the standard deviations, so that no tail of the true law is missed.
    """

    def __init__(self, rows: Float[Tensor, "n d"], samples: Float[Tensor, "s d"], wide: float = 1.5) -> None:
        filled, self.known = observed(rows)
        self.rows, self.missing = filled, rows.isnan()
        mean, covariance = _moments(samples)
        self.mean = torch.where(self.missing, mean + _regress(covariance, self.known, filled - mean), filled)
        root = torch.linalg.cholesky(_known_block(covariance, self.known))
        cross = covariance[None] * self.known[:, :, None]
        solved = torch.linalg.solve_triangular(root, cross, upper=False)
        rest = 1 - self.known
        both = rest[:, :, None] * rest[:, None, :]
        left = wide**2 * (covariance - solved.mT @ solved) * both + torch.diag_embed(self.known)
        self.root = torch.linalg.cholesky(left + RIDGE * torch.diag_embed(rest))

    def draw(self) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
        """Return filled rows and the log-density of what was filled in."""
        white = torch.randn_like(self.rows) * self.missing
        filled = torch.where(self.missing, self.mean + (self.root @ white[:, :, None])[:, :, 0], self.rows)
        determinant = (self.root.diagonal(dim1=-2, dim2=-1).log() * self.missing).sum(1)
        count = self.missing.sum(1)
        return filled, -(white.square().sum(1) + count * math.log(2 * math.pi)) / 2 - determinant


def log_prob_known(model: nn.Module, rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return the log-density of what is known of each row, under a model or a mixture that has a density.

    Models that do not compute it are integrated over the missing values (NaN) by importance sampling.
    """
    parts = members(model)
    return torch.stack([_log_prob(part, rows) for part in parts]).logsumexp(0) - math.log(len(parts))


def impute(model: nn.Module, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return rows in whose missing values (NaN) are draws given the rest of the row, under a model or a mixture.

    Exact for factor models; by importance resampling for others with a density; else see `draw_missing`. Of a mixture,
    the likelier models of a row fill it more often.
    """
    parts = members(model)
    of = torch.zeros(len(rows), dtype=torch.long)
    if len(parts) > 1:
        equal = torch.zeros(len(parts), len(rows))
        dense = all(isinstance(part, HasDensity) for part in parts)
        weight = torch.stack([_log_prob(part, rows) for part in parts]) if dense else equal
        of = torch.multinomial(weight.softmax(0).T, 1)[:, 0]
    filled = rows.clone()
    for number, part in enumerate(parts):
        own = of == number
        if own.any():
            filled[own] = _impute(part, rows[own])
    return filled


def _log_prob(model: nn.Module, rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    assert isinstance(model, HasDensity)
    incomplete = rows.isnan().any(1)
    if isinstance(model, TakesMissing) or not incomplete.any():
        return model.log_prob(rows)
    found = rows.new_empty(len(rows))
    if not incomplete.all():
        found[~incomplete] = model.log_prob(rows[~incomplete])
    _, weights = _fillings(model, rows[incomplete])
    found[incomplete] = weights.logsumexp(0) - math.log(len(weights))
    return found


def _impute(model: nn.Module, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    if isinstance(model, TakesMissing):
        return model.impute(rows)
    if not isinstance(model, HasDensity):
        assert isinstance(model, HasSamples)
        return draw_missing(rows, model.sample(SAMPLES))
    fillings, weights = _fillings(model, rows)
    chosen = torch.multinomial(weights.softmax(0).T, 1)[:, 0]
    return fillings[chosen, torch.arange(len(rows))]


def _fillings(
    model: nn.Module, rows: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "draws n d"], Float[Tensor, "draws n"]]:
    """Return ways to fill rows, and the logarithms of their weights under a model with a density."""
    assert isinstance(model, HasDensity) and isinstance(model, HasSamples)
    proposal = Proposal(rows, model.sample(SAMPLES))
    fillings, densities = zip(*(proposal.draw() for _ in range(DRAWS)), strict=True)
    filled = torch.stack(fillings)
    weights = model.log_prob(filled.flatten(0, 1)).unflatten(0, filled.shape[:2]) - torch.stack(densities)
    return filled, weights
