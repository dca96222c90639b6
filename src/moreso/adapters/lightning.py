"""Lightning: a callback for automatic and manual optimisation; also for `scvi-tools`, which trains with Lightning."""

from collections.abc import Callable
from typing import Any, Unpack

import lightning.pytorch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from moreso.adapters.attaching import owned
from moreso.adapters.common import Options, check_fired, make_push, penalty_of
from moreso.dependence import Features
from moreso.guidance import Penalty, Pushed
from moreso.relations import Knowledge


class Callback(lightning.pytorch.Callback):
    """Push a LightningModule towards knowledge: `Trainer(callbacks=[Callback(knowledge, features=...)])`.

    The gradient is added before each step, ahead of the trainer's gradient clipping and, with mixed precision, in the
    scale of the loss. The penalty, the share of statements that hold and the weight go to the trainer's loggers as
    'moreso/penalty', 'moreso/held' and 'moreso/weight', and into `history`. LBFGS gets the gradient of the sum at each
    evaluation, but the value of the loss alone; if it uses a line search, train inside `adapters.attach`.

    Args:
        knowledge: statements, or a `moreso.Regularizer` of them with its own settings.
        draw: (module, n) -> n samples with gradients; by default `module.sample(n)`.
        features: the columns of the draws in order, or a mapping from name to a callable on the draws; only if
            `knowledge` is statements.
        data: training rows in the form of the draws; they fix the kernels' bandwidths.
        settings: weight, every, draws and random_state as in `adapters.attach`.

    Raises:
        KnowledgeError, TypeError, ValueError: as `adapters.attach`.
        RuntimeError: nothing was pushed by the end of training.

    >>> import torch
    >>> callback = Callback("outlet: inlet > ambient", features=["ambient", "inlet", "outlet"], every=5)
    >>> isinstance(callback, lightning.pytorch.Callback), callback.history
    (True, [])
    """

    def __init__(
        self,
        knowledge: Knowledge | str | Penalty,
        draw: Callable[[Any, int], Tensor] | None = None,
        *,
        features: Features | None = None,
        data: object | None = None,
        **settings: Unpack[Options],
    ) -> None:
        self._draw = draw or (lambda module, n: module.sample(n))
        self.push = make_push(self._sample, penalty_of(knowledge, features, data), **settings)
        self._module: Any = None
        self._step: tuple[int, int] | None = None
        self._due: int | None = None
        self._last: Pushed | None = None  # at this step
        self._pushed: Pushed | None = None  # in this training

    @property
    def history(self) -> list[Pushed]:
        """The pushes, one per step."""
        return self.push.history

    def _sample(self, n: int) -> Tensor:
        return self._draw(self._module, n)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Forget the last training except for its history."""
        self._step = self._pushed = None

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Optimizer) -> None:
        """Add the gradient; if LBFGS evaluates one step several times, the random numbers stay the same."""
        self._module = pl_module
        if self._step != (step := (id(optimizer), trainer.global_step)):
            self._step, self._due, self._last = step, self.push.due(optimizer), None
        if self._due is None:
            return
        scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
        # A fused optimizer removes the scale within its step, after this hook.
        scaled = scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False)
        scale = scaler.get_scale() if scaled else 1.0
        parameters = owned(optimizer, pl_module)
        again = self._last is not None
        pushed = self.push(parameters, pl_module.buffers(), step=self._due, scale=scale, again=again)
        if pushed is not None:
            self._last = self._pushed = pushed
            values = {"penalty": pushed.penalty, "held": pushed.held, "weight": pushed.weight}
            pl_module.log_dict({f"moreso/{name}": value for name, value in values.items()})

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Raise if nothing was pushed."""
        self._module = None
        check_fired([] if self._pushed is None else [self._pushed])
