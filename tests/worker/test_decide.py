"""What becomes of a job after an attempt: case by case, without a worker or a database."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import AbortReason, BaseRetryStrategy, Job, JobAborted, JobStatus, RetryDecision
from taskq.exceptions import (
    CiphertextMisplaced,
    EncryptionUnavailable,
    InvalidArguments,
    InvalidEncryptionKey,
    InvalidResult,
    Retry,
    Snooze,
    TaskNotFound,
    UnknownEncryptionKey,
)
from taskq.outcome import Ending, Outcome
from taskq.task import Task
from taskq.unreadable import UnreadableJson
from taskq.worker.options import WorkerOptions
from taskq.worker.outcomes import Decision, decide, failed, not_begun, released

LATER = datetime(2030, 1, 1, tzinfo=UTC)
OPTIONS = WorkerOptions.of({}, environ={})
CANCELLED = asyncio.CancelledError()
USER, SHUTDOWN, TIMEOUT, LOST, OVERDUE = AbortReason


class Answers(BaseRetryStrategy):
    """A strategy that gives the same answer whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


ONCE_MORE = Answers(RetryDecision(retry_in={"minutes": 1}, priority=3, queue="slow", lock="one"))
NEVER = Answers(None)
BROKEN = Answers(KeyboardInterrupt("in the strategy"))
WRONG = Answers(3)


def double(number: int = 1) -> int:
    return 2 * number


def task(retry: BaseRetryStrategy = ONCE_MORE) -> Task[..., Any]:
    return Task(double, name="double", retry=retry, timeout=5.0, store_result=True)


def job(*, given_back: int = 0, **task_kwargs: Any) -> Job:
    return Job(
        id=7,
        task_name="double",
        task_kwargs=task_kwargs,
        queue="default",
        priority=0,
        lock="held",
        queueing_lock=None,
        idempotency_key=None,
        limit_key=None,
        status=JobStatus.DOING,
        scheduled_at=None,
        deferred_at=LATER,
        started_at=LATER,
        finished_at=None,
        attempt=2,
        crashes=0,
        given_back=given_back,
        worker_id=5,
        abort_requested=False,
        result=None,
        metadata=None,
        tags=(),
        claim=4,
    )


def outcome(
    status: JobStatus, error: tuple[str, str] | None = None, /, **values: Any
) -> dict[str, Any]:
    """What an outcome has beside the job's own identity, and the traceback."""
    kind, message = error or (None, None)
    return {"status": status, "error_type": kind, "error_message": message, **values}


def summary(given: Outcome, expected: dict[str, Any]) -> dict[str, Any]:
    """The values of an outcome that are expected, or are not what they are by default."""
    plain = Outcome(job_id=7, claim=4, status=given.status, held_lock="held", worker_id=5)
    names = Outcome.__dataclass_fields__.keys() - {"error_traceback"}
    return {
        name: getattr(given, name)
        for name in names
        if name in expected or getattr(given, name) != getattr(plain, name)
    }


WRONG_VALUE = ("ValueError", "no")
MOVED = {
    "retry_in": 60.0,
    "priority": 3,
    "queue_name": "slow",
    "held_queue": "default",
    "lock": "one",
}
RETRIED = outcome(JobStatus.TODO, WRONG_VALUE, **MOVED)
TOO_LONG = (
    "taskq.exceptions.JobTimeout",
    "job 7 (double) ran longer than the 5.0 s that it may take",
)
STOPPED = ("taskq.exceptions.JobAborted", "job 7 was aborted: its worker stopped")
ASKED_FOR = ("taskq.exceptions.JobAborted", "job 7 was aborted: somebody asked for it")
GAVE_UP = ("taskq.exceptions.JobAborted", "gave up")


