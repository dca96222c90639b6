"""What statements say of columns that were never observed together, and what a fit takes from elsewhere."""

from collections.abc import Iterator, Sequence

import pandas as pd

from moreso.relations import Knowledge, Relation, Statement
from moreso.tabular import Pair, count_pairs, has_direction, name_pairs, unobserved_pairs

NOTED = 6
"""The most statements with a note of their own."""


def directed_pairs(knowledge: Knowledge) -> frozenset[frozenset[str]]:
    """Return the pairs of columns whose direction is stated."""
    return frozenset(direction.pair for direction in knowledge.directions)


def stated_pairs(pairs: Sequence[Pair], knowledge: Knowledge) -> list[Pair]:
    """Return which of these pairs a statement compares or directs."""
    named = directed_pairs(knowledge).union(
        frozenset((one, other))
        for relation in knowledge.relations
        for one in relation.ref
        for other in (*relation.plus, *relation.minus)
    )
    return [pair for pair in pairs if frozenset(pair) in named]


def deciding(pair: Pair, knowledge: Knowledge) -> tuple[Statement, ...]:
    """Return the statements that compare or direct a pair."""
    return tuple(statement for statement in knowledge if stated_pairs([pair], Knowledge((statement,))))


def explain_pairs(pairs: Sequence[Pair], knowledge: Knowledge) -> str:
    """Return the sentences that say what a fit makes of pairs that were never observed together.

    >>> print(explain_pairs([("y", "z"), ("y", "w")], Knowledge.parse("y: z > x")))
    2 pairs of columns were never observed together. Statements decide how these depend on each other: 'y' and 'z'. A \
fit takes these as independent given the columns that both were observed with: 'y' and 'w'.
    """
    stated = stated_pairs(pairs, knowledge)
    rest = [pair for pair in pairs if pair not in stated]
    parts = [f"{count_pairs(len(pairs))} never observed together."]
    if stated:
        parts.append(f"Statements decide how these depend on each other: {name_pairs(stated)}.")
    if rest:
        parts.append(
            f"A fit takes these as independent given the columns that both were observed with: {name_pairs(rest)}."
        )
    return " ".join(parts)


def explain_directions(pairs: Sequence[Pair], knowledge: Knowledge, table: pd.DataFrame) -> list[str]:
    """Return a note on each statement that makes such a pair depend and does not say in which direction.

    Args:
        pairs: the pairs that were never observed together.
        knowledge: the statements.
        table: the rows, whose unordered categories have no direction.
    """
    found = list(_undirected({frozenset(pair): pair for pair in pairs}, knowledge, table))
    notes = [
        f"{relation.where}: {name_pairs(own)} were never observed together, and the statement does not say their "
        "direction, so they may come out reversed: add + or -."
        for relation, own in found[:NOTED]
    ]
    more = len(found) - NOTED
    return [*notes, f"The same holds for {more} more statements."] if more > 0 else notes


def _undirected(
    pairs: dict[frozenset[str], Pair], knowledge: Knowledge, table: pd.DataFrame
) -> Iterator[tuple[Relation, list[Pair]]]:
    directed = directed_pairs(knowledge)
    for relation in knowledge.relations:
        sides = [frozenset((one, other)) for one in relation.ref for other in relation.plus]
        own = [
            pairs[side]
            for side in sides
            if side in pairs and side not in directed and all(has_direction(table[name]) for name in side)
        ]
        if own:
            yield relation, own


def unobserved_notes(table: pd.DataFrame, knowledge: Knowledge) -> list[str]:
    """Return what a reader of an audit should know of columns that were never observed together."""
    pairs = unobserved_pairs(table, knowledge.features)
    return [explain_pairs(pairs, knowledge), *explain_directions(pairs, knowledge, table)] if pairs else []
