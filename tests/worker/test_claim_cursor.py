"""A worker whose claims flow goes on where the last one ended, and leaves nothing behind."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import App, RetryStrategy, queries
from taskq.job import Job, JobStatus
from taskq.queries.job_claim import HIGHEST_PRIORITY, LOWEST_PRIORITY, ReadyRange
from taskq.worker.claim_cursor import SWEEP_EVERY, ClaimCursor
from tests.worker.conftest import Drain, statuses

JOB = Job(
    id=1,
    task_name="noop",
    task_kwargs={},
    queue="default",
    priority=0,
    lock=None,
    queueing_lock=None,
    idempotency_key=None,
    limit_key=None,
    status=JobStatus.DOING,
    scheduled_at=None,
    deferred_at=datetime.now(UTC),
    started_at=None,
    finished_at=None,
    attempt=1,
    crashes=0,
    given_back=0,
    worker_id=1,
    abort_requested=False,
    result=None,
    metadata=None,
    tags=(),
    claim=1,
)


def jobs(*ids: int, **fields: object) -> list[Job]:
    return [replace(JOB, id=id_, **fields) for id_ in ids]  # type: ignore[arg-type]


WHOLE = ReadyRange("default", HIGHEST_PRIORITY, LOWEST_PRIORITY)


def test_a_claim_that_got_all_it_asked_for_leaves_a_mark_for_each_queue_and_priority() -> None:
    cursor = ClaimCursor()
    assert cursor.is_at_start(100)
    assert cursor.ranges(["default"]) == [WHOLE]
    brought = [*jobs(5, 6), *jobs(3, priority=2), *jobs(9, queue="mail"), *jobs(20, lock="a")]
    cursor.see(brought, asked=5, began=100, now=100.01)
    assert not cursor.is_at_start(100.02)
    assert cursor.ranges(["default", "mail", "print"]) == [
        ReadyRange("default", HIGHEST_PRIORITY, 3),
        ReadyRange("default", 2, 2, 3),
        ReadyRange("default", 1, 1),
        ReadyRange("default", 0, 0, 6),
        ReadyRange("default", -1, LOWEST_PRIORITY),
        ReadyRange("mail", HIGHEST_PRIORITY, 1),
        ReadyRange("mail", 0, 0, 9),
        ReadyRange("mail", -1, LOWEST_PRIORITY),
        ReadyRange("print", HIGHEST_PRIORITY, LOWEST_PRIORITY),
    ]
    cursor.see(jobs(7, 8), asked=2, began=100.02, now=100.03)
    assert ReadyRange("default", 0, 0, 8) in cursor.ranges(["default"])


def test_marks_of_the_highest_and_lowest_priority_leave_nothing_beyond_them() -> None:
    cursor = ClaimCursor()
    brought = [*jobs(5, priority=HIGHEST_PRIORITY), *jobs(6, priority=LOWEST_PRIORITY)]
    cursor.see(brought, asked=2, began=100, now=100.01)
    assert cursor.ranges(["default"]) == [
        ReadyRange("default", HIGHEST_PRIORITY, HIGHEST_PRIORITY, 5),
        ReadyRange("default", HIGHEST_PRIORITY - 1, LOWEST_PRIORITY + 1),
        ReadyRange("default", LOWEST_PRIORITY, LOWEST_PRIORITY, 6),
    ]


def test_a_claim_that_came_short_has_the_next_one_go_from_the_start() -> None:
    cursor = ClaimCursor()
    cursor.see(jobs(5, 6), asked=2, began=100, now=100.01)
    cursor.see(jobs(7), asked=2, began=100.01, now=100.02)
    assert cursor.is_at_start(100.03)


def test_a_single_job_is_no_sign_of_many() -> None:
    cursor = ClaimCursor()
    cursor.see(jobs(5), asked=1, began=100, now=100.01)
    assert cursor.is_at_start(100.02)


@pytest.mark.parametrize(("took", "rest"), [(0.01, SWEEP_EVERY), (3, 30)])
def test_claims_that_flow_go_from_the_start_now_and_then(took: float, rest: float) -> None:
    cursor = ClaimCursor()
    cursor.see(jobs(5, 6), asked=2, began=100 - took, now=100)
    cursor.see(jobs(7, 8), asked=2, began=100, now=100.1)
    assert not cursor.is_at_start(100 + rest - 0.01)
    assert cursor.is_at_start(100 + rest)


async def test_jobs_that_come_to_lie_before_a_mark_run_before_the_worker_ends(
    app: App, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = 0
    claim = queries.job_claim.claim_jobs

    def counted(*args: Any, **kwargs: Any) -> list[Job]:
        nonlocal marked
        marked += any(part.after_id for part in kwargs.get("ranges", ()))
        return claim(*args, **kwargs)

    monkeypatch.setattr(queries.job_claim, "claim_jobs", counted)

    @app.task(name="second_time", retry=RetryStrategy(max_attempts=2), pass_context=True)
    async def second_time(context: object, number: int) -> None:
        if number % 100 == 0 and context.job.attempt == 1:  # type: ignore[attr-defined]
            raise ValueError

    await second_time.batch_defer_async(*[{"number": number} for number in range(1000)])
    await drain(app, concurrency=10)
    assert marked
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1000}