@pytest.mark.parametrize(
    ("raised", "reason", "retry", "ending", "expected"),
    [
        # Errors, and what the strategy says of them.
        (ValueError("no"), None, ONCE_MORE, Ending.RETRIED, RETRIED),
        (ValueError("no"), None, NEVER, Ending.FAILED, outcome(JobStatus.FAILED, WRONG_VALUE)),
        (
            ValueError("no"),
            None,
            BROKEN,
            Ending.FAILED,
            outcome(JobStatus.FAILED, ("KeyboardInterrupt", "in the strategy")),
        ),
        (
            ValueError("no"),
            None,
            WRONG,
            Ending.FAILED,
            outcome(
                JobStatus.FAILED,
                (
                    "taskq.exceptions.InvalidRetryStrategy",
                    "Answers decided 3: return a RetryDecision or None",
                ),
            ),
        ),
        (
            ExceptionGroup("two", [ValueError("no"), JobAborted("gave up")]),
            None,
            ONCE_MORE,
            Ending.FAILED,
            outcome(JobStatus.FAILED, ("ExceptionGroup", "two (2 sub-exceptions)")),
        ),
        # What a task says to its worker.
        (
            Snooze({"seconds": 9}),
            None,
            NEVER,
            Ending.SNOOZED,
            outcome(JobStatus.TODO, retry_in=9.0, keeps_attempt=True),
        ),
        (
            ExceptionGroup("one", [Snooze({"seconds": 9})]),
            None,
            NEVER,
            Ending.SNOOZED,
            outcome(JobStatus.TODO, retry_in=9.0, keeps_attempt=True),
        ),
        (
            Retry(at=LATER, message="not yet"),
            None,
            NEVER,
            Ending.RETRIED,
            outcome(JobStatus.TODO, ("taskq.exceptions.Retry", "not yet"), retry_at=LATER),
        ),
        (
            JobAborted("gave up"),
            None,
            ONCE_MORE,
            Ending.ABORTED,
            outcome(JobStatus.ABORTED, GAVE_UP),
        ),
        # Cancelled, by the worker or not.
        (
            CANCELLED,
            None,
            NEVER,
            Ending.FAILED,
            outcome(JobStatus.FAILED, ("asyncio.exceptions.CancelledError", "")),
        ),
        (CANCELLED, USER, ONCE_MORE, Ending.ABORTED, outcome(JobStatus.ABORTED, ASKED_FOR)),
        (CANCELLED, LOST, ONCE_MORE, Ending.LOST, None),
        (
            CANCELLED,
            OVERDUE,
            ONCE_MORE,
            Ending.GIVEN_BACK,
            outcome(JobStatus.TODO, keeps_attempt=True),
        ),
        (
            CANCELLED,
            TIMEOUT,
            ONCE_MORE,
            Ending.RETRIED,
            outcome(JobStatus.TODO, TOO_LONG, **MOVED),
        ),
        (CANCELLED, TIMEOUT, NEVER, Ending.FAILED, outcome(JobStatus.FAILED, TOO_LONG)),
        (
            CANCELLED,
            SHUTDOWN,
            ONCE_MORE,
            Ending.RETRIED,
            outcome(JobStatus.TODO, STOPPED, **MOVED),
        ),
        (CANCELLED, SHUTDOWN, NEVER, Ending.ABORTED, outcome(JobStatus.ABORTED, STOPPED)),
        (CANCELLED, SHUTDOWN, BROKEN, Ending.ABORTED, outcome(JobStatus.ABORTED, STOPPED)),
        # An error of a task that was asked to abort.
        (
            ValueError("no"),
            USER,
            ONCE_MORE,
            Ending.ABORTED,
            outcome(JobStatus.ABORTED, WRONG_VALUE),
        ),
        (
            Snooze({"seconds": 9}),
            USER,
            NEVER,
            Ending.ABORTED,
            outcome(JobStatus.ABORTED, ("taskq.exceptions.Snooze", "the task snoozes for 0:00:09")),
        ),
        (ValueError("no"), LOST, ONCE_MORE, Ending.LOST, None),
        (
            ValueError("no"),
            OVERDUE,
            ONCE_MORE,
            Ending.GIVEN_BACK,
            outcome(JobStatus.TODO, keeps_attempt=True),
        ),
        (
            ValueError("no"),
            TIMEOUT,
            ONCE_MORE,
            Ending.RETRIED,
            outcome(JobStatus.TODO, TOO_LONG, **MOVED),
        ),
        (
            Snooze({"seconds": 9}),
            TIMEOUT,
            NEVER,
            Ending.SNOOZED,
            outcome(JobStatus.TODO, retry_in=9.0, keeps_attempt=True),
        ),
        (ValueError("no"), SHUTDOWN, ONCE_MORE, Ending.RETRIED, RETRIED),
        (
            JobAborted("gave up"),
            SHUTDOWN,
            NEVER,
            Ending.ABORTED,
            outcome(JobStatus.ABORTED, GAVE_UP),
        ),
    ],
)
def test_what_a_task_raises_decides_with_the_reason_to_abort_and_the_strategy(
    raised: BaseException,
    reason: AbortReason | None,
    retry: BaseRetryStrategy,
    ending: Ending,
    expected: dict[str, Any] | None,
) -> None:
    decision = decide(job(), task(retry), OPTIONS, raised=raised, abort_reason=reason)
    assert decision.ending is ending
    if expected is None:
        assert decision.outcome is None
    else:
        assert decision.outcome is not None
        assert summary(decision.outcome, expected) == expected
        assert (decision.outcome.error_traceback is None) == (expected["error_type"] is None)


def test_the_error_of_a_sync_task_that_ran_too_long_is_its_own() -> None:
    decision = decide(
        job(),
        task(NEVER),
        OPTIONS,
        raised=ValueError("no"),
        abort_reason=TIMEOUT,
        cancellable=False,
    )
    assert decision.outcome is not None
    assert (decision.ending, decision.outcome.error_type) == (Ending.FAILED, "ValueError")


def test_what_a_strategy_raises_keeps_the_error_of_the_task() -> None:
    error = ValueError("no")
    decision = decide(job(), task(BROKEN), OPTIONS, raised=error)
    assert decision.error is not None
    assert decision.error.__context__ is error


