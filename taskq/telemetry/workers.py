"""Events of workers: from their start to their end, their heartbeats, event loops and connections."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskq.job import Job
from taskq.telemetry.telemetry import Event


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerStarted(Event):
    """A worker is registered.

    Attributes:
        queues: Which it serves; None: all.
        concurrency: How many slots it has.
    """

    worker_id: int
    worker_name: str
    queues: Sequence[str] | None
    concurrency: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerServesHttp(Event):
    """The worker answers by HTTP, before it is registered.

    Attributes:
        host: The address that it listens on.
        port: The port.
    """

    worker_name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerOnlyPolls(Event):
    """No notification reaches the worker through the pooler.

    Attributes:
        interval: Seconds between two polls.
    """

    worker_id: int
    interval: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerRegisteredAgain(Event):
    """The worker had been taken for dead, or the database is not what it was. In the heartbeat's thread."""

    worker_id: int
    former_worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerStopping(Event):
    """The worker begins no more jobs."""

    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerLeftEarly(Event):
    """The worker leaves before all ends of jobs are written: others run those jobs again."""

    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerStopped(Event):
    """The worker has stopped, and is not registered any more."""

    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerUnregisterFailed(Event):
    """The worker stops, and will be taken for dead. In the heartbeat's thread."""

    worker_id: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkerBroken(Event):
    """A service of the worker broke, which is a bug of taskq: the worker leaves at once."""

    worker_id: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThreadLeftBehind(Event):
    """The thread of a service did not end with its worker.

    Attributes:
        service: Which, as in ``Heartbeat``.
    """

    service: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QueueUnknown(Event):
    """The worker serves a queue that no task of its app defers to, and that has no job.

    Attributes:
        meant: The queue that it may mean; None: none is like it.
    """

    queue: str
    meant: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LimitChanged(Event):
    """The app says something else of a limit than another app, or an earlier version of it, did: it holds for
    all.

    Attributes:
        what: The limit, or the queue whose limit it is.
        said: What the app says.
        former: What was said before.
        former_by: The worker whose app did; None: not known.
    """

    worker_id: int
    what: str
    said: str
    former: str
    former_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VariableUnknown(Event):
    """A variable of the environment looks like an option of workers, and is none.

    Attributes:
        meant: The variable that it may mean; None: none is like it.
    """

    variable: str
    meant: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeartbeatWritten(Event):
    """The worker said that it is alive. In the heartbeat's thread."""

    worker_id: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeartbeatOverdue(Event):
    """The worker begins nothing, and aborts what runs, until a heartbeat succeeds. In the heartbeat's thread.

    Attributes:
        seconds: How long there was none.
    """

    worker_id: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeartbeatWithheld(Event):
    """The worker cannot do its work, and has others take it over until it can. In the heartbeat's thread.

    Attributes:
        obstacle: Why it cannot.
    """

    worker_id: int
    obstacle: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoopBlocked(Event):
    """The worker's event loop does not turn. In the heartbeat's thread.

    Attributes:
        jobs: Those of which one blocks it, the only one if that is known.
        seconds: For how long so far.
        stack: The calls that it is in.
    """

    worker_id: int
    worker_name: str
    jobs: Sequence[Job]
    seconds: float
    stack: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoopUnblocked(Event):
    """The worker's event loop turns again. In the heartbeat's thread.

    Attributes:
        jobs: Those of which one blocked it, as far as is known.
    """

    worker_id: int
    worker_name: str
    jobs: Sequence[Job]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoopInterrupted(Event):
    """Something that a job started would have ended the worker's event loop, which goes on.

    Attributes:
        jobs: Those that ran.
    """

    worker_id: int
    worker_name: str
    jobs: Sequence[Job]
    error: BaseException


# The database. Of the purpose "heartbeat" these come in the heartbeat's thread.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatabaseFailed(Event):
    """A statement failed, and is tried again; of its tries only the first one is told."""

    purpose: str
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatabaseFailing(Event):
    """Nothing has succeeded for ``stalled_worker_timeout``.

    Attributes:
        seconds: For how long.
    """

    purpose: str
    error: BaseException
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatabaseRecovered(Event):
    """A statement succeeded again.

    Attributes:
        seconds: Since the first ``DatabaseFailed``.
    """

    purpose: str
    seconds: float
