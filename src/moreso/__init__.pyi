from . import adapters as adapters
from ._audit import Audit as Audit
from ._audit import Verdict as Verdict
from ._audit import audit as audit
from .dependence import hsic as hsic
from .dependence import relative_test as relative_test
from .elicit import ask as ask
from .elicit import derive as derive
from .evaluation import Report as Report
from .evaluation import Worth as Worth
from .evaluation import report as report
from .evaluation import worth as worth
from .regularizer import Regularizer as Regularizer
from .relations import DataError as DataError
from .relations import Direction as Direction
from .relations import Knowledge as Knowledge
from .relations import KnowledgeError as KnowledgeError
from .relations import Relation as Relation
from .synthesizer import Settings as Settings
from .synthesizer import Synthesizer as Synthesizer
from .synthesizer import fit_all as fit_all

__all__: list[str]
__version__: str
