"""DataFrame in, DataFrame out: a generative model of a table that follows the statements about it."""

from moreso.synthesizer.estimator import Synthesizer, draw_problems, fit_all
from moreso.synthesizer.fitted import Fitted
from moreso.synthesizer.settings import Settings
from moreso.training import Bar

__all__ = ["Bar", "Fitted", "Settings", "Synthesizer", "draw_problems", "fit_all"]
