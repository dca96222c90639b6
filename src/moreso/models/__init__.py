"""Generative models behind one small protocol; they know nothing of relations."""

from moreso.models.factor import FactorAnalysis
from moreso.models.protocol import GenerativeModel, HasDensity
from moreso.models.vae import VAE

MODELS = {"factor": FactorAnalysis, "vae": VAE}
"""Name -> class; each is built from the number of features alone."""

__all__ = ["MODELS", "VAE", "FactorAnalysis", "GenerativeModel", "HasDensity"]
