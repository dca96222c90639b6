"""Knowledge: statements about features, and the file in which they are written. Standard library only."""

from moreso.relations.errors import DataError, KnowledgeError, count_problems, did_you_mean, raise_problems
from moreso.relations.grammar import write_name
from moreso.relations.knowledge import Knowledge, match_columns
from moreso.relations.logic import explain_contradiction, explain_left_out, explain_redundancy
from moreso.relations.names import explain_difference, explain_match, find_alike, spell_alike
from moreso.relations.order import Arrow, Order
from moreso.relations.relation import Direction, Relation, Statement

__all__ = [
    "Arrow",
    "DataError",
    "Direction",
    "Knowledge",
    "KnowledgeError",
    "Order",
    "Relation",
    "Statement",
    "count_problems",
    "did_you_mean",
    "explain_contradiction",
    "explain_difference",
    "explain_left_out",
    "explain_match",
    "explain_redundancy",
    "find_alike",
    "match_columns",
    "raise_problems",
    "spell_alike",
    "write_name",
]
