"""The Hilbert-Schmidt independence criterion (HSIC) of all needed pairs of groups at once, and the gaps of relations.

The representation of each group and each unordered pair are computed once. The gradient of any combination of pairs
needs one weighted combination per group, never one pass per relation. Scalar groups use certified low-rank features
(`lowrank`), wide groups use tiles of Gram matrices (`exact`); both give the same numbers. `relative` turns pairs into
gaps, standard errors and p-values.
"""

from moreso.dependence.engine import MIN_ROWS, TOLERANCE, Dependence, TooManyRowsError, exactly, hsic, in_bandwidths
from moreso.dependence.kernels import CosineBasis, cosine_basis, gaussian_gram, median_bandwidth, spread_bandwidth
from moreso.dependence.moments import Moments, Pairs
from moreso.dependence.null import null_deviation, null_pvalue
from moreso.dependence.processes import Group
from moreso.dependence.relative import (
    ROUND_OFF,
    Features,
    Gaps,
    RelativeDependence,
    RelativeTest,
    Statistics,
    relative_test,
)
from moreso.dependence.samples import Samples

__all__ = [
    "MIN_ROWS",
    "ROUND_OFF",
    "TOLERANCE",
    "CosineBasis",
    "Dependence",
    "Features",
    "Gaps",
    "Group",
    "Moments",
    "Pairs",
    "RelativeDependence",
    "RelativeTest",
    "Samples",
    "Statistics",
    "TooManyRowsError",
    "cosine_basis",
    "exactly",
    "gaussian_gram",
    "hsic",
    "in_bandwidths",
    "median_bandwidth",
    "null_deviation",
    "null_pvalue",
    "relative_test",
    "spread_bandwidth",
]
