"""Shared by all adapters: the loss term from the user's arguments, and the check that something was pushed."""

from collections.abc import Sequence
from typing import TypedDict

from moreso.dependence import Features
from moreso.guidance import Draw, Guidance, Penalty, Push, Pushed, RandomState
from moreso.regularizer import Regularizer
from moreso.relations import Knowledge


class Options(TypedDict, total=False):
    """The options that every way of attaching takes; `attach` documents them."""

    weight: float | str
    every: int
    draws: int
    random_state: RandomState


def make_push(
    draw: Draw,
    penalty: Penalty,
    *,
    weight: float | str = "auto",
    every: int = 1,
    draws: int = 256,
    random_state: RandomState = 0,
) -> Push:
    """Return the push with the options that `attach` documents."""
    return Push(draw, penalty, Guidance(weight, every=every, draws=draws), random_state=random_state)


def penalty_of(knowledge: Knowledge | str | Penalty, features: Features | None, data: object | None) -> Penalty:
    """Return the loss term for knowledge with its features, or for a regularizer, which has its own."""
    if isinstance(knowledge, Knowledge | str):
        if features is None:
            raise TypeError(
                "'features' must name the columns of the draws, in order. Pass features=[...], and the training rows "
                "as 'data', or a moreso.Regularizer in place of the knowledge."
            )
        return Regularizer(knowledge, features, data=data)
    if not callable(knowledge):
        raise TypeError(
            "the knowledge must be text, a moreso.Knowledge or a moreso.Regularizer, got "
            f"{type(knowledge).__name__}. Write for example 'outlet: inlet > ambient'."
        )
    if features is not None or data is not None:
        raise TypeError("'features' and 'data' are the regularizer's own. Leave them out, or pass the knowledge.")
    return knowledge


def check_fired(history: Sequence[Pushed]) -> None:
    """Raise unless there was a push.

    Raises:
        RuntimeError: there was no push, so the model was trained without the knowledge.
    """
    if not history:
        raise RuntimeError(
            "nothing was pushed: no optimizer took a step on the parameters of the model while it was attached. Train "
            "inside the 'with' block, with a PyTorch optimizer on these very parameters."
        )
