"""The end of a job in the transaction of its task: held until the commit, asked for if the answer is lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from psycopg.errors import InvalidParameterValue

from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import only_row
from taskq_sql import job_commit

_querier = on_any(job_commit.Querier)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job as one worker claimed it once: what its end is fenced by."""

    job_id: int
    claim: int
    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldJob:
    """A job whose row a transaction holds.

    Attributes:
        abort_requested: Whether it is to be aborted.
        began_at: When the transaction began, in microseconds.
        transaction_id: The number of the transaction.
    """

    abort_requested: bool
    began_at: int
    transaction_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SentCommit:
    """What became of a transaction whose COMMIT was not answered; neither of them: it was rolled back."""

    is_committed: bool
    is_under_way: bool


@dataclass(frozen=True, slots=True)
class BegunCommit:
    """A transaction in which a job is to end.

    Attributes:
        began_at: When it began, in microseconds.
        pid: The process of its session.
    """

    began_at: int
    pid: int


def begin_job_commit(connection: Connection, job: ClaimedJob) -> BegunCommit | None:
    """Begin the transaction on the server; None: the job has moved on."""
    row = only_row(
        _querier(connection).begin_job_commit(
            job_id=job.job_id, claim=job.claim, worker_id=job.worker_id
        )
    )
    return BegunCommit(row.began_at, row.pid) if row.is_ours else None


def hold_job(connection: Connection, job: ClaimedJob, *, idle_for: float | None) -> HeldJob | None:
    """Hold the row of a job until the transaction ends; None: it has moved on.

    Args:
        connection: The connection.
        job: The job.
        idle_for: Seconds after which the server ends the session if nothing more comes; None: it does not.
    """
    row = _querier(connection).hold_job(
        job_id=job.job_id,
        claim=job.claim,
        worker_id=job.worker_id,
        idle_for=None if idle_for is None else f"{round(1000 * idle_for)}ms",
    )
    if row is None:
        return None
    return HeldJob(
        abort_requested=row.abort_requested,
        began_at=row.began_at,
        transaction_id=row.transaction_id,
    )


def end_silent_transactions(
    connection: Connection, transactions: Sequence[BegunCommit], *, idle_for: float
) -> set[int]:
    """End what is idle of transactions whose clients wait for an answer; the processes that answer no more.

    Args:
        connection: The connection.
        transactions: The transactions.
        idle_for: Seconds for which the server has got nothing of one.
    """
    rows = _querier(connection).end_silent_transactions(
        pids=[one.pid for one in transactions],
        began_at=[one.began_at for one in transactions],
        idle_for=idle_for,
    )
    return {row.pid for row in rows if row.is_silent}


def read_job_commit(connection: Connection, job: ClaimedJob, transaction_id: str) -> SentCommit:
    """What became of the transaction in which a job was to end."""
    try:
        row = only_row(
            _querier(connection).read_job_commit(
                job_id=job.job_id,
                claim=job.claim,
                worker_id=job.worker_id,
                transaction_id=transaction_id,
            )
        )
    except InvalidParameterValue:
        # No transaction has had this number here: the server is another one by now, and never heard of it.
        return SentCommit(is_committed=False, is_under_way=False)
    return SentCommit(is_committed=row.is_committed, is_under_way=row.is_under_way)


def end_job_commit(connection: Connection, transaction_id: str) -> None:
    """End the session of a transaction that is still under way."""
    for _ in _querier(connection).end_job_commit(transaction_id=transaction_id):
        pass


def open_locks_after_commit(connection: Connection, worker_id: int, locks: Iterable[str]) -> None:
    """Open the locks of jobs of a worker that ended by their own transactions."""
    _querier(connection).open_locks_after_commit(worker_id=worker_id, locks=sorted(set(locks)))
