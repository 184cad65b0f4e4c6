"""Outcomes: what becomes of a job after an attempt, decided without I/O.

Nothing is logged, written or cancelled here. ``attempt`` runs the job and asks; the answer has the
outcome to write, and how the attempt ended, to log. Of a user's own code only the retry strategy and the
serializer of a result are called.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from taskq.context import AbortReason
from taskq.exceptions import (
    CiphertextMisplaced,
    EncryptionFailed,
    InvalidArguments,
    InvalidResult,
    InvalidRetryStrategy,
    JobAborted,
    JobGivenBack,
    JobTimeout,
    Retry,
    Snooze,
    TaskNotFound,
    TaskqException,
)
from taskq.groups import leaves_of, meaning_of, says_abort
from taskq.job import Job, JobStatus
from taskq.messages import short_repr
from taskq.outcome import Ending, Outcome
from taskq.retry import RetryDecision
from taskq.task import Task
from taskq.worker.concealed import conceals, shown
from taskq.worker.error_text import error_message, error_traceback, error_type
from taskq.worker.options import WorkerOptions
from taskq.worker.unknown_jobs import wait_before_next

_NOT_AGAIN = {AbortReason.USER_REQUEST, AbortReason.LOST, AbortReason.OVERDUE}


# Not frozen, unlike a job: every attempt makes one, and it would take three times as long.
@dataclass(slots=True)
class Decision:
    """What becomes of a job.

    Attributes:
        ending: How the attempt ended.
        outcome: What is to be written; None: nothing, as the job is another worker's.
        error: What it failed with, or why the job goes back.
        written: Whether the outcome is written already, by the transaction of the task.
    """

    ending: Ending
    outcome: Outcome | None
    error: BaseException | None = None
    written: bool = False


def decide(
    job: Job,
    task: Task[..., Any],
    options: WorkerOptions,
    *,
    returned: Any = None,
    raised: BaseException | None = None,
    abort_reason: AbortReason | None = None,
    cancellable: bool = True,
) -> Decision:
    """Decide what becomes of a job whose task has returned or raised.

    Args:
        job: The job, claimed.
        task: Its task.
        options: Those of the worker.
        returned: What the task returned, if it raised nothing.
        raised: What it raised.
        abort_reason: Why it was asked to abort; None if it was not.
        cancellable: Whether aborting it cancels it, as it does what runs on the event loop.
    """
    if raised is None:
        return _returned(job, task, options, returned)
    error = meaning_of(raised)
    match error:
        # Without a reason it is not by this worker: the task cancelled itself, or what it waited for
        # was cancelled.
        case asyncio.CancelledError() if abort_reason is not None:
            return _aborted(job, task, options, abort_reason)
        case JobAborted(job_id=None):
            return _aborted(job, task, options, abort_reason, error)
    if abort_reason in _NOT_AGAIN:
        # However a task takes its cancellation: it was not to be run again.
        return _aborted(job, task, options, abort_reason, error)
    match error:
        case Snooze():
            wait = error.wait.total_seconds()
            return Decision(Ending.SNOOZED, _todo(job, retry_in=wait, keeps_attempt=True))
        case Retry():
            retry = RetryDecision(retry_at=error.at, retry_in=error.wait)
            return _retried(job, shown(job, task, error), retry)
    if abort_reason is AbortReason.TIMEOUT and cancellable:
        # What its cancellation became on the way out.
        return _aborted(job, task, options, abort_reason, error)
    # Among errors it decides nothing but that the job is not run again.
    if any(says_abort(leaf) for leaf in leaves_of(error)):
        return failed(job, task, options, error)
    return _retried_or_failed(job, task, options, error)


def not_begun(
    job: Job,
    task: Task[..., Any] | None,
    options: WorkerOptions,
    error: BaseException,
    *,
    stored: Mapping[str, JsonValue] | None = None,
) -> Decision:
    """Decide what becomes of a job whose task is not there, or does not take its arguments.

    Or whose arguments cannot be decrypted: another worker may have the key, as during a rotation.

    Args:
        job: The job, claimed.
        task: Its task; None: the app has none of that name.
        options: Those of the worker.
        error: What was raised in looking for the task, or in decrypting or loading the arguments.
        stored: The arguments, decrypted, if they were encrypted.
    """
    match error:
        case TaskNotFound() if task is None:
            return _unknown(job, options, error)
        case CiphertextMisplaced():
            return _failed(job, options, error)
        case EncryptionFailed():
            return _unknown(job, options, error)
        case InvalidArguments() if task is not None and not task.arguments.has_names_of(
            job.task_kwargs if stored is None else stored
        ):
            return _unknown(job, options, error)
        case InvalidArguments():
            # It shows no value that is to be concealed.
            return _failed(job, options, error)
    return failed(job, task, options, error)


def failed(
    job: Job, task: Task[..., Any] | None, options: WorkerOptions, error: BaseException
) -> Decision:
    """A job that fails for good, whatever its retry strategy says."""
    return _failed(job, options, shown(job, task, error))


def _failed(job: Job, options: WorkerOptions, error: BaseException) -> Decision:
    return Decision(Ending.FAILED, _final(job, JobStatus.FAILED, options, error), error)


def released(job: Job, *, started: bool) -> Outcome:
    """The outcome of a job that goes back into the queue as it came."""
    if started:
        return _todo(job)
    return _todo(job, keeps_attempt=True, given_back=job.given_back or None, unstarted=True)


def _returned(job: Job, task: Task[..., Any], options: WorkerOptions, returned: Any) -> Decision:
    result = None
    if task.returns is not None:
        is_concealed = conceals(job, task)
        try:
            result = task.returns.dump(returned, conceals=is_concealed)
            if is_concealed:
                result = task.keyring.encrypt_result(job.task_name, job.id, result)
        except (InvalidResult, EncryptionFailed) as error:
            # It would not fit the next time either, and the work is done.
            return _failed(job, options, error)
        except BaseException as error:  # a serializer may raise anything
            return failed(job, task, options, error)
    # As _final would, in half the time: this is what nearly every job ends with.
    outcome = Outcome(
        job_id=job.id,
        claim=job.claim,
        worker_id=job.worker_id,
        status=JobStatus.SUCCEEDED,
        held_lock=job.lock,
        held_limit=job.limit_key,
        result=result,
        deleted=True if options.delete_jobs != "never" else None,
    )
    return Decision(Ending.SUCCEEDED, outcome)


def _retried_or_failed(
    job: Job,
    task: Task[..., Any],
    options: WorkerOptions,
    error: BaseException,
    *,
    is_ours: bool = False,
) -> Decision:
    final, decision = _asked_strategy(job, task, error)
    told = final if is_ours and final is error else shown(job, task, final)
    if decision is None:
        return _failed(job, options, told)
    return _retried(job, told, decision)


def _asked_strategy(
    job: Job, task: Task[..., Any], error: BaseException
) -> tuple[BaseException, RetryDecision | None]:
    if task.retry_strategy is None:
        return error, None
    try:
        decision: object = task.retry_strategy.get_retry_decision(exception=error, job=job)
        if decision is not None and not isinstance(decision, RetryDecision):
            raise InvalidRetryStrategy(
                f"{type(task.retry_strategy).__name__} decided {short_repr(decision)}: return a "
                "RetryDecision or None"
            )
        return error, decision
    except BaseException as own:
        # The strategy itself fails: that is what has to be mended first.
        own.__context__ = error
        return own, None


def _retried(job: Job, error: BaseException, decision: RetryDecision) -> Decision:
    outcome = _todo(
        job,
        error,
        retry_at=decision.retry_at,
        retry_in=None if decision.wait is None else decision.wait.total_seconds(),
        priority=decision.priority,
        queue_name=decision.queue,
        held_queue=None if decision.queue is None else job.queue,
        lock=decision.lock,
    )
    return Decision(Ending.RETRIED, outcome, error)


def _aborted(
    job: Job,
    task: Task[..., Any],
    options: WorkerOptions,
    reason: AbortReason | None,
    error: BaseException | None = None,
) -> Decision:
    match reason:
        case AbortReason.LOST:
            return Decision(Ending.LOST, None)
        case AbortReason.OVERDUE:
            return Decision(Ending.GIVEN_BACK, _todo(job, keeps_attempt=True))
        case AbortReason.TIMEOUT:
            timeout = JobTimeout(
                f"job {job.id} ({job.task_name}) ran longer than the {task.timeout} s that it may take"
            )
            timeout.__cause__ = None if error is None else shown(job, task, error)
            return _retried_or_failed(job, task, options, timeout, is_ours=True)
    told = None if error is None else shown(job, task, error)
    if reason is AbortReason.SHUTDOWN:
        told = told or JobAborted(f"job {job.id} was aborted: its worker stopped")
        _, decision = _asked_strategy(job, task, error or told)
        if decision is not None:
            return _retried(job, told, decision)
    told = told or JobAborted(f"job {job.id} was aborted: somebody asked for it")
    return Decision(Ending.ABORTED, _final(job, JobStatus.ABORTED, options, told), told)


def _unknown(job: Job, options: WorkerOptions, error: TaskqException) -> Decision:
    timeout = options.unknown_job_timeout
    wait = wait_before_next(job.given_back, timeout=timeout)
    if wait is None or job.unreadable:
        return _failed(job, options, error)
    why = None
    if not job.given_back:
        why = JobGivenBack(
            f"for a worker that knows it, if one comes within {timeout:g} s: {error_message(error)}"
        )
    outcome = _todo(job, why, retry_in=wait, keeps_attempt=True, given_back=job.given_back + 1)
    return Decision(Ending.UNKNOWN, outcome, error)


def _final(
    job: Job,
    status: JobStatus,
    options: WorkerOptions,
    error: BaseException,
) -> Outcome:
    deleted = True if options.delete_jobs == "always" else None
    return _outcome(job, status, error, deleted=deleted)


def _todo(job: Job, error: BaseException | None = None, **values: Any) -> Outcome:
    return _outcome(job, JobStatus.TODO, error, **values)


def _outcome(job: Job, status: JobStatus, error: BaseException | None, **values: Any) -> Outcome:
    if error is not None:
        values |= {
            "error_type": error_type(error),
            "error_message": error_message(error),
            "error_traceback": error_traceback(error),
        }
    return Outcome(
        job_id=job.id,
        claim=job.claim,
        worker_id=job.worker_id,
        status=status,
        held_lock=job.lock,
        held_limit=job.limit_key,
        **values,
    )
