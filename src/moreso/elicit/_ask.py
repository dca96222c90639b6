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
from moreso.tabular import Pair, as_table, correlation_ranges, measure, table_problems, thin, unobserved_pairs

MAX_FEATURES = 100
"""The most features, since all pairs of them are compared."""

MIN_COMPLETE = 8
"""Minimum number of rows without a missing value."""

Places = dict[tuple[int, int], int]
"""Two features, by their numbers -> the position of their dependence."""

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


@dataclass(frozen=True)
class DirectionQuestion:
    """Does `other` rise with `ref` (+), or fall (-)? No row has both of them.

    Args:
        ref: the one feature.
        other: the other one.
        independent: their correlation if they are independent given the other features.
        low: the least correlation that agrees with these rows.
        high: the greatest one.
        worth: by how much the correlations of all such pairs change together if this one moves to an end of its range.
    """

    ref: str
    other: str
    independent: float
    low: float
    high: float
    worth: float

    def __str__(self) -> str:
        return f"{write_name(self.ref)}: ? {write_name(self.other)}"


def ask(
    data: pd.DataFrame, features: Iterable[object] | None = None, *, questions: int = 20, per_feature: int = 3
) -> tuple[Question | DirectionQuestion, ...]:
    """Return what these rows leave open, the most valuable questions first.

    For every feature and every two others, the gap d of the normalised HSICs and its standard error s are estimated.
    With P = Phi(z), z = |d| / s, the order that these rows suggest is right, and an answer is expected to say
    -P log2 P - (1 - P) log2 (1 - P) bits: the bits of each answer, weighed by the chance that it is given. Surprising
    answers say more but are rare; the bits of one side alone would favour questions whose answer is nearly certain.

    Bits know no size: two columns independent of ref differ by nothing that matters, and yet an answer says almost one
    bit. So bits count to one decimal, about the accuracy of P, and equal ones are ordered by the error that an answer
    saves: on average, a decision by the sign of d is wrong by s (phi(z) - z Phi(-z)).

    Rows with a missing value among the features are left out. Time O(features^2 rows + features^4) for numbers.

    In tables that share some columns, pairs of others were never observed together. About these, it asks first: whether
    one rises or falls with the other. Such a correlation may lie anywhere in a range that the common columns leave, and
    moves those of other such pairs; the pairs whose answer moves most correlations by most come first
    (`moreso.tabular.correlation_ranges`). Comparisons of pairs that were observed together follow, each of the rows
    that have its features.

    Args:
        data: the available rows.
        features: the names of the columns to ask about, at least 3; by default all. A name that only looks like a
            column's is taken for it, with a warning.
        questions: the most questions to return.
        per_feature: the most questions with one feature as ref, and the most that compare one pair.

    Raises:
        DataError: there are fewer than 3 or more than 100 features, or columns cannot be used; or all pairs were
            observed together, and there are fewer than 8 complete rows.
        ValueError: `questions` or `per_feature` is below 1.

    References:
        Raiffa & Schlaifer, "Applied Statistical Decision Theory", 1961 (the expected value of perfect information).

    >>> inlet = np.random.default_rng(0).normal(size=60)
    >>> table = pd.DataFrame({"outlet": inlet**2, "inlet": inlet, "ambient": inlet[::-1]})
    >>> for question in ask(table):
    ...     print(f"{question}   # an answer says {question.bits:.1f} bits")
    ambient: outlet ? inlet   # an answer says 0.6 bits
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
    named = () if features is None else names
    pairs = unobserved_pairs(data[names], named)
    complete = ~np.isnan(table.rows).any(axis=1)
    if complete.sum() < MIN_COMPLETE and not pairs:
        raise_problems(
            data=[
                f"{complete.sum()} rows have no missing value among the features, and {MIN_COMPLETE} are needed. "
                "Name fewer features."
            ]
        )
    directions = _ask_directions(data[names], pairs, named, questions, per_feature)
    parts = [slice(a, b) for a, b in pairwise(np.cumsum([0, *(len(part) for part in table.parts.values())]).tolist())]
    found = _compare(thin(table.rows if pairs else table.rows[complete]), parts)
    return (*directions, *_choose(names, *found, questions - len(directions), per_feature))


def question_problems(questions: int, per_feature: int = 1) -> list[str]:
    """Return the problems of the settings of `ask`, one sentence per problem."""
    return [
        *count_problems("questions", questions, 1, "The default is 20."),
        *count_problems("per_feature", per_feature, 1, "The default is 3."),
    ]


def _compare(rows: Float[np.ndarray, "m d"], parts: Sequence[slice]) -> tuple[Places, np.ndarray, np.ndarray]:
    """Return the position of each pair of features, the normalised HSICs of the pairs, and their covariance.

    A pair uses the rows that have both features. Those of fewer than 8 rows, and of features that are constant in
    them, have no position.

    Args:
        rows: the features as numbers; NaN for a missing value.
        parts: the columns of each feature.
    """
    known = np.stack([~np.isnan(rows[:, part]).any(axis=1) for part in parts])
    groups = [torch.from_numpy(rows[:, part]).double() for part in parts]
    groups = [group / median_bandwidth(group[own]) for group, own in zip(groups, torch.from_numpy(known), strict=True)]
    shared: dict[bytes, list[tuple[int, int]]] = {}
    for a, b in combinations(range(len(parts)), 2):
        both = known[a] & known[b]
        if both.sum() >= MIN_COMPLETE and all((np.ptp(rows[both, parts[g]], axis=0) > 0).any() for g in (a, b)):
            shared.setdefault(both.tobytes(), []).append((a, b))
    place: Places = {}
    values, spreads = [], []
    for pattern, pairs in shared.items():
        both = np.frombuffer(pattern, dtype=bool)
        value, influence = _dependence([group[torch.from_numpy(both.copy())] for group in groups], pairs)
        spread = np.zeros((len(pairs), len(rows)))
        spread[:, both] = influence / both.sum()
        place |= {pair: len(place) + index for index, pair in enumerate(pairs)}
        values.append(value)
        spreads.append(spread)
    if not place:
        return {}, np.empty(0), np.empty((0, 0))
    whole = np.concatenate(spreads)
    return place, np.concatenate(values), whole @ whole.T


def _dependence(
    groups: Sequence[Float[torch.Tensor, "m _"]], pairs: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the normalised HSIC of each pair of groups, and what each row contributes to it."""
    used = sorted({g for pair in pairs for g in pair}, key=lambda g: groups[g].shape[1])
    scalars = [g for g in used if groups[g].shape[1] == 1]
    at = {g: index for index, g in enumerate(used)}
    found = Dependence(
        torch.cat([groups[g] for g in scalars], dim=1) if scalars else groups[used[0]][:, :0],
        [groups[g] for g in used[len(scalars) :]],
        [(min(at[a], at[b]), max(at[a], at[b])) for a, b in pairs],
        normalize=True,
    )
    return found.value.numpy(), torch.cat(list(found.influence()), dim=1).numpy()


