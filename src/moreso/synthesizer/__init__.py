"""DataFrame in, DataFrame out: a generative model of a table that follows what was stated about it."""

from moreso.synthesizer.synthesizer import Synthesizer

__all__ = ["Synthesizer"]
