"""How an attempt ended, on its way into the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter

from taskq.job import JobStatus


class Ending(StrEnum):
    """How an attempt ended.

    Attributes:
        SUCCEEDED: The task returned.
        SNOOZED: It asked to be run later, which is no failure.
        RETRIED: It failed, and the job is run again.
        FAILED: It failed for good.
        ABORTED: It was aborted, and the job is not run again.
        GIVEN_BACK: It was aborted, and the job goes back as others are about to take it.
        RELEASED: Its worker leaves while it runs, and the job goes back.
        UNKNOWN: It never began: the worker does not know the job, which is offered to others.
        LOST: The job is not this worker's any more; there is no outcome.
    """

    SUCCEEDED = "succeeded"
    SNOOZED = "snoozed"
    RETRIED = "retried"
    FAILED = "failed"
    ABORTED = "aborted"
    GIVEN_BACK = "given_back"
    RELEASED = "released"
    UNKNOWN = "unknown"
    LOST = "lost"


# Not frozen, unlike a job: making one would take three times as long, and every job has one.
@dataclass(slots=True, kw_only=True)
class Outcome:
    """How one attempt ended.

    Attributes:
        job_id: The job.
        claim: Which claim of it.
        status: What the job is from now on; todo to be run again.
        held_lock: The lock that goes free.
        held_limit: The limit that has room again.
        result: What the task returned, if it stores its result.
        error_type: The exception's class, with its module, if the attempt failed.
        error_message: The exception's message.
        error_traceback: The traceback, as Python prints it.
        retry_at: When a job that is todo again may start.
        retry_in: In how many seconds, by the server's clock, instead of ``retry_at``.
        queue_name: The queue it moves to; None: the same.
        priority: The priority it gets; None: the same.
        lock: The lock it gets; None: the same.
        keeps_attempt: Whether the attempt is not used up: the next claim has the same number again.
        given_back: How often in a row workers gave it back that did not know it; None: not now.
        progress: What its task has reported last of how far it is, if that is not written.
        deleted: Whether the job goes altogether.
        held_queue: The queue that it was in, if it moves; None: it stays there.
        unstarted: Whether it never began, so that the rate of a limit gets its start back.
        worker_id: The worker that claimed it, if it has registered again since: with ``claim`` the
            fencing token. None: the worker that writes it.
    """

    job_id: int
    claim: int
    status: JobStatus
    held_lock: str | None = None
    held_limit: Annotated[str | None, Field(exclude=True)] = None
    result: Any = None
    error_type: str | None = None
    error_message: str | None = None
    error_traceback: str | None = None
    retry_at: datetime | None = None
    retry_in: float | None = None
    queue_name: str | None = None
    priority: int | None = None
    lock: str | None = None
    keeps_attempt: bool | None = None
    given_back: int | None = None
    progress: Mapping[str, Any] | None = None
    deleted: bool | None = None
    held_queue: str | None = None
    unstarted: bool | None = None
    worker_id: Annotated[int | None, Field(exclude=True)] = None


# As for new jobs: no number of JSON is refused, and not written as null.
_outcomes = TypeAdapter(list[Outcome], config=ConfigDict(ser_json_inf_nan="constants"))


def outcomes_to_json(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as FinishJobs takes them."""
    return _outcomes.dump_json(list(outcomes), exclude_none=True).decode()
