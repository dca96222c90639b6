"""The Hilbert-Schmidt independence criterion (HSIC) of all needed pairs of groups at once.

Each group's representation is computed once, each unordered pair once, and the gradient of any combination of pairs
needs one weighted combination a group, never one pass per relation. Scalar groups go through certified low-rank
features (`lowrank`), wide ones through tiles of Gram matrices (`exact`); both give the same numbers.
"""

from moreso.dependence.engine import MIN_ROWS, TOLERANCE, Dependence, TooManyRowsError, exactly, hsic, in_bandwidths
from moreso.dependence.moments import Moments, Pairs

__all__ = [
    "MIN_ROWS",
    "TOLERANCE",
    "Dependence",
    "Moments",
    "Pairs",
    "TooManyRowsError",
    "exactly",
    "hsic",
    "in_bandwidths",
]
