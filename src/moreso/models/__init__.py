"""Generative models with one small protocol; they know nothing about relations."""

from moreso.models.conditional import draw_missing, impute, log_prob_known
from moreso.models.draws import Lane, drawing
from moreso.models.factor import FactorAnalysis
from moreso.models.flow import Flow
from moreso.models.flowmatching import FlowMatching
from moreso.models.gan import GAN
from moreso.models.gplvm import GPLVM
from moreso.models.mixture import Mixture, join, members
from moreso.models.protocol import (
    GenerativeModel,
    HasDensity,
    HasLearningRate,
    HasMemory,
    HasNoise,
    HasSamples,
    HasValidationLoss,
    TakesMissing,
)
from moreso.models.vae import VAE
from moreso.models.vaegan import VAEGAN

MODELS = {
    "factor": FactorAnalysis,
    "vae": VAE,
    "gan": GAN,
    "vaegan": VAEGAN,
    "gplvm": GPLVM,
    "flow": Flow,
    "flowmatching": FlowMatching,
}
"""Name -> class; each class can be built from the number of features alone."""

__all__ = [
    "GAN",
    "GPLVM",
    "MODELS",
    "VAE",
    "VAEGAN",
    "FactorAnalysis",
    "Flow",
    "FlowMatching",
    "GenerativeModel",
    "HasDensity",
    "HasLearningRate",
    "HasMemory",
    "HasNoise",
    "HasSamples",
    "HasValidationLoss",
    "Lane",
    "Mixture",
    "TakesMissing",
    "draw_missing",
    "drawing",
    "impute",
    "join",
    "log_prob_known",
    "members",
]
