"""Questions for an expert: the comparisons that the rows leave open and whose answers would matter most."""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from moreso.dependence import Dependence, median_bandwidth
from moreso.relations import count_problems, did_you_mean, raise_problems, spell_alike, write_name
from moreso.tabular import as_table, measure, table_problems, thin

MAX_FEATURES = 100
"""The most features, since all pairs of them are compared."""

MIN_COMPLETE = 8
"""Minimum number of rows without a missing value."""

OPEN = 1.645
"""A gap of fewer standard errors than this is undecided (one-sided, at 5%)."""


@dataclass(frozen=True)
class Question:
    """Does `ref` depend more on `one` or on `two`?

    Args:
        ref: the feature whose dependence is compared.
        one: the feature with the larger dependence in these rows.
        two: the feature with the smaller one.
        dependence: normalised HSIC of ref with `one` and with `two`, in these rows.
        standard_error: standard error of their difference.
        worth: the expected error of the order that these rows suggest, which an answer saves.
        bits: what an answer is expected to say beyond these rows, at most 1.
    """

    ref: str
    one: str
    two: str
    dependence: tuple[float, float]
    standard_error: float
    worth: float
    bits: float

    def __str__(self) -> str:
        ref, one, two = map(write_name, (self.ref, self.one, self.two))
        return f"{ref}: {one} ? {two}"


def ask(
    data: pd.DataFrame, features: Iterable[object] | None = None, *, questions: int = 20, per_feature: int = 3
) -> tuple[Question, ...]:
    """Return the comparisons that these rows leave open, those with the most informative answers first.

    For every feature and every two others, the gap d of the normalised HSICs and its standard error s are estimated.
    With P = Phi(z), z = |d| / s, the order that these rows suggest is right, and an answer is expected to say
    -P log2 P - (1 - P) log2 (1 - P) bits: the bits of each answer, weighed by the chance that it is given. Surprising
    answers say more but are rare; the bits of one side alone would favour questions whose answer is nearly certain.

    Bits know no size: two columns independent of ref differ by nothing that matters, and yet an answer says almost one
    bit. So bits count to one decimal, about the accuracy of P, and equal ones are ordered by the error that an answer
    saves: on average, a decision by the sign of d is wrong by s (phi(z) - z Phi(-z)).

    Rows with a missing value among the features are left out. Time O(features^2 rows + features^4) for numbers.

    Args:
        data: the available rows.
        features: the names of the columns to ask about, at least 3; by default all. A name that only looks like a
            column's is taken for it, with a warning.
        questions: the most questions to return.
        per_feature: the most questions with one feature as ref, and the most that compare one pair.

    Raises:
        DataError: there are fewer than 3 or more than 100 features or fewer than 8 complete rows, or columns cannot be
            used.
        ValueError: `questions` or `per_feature` is below 1.

    References:
        Raiffa & Schlaifer, "Applied Statistical Decision Theory", 1961 (the expected value of perfect information).
    """
    data = as_table(data)
    columns = list(data.columns)
    names, notes = spell_alike(map(str, columns if features is None else features), columns)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    names, known = list(dict.fromkeys(names)), set(columns)
    problems = [
        f"'{name}' is no column of the table.{did_you_mean(name, columns)}" for name in names if name not in known
    ]
    if not 3 <= len(names) <= MAX_FEATURES:
        problems.append(f"3 to {MAX_FEATURES} features can be compared, got {len(names)}. Name those that matter.")
    settings = question_problems(questions, per_feature)
    raise_problems(settings=settings, data=[*problems, *table_problems(data, names)])
    table = measure(data, data, names)
    complete = ~np.isnan(table.rows).any(axis=1)
    if complete.sum() < MIN_COMPLETE:
        raise_problems(
            data=[
                f"{complete.sum()} rows have no missing value among the features, and {MIN_COMPLETE} are needed. "
                "Name fewer features."
            ]
        )
    rows = torch.from_numpy(thin(table.rows[complete])).double()
    starts = np.cumsum([0, *(len(part) for part in table.parts.values())])
    groups = [rows[:, a:b] / median_bandwidth(rows[:, a:b]) for a, b in pairwise(starts)]
    return _choose(names, *_compare(groups), questions, per_feature)


