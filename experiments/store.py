"""A database through which processes on any machines share the runs of an experiment.

A process claims a job before it does it, and says every few seconds that it still lives. One statement claims a job, or
takes it over if its owner has been silent for too long, so that of several processes one succeeds. A line is accepted
only from the owner of its job, in one transaction, so that one who was taken for dead writes nothing after another has
begun.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    MetaData,
    Table,
    Text,
    cast,
    create_engine,
    delete,
    extract,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

Line = dict[str, Any]
Result = TypeVar("Result")

CLAIMS = Table(
    "claims",
    MetaData(),
    Column("job", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("beat", Double, nullable=False),
)
LINES = Table(
    "lines",
    MetaData(),
    Column("results", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("line", Text, nullable=False),
)
# The database's own clock, in seconds, so that clocks of machines need not agree.
CLOCKS: dict[str, ColumnElement[float]] = {
    "postgresql": cast(extract("epoch", func.clock_timestamp()), Double),
    "sqlite": (func.julianday("now") - 2440587.5) * 86400.0,
}
INSERTS = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
PATIENCE = 600.0
"""Seconds for which a database may be away, as when it starts anew."""


class LostClaimError(Exception):
    """A process was silent for so long that its job is another's now."""


@lru_cache
def connected(url: str) -> Engine:
    """Return the database at a URL of SQLAlchemy's.

    Raises:
        ValueError: it is neither SQLite nor PostgreSQL.
        ModuleNotFoundError: the driver that the URL names is not installed.
    """
    if (name := make_url(url).get_backend_name()) not in CLOCKS:
        raise ValueError(f"A store is {' or '.join(CLOCKS)}, not {name}.")
    # Runs take seconds to hours: no machine keeps a connection meanwhile.
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": 60} if url.startswith("sqlite") else {})
    for table in (CLAIMS, LINES):
        try:
            with engine.begin() as connection:
                connection.execute(CreateTable(table, if_not_exists=True))
        except (IntegrityError, ProgrammingError):
            # PostgreSQL: another process has made the table in this moment.
            with engine.begin() as connection:
                connection.execute(CreateTable(table, if_not_exists=True))
    return engine


def _lines(results: str, connection: Connection) -> list[Line]:
    asked = select(LINES.c.key, LINES.c.line).where(LINES.c.results == results)
    rows = [(json.loads(key), json.loads(line)) for key, line in connection.execute(asked)]
    # Sorted by type first, for a value may be missing.
    rows.sort(key=lambda row: [(type(value).__name__, value) for value in row[0].values()])
    return [line for _, line in rows]


@dataclass(frozen=True)
class Store:
    """Claims and lines of one experiment.

    Args:
        url: of a database, as SQLAlchemy has them.
        path: the file in which the lines end.
        key: what makes a run the same run: names of values of its line.
        beat: seconds between two signs of life.
        grace: seconds of silence after which a process is taken for dead.
    """

    url: str
    path: Path
    key: tuple[str, ...]
    beat: float = 15.0
    grace: float = 120.0

    def _do(self, act: Callable[[Connection], Result]) -> Result:
        """Return what a transaction returns. One that the database broke is tried again: all of ours may be."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with connected(self.url).begin() as connection:
                    return act(connection)
            except DBAPIError:
                # Drivers differ in what they call a server that is starting up.
                if time.monotonic() > end:
                    raise
                time.sleep(min(1.0, self.beat))

    def _insert(self, table: Table) -> Any:
        return INSERTS[connected(self.url).dialect.name](table)

    @property
    def _clock(self) -> ColumnElement[float]:
        return CLOCKS[connected(self.url).dialect.name]

    @contextmanager
    def claim(self, job: Sequence[Any]) -> Iterator["Claim | None"]:
        """Claim a job while it is done; None if a living process has it.

        Lists, tuples and paths among the arguments do not count: jobs that differ in what is lacking are one.
        """
        name = f"{self.path.name} {json.dumps([each for each in job if isinstance(each, str | int | float)])}"
        claim, silent = Claim(self, name, uuid4().hex), Event()
        inserted = self._insert(CLAIMS).values(job=name, owner=claim.owner, beat=self._clock)
        taken = inserted.on_conflict_do_update(
            index_elements=["job"],
            set_={"owner": claim.owner, "beat": self._clock},
            # The owner is the same if the answer to a first try was lost.
            where=(CLAIMS.c.beat < self._clock - self.grace) | (CLAIMS.c.owner == claim.owner),
        ).returning(CLAIMS.c.owner)
        if self._do(lambda connection: connection.execute(taken).first()) is None:
            yield None
            return
        signs = Thread(target=claim.live, args=(silent,), daemon=True)
        signs.start()
        try:
            yield claim
        finally:
            silent.set()
            signs.join()
            mine = (CLAIMS.c.job == name) & (CLAIMS.c.owner == claim.owner)
            self._do(lambda connection: connection.execute(delete(CLAIMS).where(mine)))

    def lines(self) -> list[Line]:
        """Return the lines that were written, sorted by their keys."""
        return self._do(partial(_lines, self.path.name))


@dataclass(frozen=True)
class Claim:
    """A job that one process has."""

    store: Store
    job: str
    owner: str

    def _sign(self, connection: Connection) -> bool:
        mine = (CLAIMS.c.job == self.job) & (CLAIMS.c.owner == self.owner)
        signed = update(CLAIMS).where(mine).values(beat=self.store._clock)
        return bool(connection.execute(signed).rowcount)

    def live(self, silent: Event) -> None:
        """Say every few seconds that the process lives, until the job is done, or another's."""
        while not silent.wait(self.store.beat):
            if not self.store._do(self._sign):
                return

    def write(self, line: Line) -> None:
        """Add a line, unless one with its key is there.

        Raises:
            LostClaimError: the job is another's now; nothing was written.
        """
        store = self.store
        row = {
            "results": store.path.name,
            "key": json.dumps({name: line.get(name) for name in store.key}),
            "line": json.dumps(line),
        }
        added = store._insert(LINES).values(row).on_conflict_do_nothing()

        def act(connection: Connection) -> bool:
            # The update locks the claim until the line is in.
            if signed := self._sign(connection):
                connection.execute(added)
            return signed

        if not store._do(act):
            raise LostClaimError(f"{self.job}: silent for {store.grace:g} seconds, so another process has it now")


def collected(url: str) -> dict[str, tuple[tuple[str, ...], list[Line]]]:
    """Return, for each file in which lines of a database end, the names of their key, and the lines sorted by it."""
    with connected(url).begin() as connection:
        keys = connection.execute(select(LINES.c.results, func.min(LINES.c.key)).group_by(LINES.c.results)).all()
        return {results: (tuple(json.loads(key)), _lines(results, connection)) for results, key in keys}
