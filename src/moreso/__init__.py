"""Tell a generative model which features depend on each other, and which more so."""

from importlib.metadata import version

from moreso import adapters, derive
from moreso.ask import ask
from moreso.audit import Audit, Verdict, audit
from moreso.dependence import hsic
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge, KnowledgeError, Relation
from moreso.relative import relative_test
from moreso.report import Report, report
from moreso.synthesizer import Synthesizer
from moreso.worth import Worth, worth

__version__ = version("moreso")

__all__ = [
    "Audit",
    "Knowledge",
    "KnowledgeError",
    "Regularizer",
    "Relation",
    "Report",
    "Synthesizer",
    "Verdict",
    "Worth",
    "adapters",
    "ask",
    "audit",
    "derive",
    "hsic",
    "relative_test",
    "report",
    "worth",
]
