"""The shape of a column: its scale, a point mass, a transform of its tails, and booleans as columns."""

import math
from typing import Any

import numpy as np
from scipy.special import ndtri

POINT_MASS = 0.2
"""A value is a point mass (often zero) if this share of the rows has it, and 3 times as many as any other value."""

LEAST_WIDTH = 1e-318
"""Narrower transforms are not tried, since double precision keeps too few digits of such numbers."""

LEAST_SCALE = 0.1
"""Flags rarer than about 1% are scaled like one of 1%, so that no row lies ten standard deviations out."""

CODED_ROWS = 20
"""With fewer rows, codes cannot be distinguished from measurements."""


class Flag:
    """A boolean as one column: standardised, and cut where a Gaussian of its mean and variance has its share."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.deviation = math.sqrt(share * (1 - share))
        self.scale = max(self.deviation, LEAST_SCALE)
        self.cut = -float(ndtri(share))

    def encode(self, on: np.ndarray) -> np.ndarray:
        """Return the model's column."""
        return (on - self.share) / self.scale

    def score(self, z: Any) -> Any:
        """Return a number that is positive if the flag is on."""
        return z * (self.scale / self.deviation) - self.cut


def standard(x: np.ndarray) -> tuple[float, float]:
    """Return the mean and the standard deviation, which is never 0."""
    mean, deviation = float(x.mean()), float(x.std())
    if deviation < np.finfo(float).tiny ** 0.5:
        # The squares of such small numbers would underflow.
        largest = float(np.abs(x - mean).max())
        deviation = largest * float(((x - mean) / largest).std()) if largest else 1.0
    return mean, deviation


def find_point_mass(x: np.ndarray) -> float | None:
    """Return the value that is a point mass, or None."""
    values, counts = np.unique(x, return_counts=True)
    first = counts.argmax()
    others = np.delete(counts, first)
    if len(x) < CODED_ROWS or len(others) < 2 or counts[first] < max(POINT_MASS * len(x), 3 * others.max()):
        return None
    return float(values[first])


def find_transform(x: np.ndarray) -> tuple[float, float] | None:
    """Return centre and width of an asinh that makes skewed or heavy-tailed numbers Gaussian, or None.

    The choice is by maximum likelihood over a grid. The transform must gain at least .1 nats per row, and twice what
    BIC demands for two more parameters.
    """
    from scipy.stats import kurtosis, skew  # noqa: PLC0415 (takes a second, and only a fit needs it)

    n = len(x)
    mean, scale = standard(x)
    scaled = (x - mean) / scale
    if n < CODED_ROWS or (abs(float(skew(scaled))) < 1 and float(kurtosis(scaled)) < 2):
        return None
    low, middle, high = (float(value) for value in np.quantile(scaled, [0.25, 0.5, 0.75]))
    spread = high - low
    if spread == 0:
        return None
    best, found = max(0.1, 2 * math.log(n) / n), None
    for centre in (float(scaled.min()), middle, float(scaled.max())):
        for width in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
            if scale * width * spread < LEAST_WIDTH:
                continue
            transformed = np.arcsinh((scaled - centre) / (width * spread))
            gain = -math.log(transformed.std()) - math.log(width * spread) - float(np.log(np.cosh(transformed)).mean())
            if gain > best:
                best, found = gain, (mean + scale * centre, scale * width * spread)
    return found
