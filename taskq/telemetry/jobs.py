"""Events of jobs: deferred, claimed, started, ended, written, rescued, deferred by a clock, deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final

from taskq.job import Job, JobStatus, NewJob
from taskq.outcome import Ending, Outcome
from taskq.telemetry.telemetry import Event


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobsDeferring(Event):
    """A call is about to defer jobs. It comes in the context of the call, before defer middleware.

    Attributes:
        jobs: The jobs, as the call has made them.
        event: The event that the call publishes, to these jobs and those of other programs; None: none.
        tick: The tick of the periodic task that a worker defers, in seconds since 1970; None: it is a call.
    """

    jobs: Sequence[NewJob]
    event: str | None = None
    tick: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobsDeferred(Event):
    """A call has deferred jobs, in the same context; in a caller's transaction they are there if it commits.

    Attributes:
        jobs: The jobs, as they were sent.
        ids: The id of each; None for one that was skipped.
        seconds: How long it took, with defer middleware.
    """

    jobs: Sequence[NewJob]
    ids: Sequence[int | None]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobsNotDeferred(Event):
    """A call has deferred nothing: one of this or of ``JobsDeferred`` for each ``JobsDeferring``.

    Attributes:
        jobs: The jobs, as the call has made them.
        error: What it raises; None: it was a tick of a periodic task, whose job another worker has deferred.
        seconds: How long it took, with defer middleware.
    """

    jobs: Sequence[NewJob]
    error: BaseException | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobsClaimed(Event):
    """A claim was answered.

    Attributes:
        jobs: What it brought, which may be nothing.
        limit: For how many it asked.
        seconds: From its beginning, with what failed and was tried again.
    """

    worker_id: int
    jobs: Sequence[Job]
    limit: int
    seconds: float


# Not frozen, unlike the others: every job has one, and making it would take three times as long.
@dataclass(slots=True, kw_only=True, eq=False)
class JobStarted(Event):
    """A slot begins with a job. It comes in the job's own context: context variables set here, its task sees.

    Attributes:
        prefetched_for: Seconds since its claim was answered.
    """

    worker_name: str
    job: Job
    prefetched_for: float

    @property
    def waited(self) -> float:
        """Seconds since the job was due; if it went back without a new time, since it was due before that."""
        job = self.job
        due = max(job.deferred_at, job.scheduled_at or job.deferred_at)
        claimed = job.started_at or due
        return max((claimed - due).total_seconds(), 0.0) + self.prefetched_for


# Nor is this one.
@dataclass(slots=True, kw_only=True, eq=False)
class JobEnded(Event):
    """An attempt ended: one of its subclasses, exactly one for each ``JobStarted``, and in the same context.

    Only what a worker leaves behind that is told twice to stop ends in the context of that.

    Attributes:
        ending: How; each subclass has its own.
        outcome: What is written of it next; None: nothing, as the job is another worker's.
        error: What it failed with, or why the job goes back; None if there is no such thing.
        seconds: Since it started.
    """

    worker_name: str
    job: Job
    outcome: Outcome | None
    error: BaseException | None
    seconds: float

    ending: ClassVar[Ending]


class JobSucceeded(JobEnded):
    """The task returned."""

    __slots__ = ()
    ending = Ending.SUCCEEDED


class JobSnoozed(JobEnded):
    """The task asked to be run later, which is no failure."""

    __slots__ = ()
    ending = Ending.SNOOZED


class JobRetried(JobEnded):
    """The attempt failed, and the job is run again."""

    __slots__ = ()
    ending = Ending.RETRIED


class JobFailed(JobEnded):
    """The attempt failed, and the job is not run again."""

    __slots__ = ()
    ending = Ending.FAILED


class JobAborted(JobEnded):
    """The attempt was aborted, and the job is not run again."""

    __slots__ = ()
    ending = Ending.ABORTED


class JobGivenBack(JobEnded):
    """The attempt was aborted, and the job goes back, as its worker was taken for dead or is about to be."""

    __slots__ = ()
    ending = Ending.GIVEN_BACK


class JobReleased(JobEnded):
    """The worker leaves while it runs, and the job goes back."""

    __slots__ = ()
    ending = Ending.RELEASED


class JobUnknown(JobEnded):
    """The worker does not know the task, or an argument of it: the job goes back for another one."""

    __slots__ = ()
    ending = Ending.UNKNOWN


class JobLost(JobEnded):
    """The attempt was aborted, as the job is another worker's by now, or was deleted."""

    __slots__ = ()
    ending = Ending.LOST


# The class of each ending.
JOB_ENDED: Final[Mapping[Ending, type[JobEnded]]] = {
    kind.ending: kind
    for kind in (
        JobSucceeded,
        JobSnoozed,
        JobRetried,
        JobFailed,
        JobAborted,
        JobGivenBack,
        JobReleased,
        JobUnknown,
        JobLost,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobFailedAfterCommit(Event):
    """A task raised an error after its transaction was committed: the job has succeeded all the same."""

    worker_name: str
    job: Job
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobOffered(Event):
    """A job that the worker does not know goes back for the first time.

    Attributes:
        timeout: Seconds for which others may take it, before it fails.
    """

    worker_name: str
    job: Job
    error: BaseException
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobSuspected(Event):
    """A job may have killed ``job.crashes`` workers, and runs alone."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobTaken(Event):
    """What the worker has in hand is another one's by now, or was deleted: it is aborted here."""

    job: Job


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobRescued(Event):
    """A job of a dead worker went back, or ended.

    Attributes:
        status: What it is now.
        crashes: How many workers died while it may have been running.
        had_begun: Whether it may have been running this time; else it was only claimed.
    """

    job_id: int
    task_name: str
    queue: str
    status: JobStatus
    crashes: int
    had_begun: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomesWritten(Event):
    """The ends of jobs were written, all at once.

    Attributes:
        outcomes: What was to be written, with what was refused or written before.
        seconds: How long the write took that succeeded.
    """

    worker_id: int
    outcomes: Sequence[Outcome]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomeRefused(Event):
    """The end of a job was not written, as the job has moved on."""

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomeUnwritable(Event):
    """The database refuses how a job ended, so that it ends as failed."""

    outcome: Outcome
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeriodicDeferred(Event):
    """The job of a tick was deferred.

    Attributes:
        tick: In seconds since 1970.
    """

    job_id: int
    task_name: str
    queue: str
    periodic_id: str
    tick: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeriodicNotDeferred(Event):
    """The defer middleware of this worker's app raised for the job of a tick: other workers may defer it.

    Attributes:
        tick: In seconds since 1970.
    """

    task_name: str
    periodic_id: str
    tick: int
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobsPruned(Event):
    """Jobs were deleted that are kept no longer.

    Attributes:
        jobs: How many.
        kept: How long jobs of this status are kept.
    """

    status: JobStatus
    jobs: int
    kept: timedelta
