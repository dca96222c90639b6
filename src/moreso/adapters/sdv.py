"""SDV: CTGANSynthesizer and TVAESynthesizer, in the user's installation of sdv.

That package is under the Business Source License; moreso does not depend on it and contains none of its code.
"""

from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Unpack

from jaxtyping import Float
from sdv.single_table import CTGANSynthesizer, TVAESynthesizer
from torch import Tensor

from moreso.adapters.common import Options
from moreso.adapters.ctgan import Table, attach_table, checked
from moreso.guidance import Penalty, Push
from moreso.relations import Knowledge

TESTED = "2.0.0"


class Synthesizer(Table):
    """An adapter of SDV's CTGANSynthesizer or TVAESynthesizer: the rows that its CTGAN or TVAE learns.

    They differ from the table's rows by a thin layer: numbers are not yet rounded or clipped to the range of the
    training rows, dates are numbers, and missing numbers are filled in. See `ctgan.Table` for their form.

    Args:
        synthesizer: a CTGANSynthesizer or a TVAESynthesizer, fitted or not.

    Raises:
        TypeError: the synthesizer is neither.
        RuntimeError: the installed version of the package differs from the known one.
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
        """The CTGAN or TVAE, which every fit creates anew; None before the first fit."""
        if self.synthesizer._model is not self._model:
            self._model = checked(self.synthesizer._model)
        return self._model

    def sample(self, n: int) -> Float[Tensor, "n d"]:
        """Return n rows from the synthesizer's own sampler, before that layer."""
        return self.rows(self.synthesizer._sample(n))


def attach(
    synthesizer: Any, knowledge: Knowledge | str | Penalty, **settings: Unpack[Options]
) -> AbstractContextManager[Push]:
    """Push a synthesizer towards knowledge while its own `fit` trains it inside the `with` block.

    Args:
        synthesizer: a CTGANSynthesizer or a TVAESynthesizer.
        knowledge: statements about columns of the table, or a penalty on draws of `Synthesizer`.
        settings: weight, every, draws and random_state as in `adapters.attach`.

    Raises:
        KnowledgeError: during the fit, if there is no relation or a name is not a learned column.
        TypeError, ValueError, RuntimeError: as `Synthesizer` and `adapters.attach`.
    """
    return attach_table(Synthesizer(synthesizer), knowledge, **settings)
