"""Every exception that taskq raises on purpose, as one tree.

    TaskqException
    ├── DatabaseNotConfigured
    ├── InvalidDatabase
    ├── DatabaseUnavailable
    ├── EmbeddedServerError
    ├── SchemaNotApplied
    ├── SchemaTooNew
    ├── SchemaInUse
    ├── InvalidMigration
    ├── MigrationEdited
    ├── MigrationOutOfOrder
    ├── MigrationBlocked
    ├── MigrationFailed
    ├── NotPermitted
    ├── LoadFromPathError
    ├── InvalidSignature
    ├── TaskAlreadyRegistered
    ├── TaskNotFound
    ├── UnboundTaskError
    ├── InvalidArguments
    ├── InvalidResult
    ├── InvalidProgress
    ├── EncryptionFailed
    │   ├── InvalidEncryptionKey
    │   ├── EncryptionUnavailable
    │   ├── UnknownEncryptionKey
    │   └── CiphertextMisplaced
    ├── ConcealedError
    ├── UnreadableValue
    ├── ResultNotAvailable
    ├── InvalidJob
    │   ├── InvalidName
    │   └── InvalidSchedule
    ├── InvalidLimit
    │   └── UnknownLimit
    ├── InvalidFilter
    ├── InvalidRetryStrategy
    ├── InvalidPeriodic
    ├── InvalidSubscription
    ├── InvalidOption
    ├── MiddlewareKindMismatch
    ├── AlreadyEnqueued
    ├── JobNotFound
    ├── InvalidTransition
    ├── WorkerDied
    ├── JobGivenBack
    ├── JobTimeout
    ├── TaskProcessDied
    ├── TaskProcessError
    ├── JobUnsuccessful
    │   ├── JobFailed
    │   ├── JobCancelled
    │   │   └── JobExpired
    │   └── JobAborted
    ├── WaitTimeout
    ├── JobLost
    ├── InvalidTransaction
    ├── Retry
    └── Snooze

Catch ``TaskqException`` to catch them all. Each message says what was wrong, with the value, and
what to do about it.
"""

from datetime import datetime, timedelta

from taskq.times import TimeDeltaParams, read_moment, read_wait


class TaskqException(Exception):  # noqa: N818 - the name that Procrastinate's users know
    """The base of every exception that taskq raises on purpose."""


class DatabaseNotConfigured(TaskqException):
    """No database was named and none was found; the message lists the ways to name one."""


class InvalidDatabase(TaskqException):
    """What was named as the database cannot be used; the message never shows a password."""


class DatabaseUnavailable(TaskqException):
    """The database does not answer, or closed the connection."""


class EmbeddedServerError(TaskqException):
    """The embedded server cannot start or cannot use the folder it was given."""


class SchemaNotApplied(TaskqException):
    """The database does not have the schema that this version of taskq needs."""


class SchemaTooNew(TaskqException):
    """The database was migrated for a newer version of taskq, and this one does not run on it."""


class SchemaInUse(TaskqException):
    """The schema is not removed, as something that is not taskq's depends on it."""


class InvalidMigration(TaskqException):
    """A file has not the name, the number or the statements of a migration."""


class MigrationEdited(TaskqException):
    """A migration is not the one that was applied under its number."""


class MigrationOutOfOrder(TaskqException):
    """A migration that was asked for would come before one that belongs before it."""


class MigrationBlocked(TaskqException):
    """A migration could not get a lock in time: others have it, and it keeps no other waiting."""


class MigrationFailed(TaskqException):
    """The database refuses a migration; those before it are applied."""


class NotPermitted(TaskqException):
    """The role that taskq connects as may not do this."""


class LoadFromPathError(TaskqException, ImportError):
    """The path of an app does not lead to one, or a module with tasks cannot be imported."""


class InvalidSignature(TaskqException):
    """A function cannot be a task, because a parameter of it could never be stored."""


class TaskAlreadyRegistered(TaskqException):
    """A name or an alias of a task is another task's already."""


class TaskNotFound(TaskqException):
    """No task of that name is registered with the app."""


class UnboundTaskError(TaskqException):
    """A task of a blueprint was deferred before an app added the blueprint."""


