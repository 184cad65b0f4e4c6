"""What a task may know of the job that it runs as."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from taskq.exceptions import InvalidTransaction
from taskq.job import FailedAttempt, Job
from taskq.progress import NewProgress

# The app and the task are above this module, whose types ``taskq.JobContext`` puts in.
AppT_co = TypeVar("AppT_co", covariant=True)
TaskT_co = TypeVar("TaskT_co", covariant=True)
# That of the transaction: ``taskq.TransactionContext`` and ``taskq.AsyncTransactionContext`` say which.
ConnectionT_co = TypeVar("ConnectionT_co", covariant=True)


class AbortReason(StrEnum):
    """Why a task is asked to abort.

    Attributes:
        USER_REQUEST: A user asked for it.
        SHUTDOWN: Its worker stops, and the graceful time is over.
        TIMEOUT: It ran longer than its task may take.
        LOST: The job is another worker's by now, or was deleted.
        OVERDUE: Its worker was taken for dead, or is about to be as its heartbeat is overdue: another
            worker takes the job, or else it goes back into the queue.
    """

    USER_REQUEST = "user_request"
    SHUTDOWN = "shutdown"
    TIMEOUT = "timeout"
    LOST = "lost"
    OVERDUE = "overdue"


class JobTransaction(Protocol):
    """A block whose effects in the app's database and the end of its job are one commit, or none.

    ``async with`` in an async task, ``with`` in a sync one.
    """

    def __enter__(self) -> Connection: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    async def __aenter__(self) -> AsyncConnection: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def _no_worker() -> NoReturn:
    raise InvalidTransaction(
        "this context is of no worker's making, and has no job whose end could be committed: run the task "
        "by a worker, or give the context a transaction= of your own"
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobContext(Generic[AppT_co, TaskT_co, ConnectionT_co]):
    """What a task gets that is declared with ``pass_context=True``.

    Attributes:
        app: The app.
        job: The job, as it was when it was claimed; ``job.attempt`` is the number of this attempt.
        failed_attempts: Why, when and where earlier attempts failed, the first one first.
        task: The task.
        worker_name: The name of the worker that runs it.
        worker_queues: The queues that the worker serves; None: all.
        start_timestamp: When this attempt started, in seconds since 1970.
        additional_context: What the worker was given under that name.
        abort_reason: Why the task is asked to abort; None if it is not.
        transaction: Makes the block, one for each attempt, at whose end the job has succeeded: that is
            committed with what was done on its connection. It raises ``JobLost`` and rolls back if the job is
            not this worker's any more, and ``JobAborted`` if it is to be aborted.
        get_connection: What ``connection`` asks.
        report: Takes what ``report_progress`` is given.
    """

    app: AppT_co
    job: Job
    task: TaskT_co
    worker_name: str
    worker_queues: Sequence[str] | None
    start_timestamp: float
    failed_attempts: Sequence[FailedAttempt] = ()
    additional_context: Mapping[str, Any] = field(default_factory=dict)
    abort_reason: Callable[[], AbortReason | None] = lambda: None
    report: Callable[[NewProgress], None] = lambda _: None
    transaction: Callable[[], JobTransaction] = _no_worker
    get_connection: Callable[[], ConnectionT_co] = _no_worker

    @property
    def connection(self) -> ConnectionT_co:
        """The connection of the transaction that the attempt is in, as with ``@app.task(transaction=True)``.

        Raises:
            InvalidTransaction: It is in none.
        """
        return self.get_connection()

    def should_abort(self) -> bool:
        """Whether the task is asked to abort, which a sync task does by raising ``JobAborted``."""
        return self.abort_reason() is not None

    def report_progress(
        self, done: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Say how far the job is, for users to read: ``Job.progress``, ``jobs show`` and ``watch``.

        It takes no time, in a sync task as in an async one. It is written at most once a second, and the last
        that was reported with the end.

        Args:
            done: How much is done, in whatever the task counts; 0 or more.
            total: Of how much, likewise.
            message: What it does, for people; at most 500 characters.

        Raises:
            InvalidProgress: It is none of these.
        """
        self.report(NewProgress.of(done, total, message))