def question_problems(questions: int, per_feature: int = 1) -> list[str]:
    """Return the problems of the settings of `ask`, one sentence per problem."""
    return [
        *count_problems("questions", questions, 1, "The default is 20."),
        *count_problems("per_feature", per_feature, 1, "The default is 3."),
    ]


def _compare(
    groups: Sequence[Float[torch.Tensor, "m _"]],
) -> tuple[dict[tuple[int, int], int], np.ndarray, np.ndarray]:
    """Return the position of each pair of groups, the normalised HSICs of the pairs, and their covariance."""
    order = sorted(range(len(groups)), key=lambda g: groups[g].shape[1])
    scalars = [g for g in order if groups[g].shape[1] == 1]
    place = {g: index for index, g in enumerate(order)}
    pairs = list(combinations(range(len(groups)), 2))
    found = Dependence(
        torch.cat([groups[g] for g in scalars], dim=1) if scalars else groups[0][:, :0],
        [groups[g] for g in order[len(scalars) :]],
        [(min(place[a], place[b]), max(place[a], place[b])) for a, b in pairs],
        normalize=True,
    )
    covariance = torch.zeros(len(pairs), len(pairs), dtype=torch.float64)
    for spread in found.influence():
        covariance += spread @ spread.T
    covariance /= found.count**2
    return {pair: index for index, pair in enumerate(pairs)}, found.value.numpy(), covariance.numpy()


def _choose(
    names: Sequence[str],
    place: dict[tuple[int, int], int],
    value: np.ndarray,
    covariance: np.ndarray,
    questions: int,
    per_feature: int,
) -> tuple[Question, ...]:
    found = []
    for ref in range(len(names)):
        mine = [(other, place[min(ref, other), max(ref, other)]) for other in range(len(names)) if other != ref]
        others, at = np.array(mine).T
        gap = value[at][:, None] - value[at]
        own = np.diag(covariance)[at]
        error = np.sqrt(np.maximum(own[:, None] + own - 2 * covariance[np.ix_(at, at)], np.finfo(float).tiny))
        z = gap / error
        density = np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)
        wrong = torch.special.ndtr(torch.from_numpy(-z))
        worth = error * (density - z * wrong.numpy())
        bits = (torch.special.entr(wrong) + torch.special.entr(1 - wrong)).numpy() / np.log(2)
        for i, j in zip(*np.nonzero((gap > 0) & (z < OPEN)), strict=True):
            sides = float(value[at[i]]), float(value[at[j]])
            pair = names[others[i]], names[others[j]]
            found.append(Question(names[ref], *pair, sides, float(error[i, j]), float(worth[i, j]), float(bits[i, j])))
    asked: Counter[frozenset[str] | str] = Counter()
    chosen: list[Question] = []
    for question in sorted(found, key=lambda q: (-round(q.bits, 1), -q.worth, q.ref, q.one, q.two)):
        keys = question.ref, frozenset((question.ref, question.one)), frozenset((question.ref, question.two))
        if len(chosen) < questions and all(asked[key] < per_feature for key in keys):
            asked.update(keys)
            chosen.append(question)
    return tuple(chosen)


def questionnaire(questions: Sequence[Question], rows: int) -> str:
    """Return a knowledge file with question marks for an expert to fill in."""
    head = [
        "# Replace each ? by > (depends more on the first) or < (more on the second), and say why after the statement.",
        f"# Delete what you cannot answer. These {rows} rows cannot decide any of them; the first matter most.",
    ]
    lines = []
    for question in questions:
        one, two = question.dependence
        lines += [
            "",
            f"# in these rows: {one:.2f} and {two:.2f}, difference {one - two:+.2f} ± {question.standard_error:.2f}; "
            f"an answer says about {question.bits:.1f} bits",
            str(question),
        ]
    return "\n".join([*head, *lines]) + "\n"