def _ask_directions(
    data: pd.DataFrame, pairs: Sequence[Pair], named: Sequence[str], questions: int, per_feature: int
) -> tuple[DirectionQuestion, ...]:
    """Return questions on pairs that were never observed together, those that move the samples most first."""
    asked: Counter[str] = Counter()
    chosen: list[DirectionQuestion] = []
    for each in sorted(correlation_ranges(data, pairs, named), key=lambda each: (-each.moved, each.pair)):
        if each.independent is None or each.low is None or each.high is None:
            continue
        if len(chosen) < questions and all(asked[name] < per_feature for name in each.pair):
            asked.update(each.pair)
            chosen.append(DirectionQuestion(*each.pair, each.independent, each.low, each.high, each.moved))
    return tuple(chosen)


def _choose(
    names: Sequence[str],
    place: Places,
    value: np.ndarray,
    covariance: np.ndarray,
    questions: int,
    per_feature: int,
) -> tuple[Question, ...]:
    found = []
    for ref in range(len(names)):
        mine = [(other, place.get((min(ref, other), max(ref, other)))) for other in range(len(names)) if other != ref]
        mine = [(other, at) for other, at in mine if at is not None]
        if not mine:
            continue
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


def questionnaire(questions: Sequence[Question | DirectionQuestion], rows: int) -> str:
    """Return a knowledge file with question marks for an expert to fill in."""
    head = []
    if any(isinstance(question, DirectionQuestion) for question in questions):
        head.append(
            "# In 'a: ? b', replace ? by + (b rises with a) or - (b falls as a rises): no row has both of them."
        )
    if not head or any(isinstance(question, Question) for question in questions):
        between = "In 'a: b ? c', replace" if head else "Replace each"
        head.append(f"# {between} ? by > (depends more on the first) or < (more on the second).")
    head += [
        "# Say why after the statement.",
        f"# Delete what you cannot answer. These {rows} rows cannot decide any of them; the first matter most.",
    ]
    lines = []
    for question in questions:
        if isinstance(question, DirectionQuestion):
            lines += [
                "",
                f"# never observed together: correlation from {question.low:+.2f} to {question.high:+.2f}, "
                f"{question.independent:+.2f} if independent given the others",
                str(question),
            ]
            continue
        one, two = question.dependence
        lines += [
            "",
            f"# in these rows: {one:.2f} and {two:.2f}, difference {one - two:+.2f} ± {question.standard_error:.2f}; "
            f"an answer says about {question.bits:.1f} bits",
            str(question),
        ]
    return "\n".join([*head, *lines]) + "\n"
