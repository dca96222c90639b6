"""What the user knows: relations between features, and the file in which they are written."""

from moreso.relations.errors import KnowledgeError
from moreso.relations.grammar import write_name
from moreso.relations.knowledge import Knowledge
from moreso.relations.logic import explain_contradiction, explain_redundancy
from moreso.relations.relation import Relation

__all__ = ["Knowledge", "KnowledgeError", "Relation", "explain_contradiction", "explain_redundancy", "write_name"]
