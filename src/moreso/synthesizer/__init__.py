"""DataFrame in, DataFrame out: a generative model of a table that follows the statements about it."""

from moreso.synthesizer.estimator import Synthesizer
from moreso.synthesizer.fitted import Fitted
from moreso.synthesizer.settings import Settings

__all__ = ["Fitted", "Settings", "Synthesizer"]
