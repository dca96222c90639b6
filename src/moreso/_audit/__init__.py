"""Knowledge against data: which statements hold, which are contradicted, and which the rows cannot decide."""

from moreso._audit._audit import audit
from moreso._audit.findings import Audit, Finding, Verdict, bits_text
from moreso._audit.testing import level_problems
from moreso._audit.unobserved import deciding, explain_directions, explain_pairs, stated_pairs

__all__ = [
    "Audit",
    "Finding",
    "Verdict",
    "audit",
    "bits_text",
    "deciding",
    "explain_directions",
    "explain_pairs",
    "level_problems",
    "stated_pairs",
]
