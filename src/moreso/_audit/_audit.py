"""The public door: an audit of rows in memory, or of partitions."""

import pandas as pd

from moreso._audit.findings import Audit
from moreso._audit.partitions import audit_partitions
from moreso._audit.testing import audit_rows
from moreso.relations import Knowledge
from moreso.tabular import is_partitioned


def audit(
    data: pd.DataFrame,
    knowledge: Knowledge | str,
    *,
    level: float = 0.05,
    block: int = 1,
    like: pd.DataFrame | None = None,
) -> Audit:
    """Test every statement on data.

    Each gap gets a one-sided test (`relative_test`) and the test of its converse, both corrected for the number of
    relations by Holm's method. Near independence the law of a gap is not normal, so each of these tests also asks
    whether ref depends on the larger side at all (`dependence.null_pvalue`), and its p-value is the larger of both.
    A verdict other than 'undecided' also needs a normalised gap of the same sign. Columns
    are standardised, so that the features of one group have equal weight. Text and categorical columns are compared as
    levels, any two equally far apart. The bandwidth is the median distance.

    A relation uses the rows in which all of its own columns are present; with fewer than 4 such rows its verdict is
    'never observed together'. Relations between single columns use every row; a million rows take seconds. Relations
    with groups of columns or with categories of more than two levels use at most 5000 rows, evenly spaced; so do
    columns with very heavy tails if there are more than 50,000 rows. Below 50 rows the standard error is the
    jackknife's, which is larger.

    The test assumes independent rows. If neighbouring rows correlate, as in time series and in sorted tables, the
    half-samples consist of blocks of rows, and a note says so. For a time series the p-values are then too small: pass
    the block length from the note as `block`, so that standard errors use blocks too.

    Args:
        data: columns named as in the knowledge, which names them by their text; others are ignored. A name that only
            looks like a column's is taken for it, with a note (`Knowledge.matched`). A Dask DataFrame is audited
            partition by partition, without `block` and `like`.
        knowledge: at least one relation, as `Knowledge` or as text.
        level: the probability that any statement gets the verdict 'holds' (or 'contradicted') by chance.
        block: how many consecutive rows may depend on each other, at most a twentieth of the rows.
        like: rows that fix scales and bandwidths, to measure several tables on the same scales; by default `data`.

    Raises:
        KnowledgeError: there is no relation, names are not columns, or text cannot be read; the error lists all other
            problems too.
        DataError: a column is constant, infinite, or text with too many levels, or there are fewer than 4 rows.
        ValueError: the level is outside (0, 1), or the block is too long.

    References:
        Bounliphone et al., ICML 2015 (the test). Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
        Kunsch, "The Jackknife and the Bootstrap for General Stationary Observations", Annals of Statistics 1989
        (blocks). Rubin, "The Bayesian Bootstrap", Annals of Statistics 1981.

    >>> import numpy as np
    >>> inlet = np.random.default_rng(0).normal(size=100)
    >>> table = pd.DataFrame({"outlet": inlet**2, "inlet": inlet, "ambient": inlet[::-1]})
    >>> [str(finding.verdict) for finding in audit(table, Knowledge.parse("outlet: inlet > ambient"))]
    ['already certain']
    """
    if not is_partitioned(data):
        return audit_rows(data, knowledge, level=level, block=block, like=like)
    if block != 1 or like is not None:
        raise ValueError(
            "'block' and 'like' need rows in memory, got a Dask DataFrame. Audit a stretch of it: .compute()."
        )
    return audit_partitions(data, knowledge, level=level)