class InvalidArguments(TaskqException):
    """Arguments do not fit a task's signature, or hold a value that JSON cannot carry."""


class InvalidResult(TaskqException):
    """A task's return value does not fit its annotation, or JSON cannot carry it."""


class InvalidProgress(TaskqException):
    """What a task reports of its progress is no number, or no text that can be stored."""


class EncryptionFailed(TaskqException):
    """A value cannot be encrypted or decrypted; no message shows a key, or a value."""


class InvalidEncryptionKey(EncryptionFailed):
    """A key to encrypt by is none."""


class EncryptionUnavailable(EncryptionFailed):
    """An app has no keys to encrypt by, or the package ``cryptography`` is missing."""


class UnknownEncryptionKey(EncryptionFailed):
    """None of an app's keys decrypts what is stored."""


class CiphertextMisplaced(EncryptionFailed):
    """What is stored was encrypted for another task or another job."""


class ConcealedError(TaskqException):
    """Told and stored in place of what an encrypted task raised, whose text may quote a value; never raised.

    Attributes:
        error_type: The class of what was raised, with its module.
        places: Where it was raised, and what caused it, without what was said.
    """

    def __init__(self, message: str, *, error_type: str, places: str) -> None:
        self.error_type = error_type
        self.places = places
        super().__init__(message)


class UnreadableValue(TaskqException):
    """A row of the database holds what Python cannot read, such as JSON with a number of 5,000 digits."""


class ResultNotAvailable(TaskqException):
    """A job has no result: it has not ended, did not succeed, is another task's, or stored none."""


class InvalidJob(TaskqException):
    """A job cannot have the queue, lock, priority or schedule that it was given."""


class InvalidName(InvalidJob):
    """A queue, a lock or a task cannot be called that: it is empty, too long or no text."""


class InvalidSchedule(InvalidJob):
    """A job cannot start, or expire, then: the time has no time zone, is none, or there are two of them."""


class InvalidLimit(TaskqException):
    """A limit, its figures or its key make no sense."""


class UnknownLimit(InvalidLimit):
    """No app has declared a limit of this name."""


class InvalidFilter(TaskqException):
    """Jobs cannot be chosen by this filter, or not for what is to be done to them."""


class InvalidRetryStrategy(TaskqException):
    """A retry strategy, or the decision of one, makes no sense."""


class InvalidPeriodic(TaskqException):
    """A task cannot be periodic like this: a bad cron expression, time zone or signature."""


class InvalidSubscription(TaskqException):
    """A task cannot subscribe to an event like this."""


class InvalidOption(TaskqException):
    """An option, of a worker, a claim or a grant, has a value that makes no sense."""


class MiddlewareKindMismatch(TaskqException):
    """A middleware does not match what it is to wrap: a sync one an async task, or the reverse."""


class AlreadyEnqueued(TaskqException):
    """A job with the same queueing lock waits already.

    Attributes:
        queueing_lock: The queueing lock.
        job_id: The job that waits; None if it is in the same batch, or came in the same moment as a
            job that was deferred in the caller's transaction.
    """

    def __init__(
        self, queueing_lock: str, job_id: int | None, *, retried: int | None = None
    ) -> None:
        self.queueing_lock = queueing_lock
        self.job_id = job_id
        which = "a job" if job_id is None else f"job {job_id}"
        what = (
            "nothing was deferred; wait until it has started, or leave the queueing lock out"
            if retried is None
            else f"job {retried} was not retried; wait until the other has started, or cancel it"
        )
        super().__init__(
            f"{which} with the queueing lock {queueing_lock!r} waits already, and {what}"
        )


class JobNotFound(TaskqException):
    """No job has that id; it may have been deleted."""


class InvalidTransition(TaskqException):
    """A job stands where that cannot be done to it.

    Attributes:
        job_id: The job.
        status: Where it stands.
    """

    def __init__(self, job_id: int, status: str, message: str) -> None:
        self.job_id = job_id
        self.status = status
        super().__init__(f"job {job_id} is {status}: {message}")


