from . import derive as derive
from ._ask import DirectionQuestion as DirectionQuestion
from ._ask import Question as Question
from ._ask import ask as ask
from ._ask import question_problems as question_problems
from ._ask import questionnaire as questionnaire
