"""The report on what holds, and the gain from statements on rows that no model saw."""

from moreso.evaluation._report import Likelihood, Report, Row, report
from moreso.evaluation._worth import Gain, Worth, extra_rows, split_problems, worth

__all__ = ["Gain", "Likelihood", "Report", "Row", "Worth", "extra_rows", "report", "split_problems", "worth"]
