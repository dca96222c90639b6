"""The report on what holds, and the gain from statements on rows that no model saw."""

from moreso.evaluation._quality import Nearest, Quality, Similarity
from moreso.evaluation._report import Report, report
from moreso.evaluation._rows import Evidence, Gap, Likelihood, Row
from moreso.evaluation._worth import Gain, Worth, extra_rows, split_problems, worth

__all__ = [
    "Evidence",
    "Gain",
    "Gap",
    "Likelihood",
    "Nearest",
    "Quality",
    "Report",
    "Row",
    "Similarity",
    "Worth",
    "extra_rows",
    "report",
    "split_problems",
    "worth",
]
