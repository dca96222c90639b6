"""Knowledge against data: which statements hold, which are contradicted, and which the rows cannot decide."""

from moreso._audit.findings import Audit, Finding, Verdict
from moreso._audit.testing import audit, level_problems

__all__ = ["Audit", "Finding", "Verdict", "audit", "level_problems"]
