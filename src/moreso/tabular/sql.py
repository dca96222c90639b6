"""Tables from SQL queries, which DuckDB runs over files and databases; imported on demand, as DuckDB is optional."""

import os
from pathlib import Path

import duckdb
import pandas as pd

SAFE: dict[str, str | bool | int | float | list[str]] = {
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "lock_configuration": True,
    "python_enable_replacements": False,
}
"""DuckDB neither downloads nor loads code, keeps no secrets, and sees no variables of Python, only files."""

PIVOTS = "pivot", "select", "from", "with"
"""How a query that pivots begins: DuckDB tells it from a command that writes what was pivoted by nothing else."""

KEYWORD = duckdb.token_type.keyword


def read_sql(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the rows of the query in a file, such as `SELECT * FROM 'plant/*.parquet' WHERE load > 0`.

    File names in the query are relative to the working directory. A query may read any file that the user may read. It
    may not write files, attach databases, or install or load extensions.

    Raises:
        ValueError: the query fails, is no single query, or returns no table.
    """
    with duckdb.connect(config=SAFE) as connection:
        try:
            statements = connection.extract_statements(Path(path).read_text(encoding="utf-8"))
            if len(statements) != 1 or not _reads(statements[0]):
                raise ValueError("hold one query that only reads, which starts with SELECT, FROM, WITH or PIVOT")
            return connection.sql(statements[0].query).df()
        except duckdb.Error as error:
            raise ValueError(" ".join(str(error).split())) from error


def _reads(statement: duckdb.Statement) -> bool:
    """Return whether a statement only reads."""
    # A WITH clause may hold a COPY, which writes a file. Places are counted in bytes.
    text = statement.query.encode().lower()
    if any(text[place:].startswith(b"copy") for place, kind in duckdb.tokenize(statement.query) if kind == KEYWORD):
        return False
    if statement.type == duckdb.StatementType.MULTI:
        return text.split(maxsplit=1)[0].decode() in PIVOTS
    return statement.type == duckdb.StatementType.SELECT
