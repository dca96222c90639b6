"""Lightning: a callback for automatic and manual optimisation, as for `scvi-tools`, which trains by Lightning."""

from collections.abc import Callable
from typing import Any, Unpack

import lightning.pytorch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from moreso.adapters.attaching import owned
from moreso.adapters.push import Push, Pushed, Settings, check_fired, penalty_of
from moreso.relations import Knowledge
from moreso.relative import Features
from moreso.training import Penalty


class Callback(lightning.pytorch.Callback):
    """Push a LightningModule towards knowledge: `Trainer(callbacks=[Callback(knowledge, features=...)])`.

    The gradient is added before each step, ahead of the trainer's gradient clipping and, with mixed precision, in
    the scale of the loss. The penalty, the share of statements held and the weight go to the trainer's loggers as
    'moreso/penalty', 'moreso/held' and 'moreso/weight', and into `history`. LBFGS is given the gradient of the sum at
    each evaluation, but the value of the loss alone: where it searches along lines, train inside `adapters.attach`.

    Args:
        knowledge: statements, pushed to a gap of `push.MARGIN` standard errors, or a regularizer of them.
        draw: (module, n) -> n samples with gradients; by default `module.sample(n)`.
        features: the columns of the draws in order, or name -> callable on them; for statements alone.
        data: training rows in the form of the draws; they fix the kernels' bandwidths.
        settings: weight, every, draws and random_state as in `adapters.attach`.

    Raises:
        KnowledgeError, TypeError, ValueError: as `adapters.attach`.
        RuntimeError: at the end of a training in which nothing was pushed.
    """

    def __init__(
        self,
        knowledge: Knowledge | Penalty,
        draw: Callable[[Any, int], Tensor] | None = None,
        *,
        features: Features | None = None,
        data: object | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self._draw = draw or (lambda module, n: module.sample(n))
        self.push = Push(self._sample, penalty_of(knowledge, features, data), **settings)
        self._module: Any = None
        self._step: tuple[int, int] | None = None
        self._due = True
        self._last: Pushed | None = None  # at this step
        self._pushed: Pushed | None = None  # in this training

    @property
    def history(self) -> list[Pushed]:
        """What was pushed, step by step."""
        return self.push.history

    def _sample(self, n: int) -> Tensor:
        return self._draw(self._module, n)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget the last training, but for its history."""
        self._step = self._pushed = None

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """Add the gradient; further evaluations of one step, as LBFGS makes, get the same random numbers."""
        self._module = pl_module
        if self._step != (step := (id(optimizer), trainer.global_step)):
            self._step, self._due, self._last = step, self.push.due(optimizer), None
        if not self._due:
            return
        scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
        # A fused optimizer undoes the scale within its step, later than here.
        scaled = scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
        scale = scaler.get_scale() if scaled else 1.0
        parameters = owned(optimizer, pl_module)
        pushed = self.push(parameters, pl_module.buffers(), scale=scale, again=self._last is not None)
        if pushed is not None:
            self._last = self._pushed = pushed
            told = {"penalty": pushed.penalty, "held": pushed.held, "weight": pushed.weight}
            pl_module.log_dict({f"moreso/{name}": value for name, value in told.items()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Raise where nothing was pushed."""
        self._module = None
        check_fired([] if self._pushed is None else [self._pushed])
