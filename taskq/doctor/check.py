"""A check: what it is, and what it is given."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from taskq.doctor.finding import Finding
from taskq.queries.connection import Connection
from taskq.queries.doctor import DoctorQueries, doctor_queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on something is reported.

    Attributes:
        held: Seconds for which a transaction may keep dead rows from being removed.
        waiting: Seconds for which a job that could run may wait.
        stalled: Seconds without a heartbeat after which a worker is dead.
        chain: How many jobs may wait behind one lock.
        dead_rows: How many dead rows a table may have, whatever its size.
        bloat: Bytes that a table or an index may take beyond what its rows need.
    """

    held: float = 300.0
    waiting: float = 600.0
    stalled: float = 30.0
    chain: int = 1_000
    dead_rows: int = 10_000
    bloat: int = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckContext:
    """What a check is given.

    Attributes:
        connection: A connection to the database, in autocommit.
        thresholds: From where on it reports something.
        tasks: The names of the tasks that the app knows, and their aliases; None: there is no app.
    """

    connection: Connection
    thresholds: Thresholds
    tasks: Collection[str] | None

    @property
    def queries(self) -> DoctorQueries:
        """What may be asked on that connection: the queries of ``sql/queries/doctor.sql``."""
        return doctor_queries(self.connection)


# Finds one kind of trouble.
Check = Callable[[CheckContext], Iterator[Finding]]
