"""Knowledge against data: which statements hold, which are contradicted, and which these rows cannot decide."""

from moreso.audit.findings import Audit, Finding, Verdict, explain_left_out
from moreso.audit.numbers import MAX_ROWS, expand, part_names
from moreso.audit.testing import audit

__all__ = ["MAX_ROWS", "Audit", "Finding", "Verdict", "audit", "expand", "explain_left_out", "part_names"]
