from . import models as models
from . import statements as statements
from ._demo import Demo as Demo
from ._demo import knowledge_text as knowledge_text
from ._demo import patients as patients
from ._demo import run as run
from .shell import main as main
