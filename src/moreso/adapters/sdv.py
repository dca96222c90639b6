"""SDV: CTGANSynthesizer and TVAESynthesizer, in the copy of sdv that the user has installed.

That package is under the Business Source License; moreso does not depend on it and holds none of its code.
"""

from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Unpack

from jaxtyping import Float
from sdv.single_table import CTGANSynthesizer, TVAESynthesizer
from torch import Tensor

from moreso.adapters.ctgan import Table, attach_table, checked
from moreso.adapters.push import Push, Settings
from moreso.relations import Knowledge
from moreso.training import Penalty

TESTED = "2.0.0"


class Synthesizer(Table):
    """An adapter of SDV's CTGANSynthesizer or TVAESynthesizer: the rows that its CTGAN or TVAE learns.

    These are the table's but for a thin layer around it: numbers are not yet rounded nor cut to the range of the
    training rows, dates are numbers, and missing numbers are filled in. See `ctgan.Table` for their form.

    Args:
        synthesizer: fitted or not.

    Raises:
        TypeError: something else.
        RuntimeError: a version of the package that is made otherwise than the one known.
    """

    def __init__(self, synthesizer: Any) -> None:
        if not isinstance(synthesizer, CTGANSynthesizer | TVAESynthesizer):
            raise TypeError(
                f"the model must be a CTGANSynthesizer or a TVAESynthesizer of sdv, got {type(synthesizer).__name__}. "
                "Pass one; of SDV's models these alone are trained by gradients."
            )
        if missing := [name for name in ("_model", "_model_kwargs", "_sample") if not hasattr(synthesizer, name)]:
            raise RuntimeError(
                f"sdv {version('sdv')} is not known to moreso: {type(synthesizer).__name__} has no '{missing[0]}'. "
                f"Install the one that it was tested with: pip install sdv=={TESTED}."
            )
        self.synthesizer = synthesizer
        self._model, self._columns, self._learned = None, [], None

    @property
    def model(self) -> Any:
        """The CTGAN or TVAE, which a fit makes anew; None before."""
        if self.synthesizer._model is not self._model:
            self._model = checked(self.synthesizer._model)
        return self._model

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows of the synthesizer's own sampler, ahead of that layer."""
        return self.rows(self.synthesizer._sample(n))


def attach(
    synthesizer: Any, knowledge: Knowledge | Penalty, **settings: Unpack[Settings]
) -> AbstractContextManager[Push]:
    """Push a synthesizer towards knowledge while its own `fit` trains it inside the `with` block.

    Args:
        synthesizer: a CTGANSynthesizer or a TVAESynthesizer.
        knowledge: statements about columns of the table, or a penalty on draws of `Synthesizer`.
        settings: weight, every, draws and random_state as in `adapters.attach`.

    Raises:
        KnowledgeError: within the fit, no relation, or a name that is no column that is learned.
        TypeError, ValueError, RuntimeError: as `Synthesizer` and `adapters.attach`.
    """
    return attach_table(Synthesizer(synthesizer), knowledge, **settings)
