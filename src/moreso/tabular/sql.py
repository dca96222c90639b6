"""Tables from SQL queries, which DuckDB runs over files and databases; imported on demand, as DuckDB is optional."""

import os
from pathlib import Path

import duckdb
import pandas as pd


def read_sql(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Return the rows of the query in a file, such as `SELECT * FROM 'plant/*.parquet' WHERE load > 0`.

    File names in the query are relative to the working directory.

    Raises:
        ValueError: the query fails or returns no table.
    """
    with duckdb.connect() as connection:
        try:
            rows = connection.sql(Path(path).read_text(encoding="utf-8"))
        except duckdb.Error as error:
            raise ValueError(" ".join(str(error).split())) from error
        if rows is None or rows.columns == ["Count"]:
            raise ValueError("the query gives no rows, end it with a SELECT")
        return rows.df()
