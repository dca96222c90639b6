"""What a model reveals of its training rows: membership inference by likelihood."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from moreso.synthesizer import Synthesizer


def membership(fit: Synthesizer, training: pd.DataFrame, others: np.ndarray) -> float:
    """Return how well the log-likelihood of a row tells whether the model was trained on it.

    This is the area under the ROC curve: the probability that a training row is likelier than another row, ties counted
    half. At .5 the likelihood says nothing; at 1 each training row is likelier than all others. It measures the attack
    of somebody who has the model file and a row in question, and knows of no other rows. Stronger attacks exist, which
    train models of their own, so a value near .5 is no proof.

    Args:
        fit: a fit whose model has a density.
        training: the rows of the training, all that are known of each.
        others: the log-likelihood of rows of the same kind that were not trained on, by the same fit.

    References:
        Yeom, Giacomelli, Fredrikson & Jha, "Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting",
        CSF 2018.
    """
    return auc(fit.score_samples(fit.encoder_.conform(training)), others)


def auc(own: np.ndarray, other: np.ndarray) -> float:
    """Return the probability that a number of the first kind is above one of the second, ties counted half.

    >>> auc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    ranks = rankdata(np.concatenate([own, other]))[: len(own)]
    return float((ranks.sum() - len(own) * (len(own) + 1) / 2) / (len(own) * len(other)))