class WorkerDied(TaskqException):
    """Recorded as the error of an attempt whose worker died; never raised."""


class JobGivenBack(TaskqException):
    """Recorded for a job that its worker gave back, as another one may know its task; never raised."""


class JobTimeout(TaskqException):
    """A task ran longer than its timeout allows."""


class TaskProcessDied(TaskqException):
    """The process of a task with ``executor="process"`` died while it ran: a crash, or no memory left."""


class TaskProcessError(TaskqException):
    """A task in a process of its own raised what cannot be passed to the worker: its class and text."""


class JobUnsuccessful(TaskqException):
    """A job that was waited for has ended, and has not succeeded.

    Attributes:
        job_id: The job.
    """

    def __init__(self, *message: object, job_id: int | None = None) -> None:
        self.job_id = job_id
        super().__init__(*message)


class JobFailed(JobUnsuccessful):
    """A job that was waited for has failed.

    Attributes:
        job_id: The job.
        error_type: The class of what its last attempt raised, with its module; empty if that is not known.
        error_message: The message of that.
        error_traceback: Its traceback, as Python prints it.
    """

    def __init__(
        self,
        *message: object,
        job_id: int | None = None,
        error_type: str = "",
        error_message: str = "",
        error_traceback: str = "",
    ) -> None:
        self.error_type = error_type
        self.error_message = error_message
        self.error_traceback = error_traceback
        super().__init__(*message, job_id=job_id)


class JobCancelled(JobUnsuccessful):
    """A job that was waited for was cancelled before it began."""


class JobExpired(JobCancelled):
    """A job that was waited for had not begun by the time by which it was to."""


class JobAborted(JobUnsuccessful):
    """Raised by a task that was asked to abort: the job ends as aborted, whatever its retries.

    And raised for a job that was waited for and has ended so. Then it has a ``job_id``, and a task that lets
    it through has failed, as with any other error.
    """


class WaitTimeout(TaskqException):
    """A job has not ended within the time that it was waited for; it goes on.

    Attributes:
        job_id: The job.
    """

    def __init__(self, job_id: int, message: str) -> None:
        self.job_id = job_id
        super().__init__(message)


class JobLost(TaskqException):
    """A job is not this worker's any more, so that the transaction of its task was rolled back."""


class InvalidTransaction(TaskqException):
    """A task's transaction cannot be begun here, not a second time, or was ended by the task itself."""


class Retry(TaskqException):
    """Raised by a task that wants to run again; the attempt counts.

    Args:
        wait: In how long, a ``timedelta`` or its keywords; at once if nothing is said.
        at: When, instead of ``wait``.
        message: Kept as the error of this attempt.

    Raises:
        InvalidRetryStrategy: Both times are given, or one that no job can have.
    """

    def __init__(
        self,
        wait: timedelta | TimeDeltaParams | None = None,
        *,
        at: datetime | None = None,
        message: str = "the task asked to be run again",
    ) -> None:
        if wait is not None and at is not None:
            raise InvalidRetryStrategy("Retry takes wait or at, not both")
        # Here, where the task raises it: afterwards no caller is left to get the error.
        try:
            self.wait: timedelta | None = None if wait is None else read_wait(wait)
            self.at: datetime | None = None if at is None else read_moment(at)
        except ValueError as error:
            given = at if wait is None else wait
            raise InvalidRetryStrategy(f"Retry got {given!r}, {error}") from None
        super().__init__(message)


class Snooze(TaskqException):
    """Raised by a task that wants to run later, as if it had not begun: no attempt is counted.

    Args:
        wait: In how long: a ``timedelta`` or its keywords.

    Raises:
        InvalidRetryStrategy: It is none, is negative, or more than a hundred years.
    """

    def __init__(self, wait: timedelta | TimeDeltaParams) -> None:
        try:
            self.wait: timedelta = read_wait(wait)
        except ValueError as error:
            raise InvalidRetryStrategy(f"Snooze got {wait!r}, {error}") from None
        if self.wait < timedelta(0):
            raise InvalidRetryStrategy(f"Snooze takes a wait of 0 or more, not {wait!r}")
        super().__init__(f"the task snoozes for {self.wait}")