def test_a_result_is_stored_as_json_if_the_task_stores_it() -> None:
    stored = decide(job(), task(), OPTIONS, returned=4)
    assert stored.outcome is not None
    assert (stored.ending, stored.outcome.result) == (Ending.SUCCEEDED, 4)
    plain = decide(job(), Task(double, name="double"), OPTIONS, returned=4)
    assert plain.outcome is not None
    assert (plain.ending, plain.outcome.result) == (Ending.SUCCEEDED, None)


def test_a_result_that_cannot_be_stored_fails_the_job_whatever_the_strategy_says() -> None:
    decision = decide(job(), task(ONCE_MORE), OPTIONS, returned="four")
    assert decision.ending is Ending.FAILED
    assert isinstance(decision.error, InvalidResult)


UNKNOWN_TASK = TaskNotFound("no such task")
UNREADABLE = UnreadableJson("1e5000", "too large a number")
OTHER_ARGUMENTS = InvalidArguments("no such argument")


@pytest.mark.parametrize(
    ("error", "is_known", "claimed", "ending"),
    [
        (UNKNOWN_TASK, False, job(), Ending.UNKNOWN),
        (UNKNOWN_TASK, False, job(given_back=3), Ending.UNKNOWN),
        (UNKNOWN_TASK, False, job(given_back=1000), Ending.FAILED),
        (UNKNOWN_TASK, False, replace(job(), task_kwargs=UNREADABLE), Ending.FAILED),
        (OTHER_ARGUMENTS, True, job(count=1), Ending.UNKNOWN),
        (OTHER_ARGUMENTS, True, job(number="many"), Ending.FAILED),
        (KeyboardInterrupt(), True, job(number=1), Ending.FAILED),
        (UnknownEncryptionKey("another key"), True, job(), Ending.UNKNOWN),
        (EncryptionUnavailable("no keys"), True, job(given_back=3), Ending.UNKNOWN),
        (InvalidEncryptionKey("no key"), True, job(), Ending.UNKNOWN),
        (UnknownEncryptionKey("another key"), True, job(given_back=1000), Ending.FAILED),
        (CiphertextMisplaced("another task's"), True, job(), Ending.FAILED),
    ],
)
def test_only_a_job_that_the_worker_does_not_know_is_offered_to_others(
    error: BaseException, is_known: bool, claimed: Job, ending: Ending
) -> None:
    decision = not_begun(claimed, task() if is_known else None, OPTIONS, error)
    assert (decision.ending, decision.error) == (ending, error)
    assert decision.outcome is not None
    if ending is Ending.UNKNOWN:
        first = not claimed.given_back
        assert decision.outcome.status is JobStatus.TODO
        assert decision.outcome.given_back == claimed.given_back + 1
        assert decision.outcome.keeps_attempt
        assert (decision.outcome.error_type == "taskq.exceptions.JobGivenBack") == first
    else:
        assert decision.outcome.status is JobStatus.FAILED


@pytest.mark.parametrize(
    ("given_back", "started", "expected"),
    [
        (0, True, (None, None)),
        (0, False, (True, None)),
        (2, False, (True, 2)),
        (2, True, (None, None)),
    ],
)
def test_a_job_that_had_not_begun_goes_back_as_if_it_had_not_been_claimed(
    given_back: int, started: bool, expected: tuple[bool | None, int | None]
) -> None:
    outcome = released(job(given_back=given_back), started=started)
    assert outcome.status is JobStatus.TODO
    assert (outcome.keeps_attempt, outcome.given_back) == expected


def succeeds(options: WorkerOptions) -> Decision:
    return decide(job(), task(), options, returned=4)


def fails(options: WorkerOptions) -> Decision:
    return failed(job(), task(), options, ValueError("no"))


def is_retried(options: WorkerOptions) -> Decision:
    return decide(job(), task(ONCE_MORE), options, raised=ValueError("no"))


@pytest.mark.parametrize(
    ("delete_jobs", "ends", "deleted"),
    [
        ("never", succeeds, None),
        ("never", fails, None),
        ("successful", succeeds, True),
        ("successful", fails, None),
        ("always", succeeds, True),
        ("always", fails, True),
        ("always", is_retried, None),
    ],
)
def test_a_job_is_deleted_at_its_end_as_the_worker_was_told(
    delete_jobs: str, ends: Callable[[WorkerOptions], Decision], deleted: bool | None
) -> None:
    decision = ends(WorkerOptions.of({"delete_jobs": delete_jobs}, environ={}))
    assert decision.outcome is not None
    assert decision.outcome.deleted is deleted


def test_an_outcome_carries_the_fencing_token_and_the_lock_of_its_job() -> None:
    decision = failed(job(), task(), OPTIONS, ValueError("no"))
    assert decision.outcome is not None
    token = (decision.outcome.job_id, decision.outcome.worker_id, decision.outcome.claim)
    assert (token, decision.outcome.held_lock) == ((7, 5, 4), "held")
