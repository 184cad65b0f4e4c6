"""Rows that were written by hand, beside others: a worker fails them alone, or runs them."""

from typing import Any

import psycopg
import pytest
from pydantic import JsonValue

from taskq import App, JobStatus
from tests.conftest import Spoil
from tests.worker.conftest import Drain, errors_of

HUGE = '{"n": 1e5000}'
NESTED = '{"n": %s}' % ("[" * 250 + "]" * 250)
FRACTION = '{"n": %s}' % ("1" * 400 + ".5")

TIMES = ["infinity", "-infinity", "0044-03-15 12:00:00 BC", "20000-01-01"]

# Values of a column, and how a job ends that has it.
ROWS: list[tuple[str, Any, JobStatus]] = [
    ("args", HUGE, JobStatus.FAILED),
    ("args", NESTED, JobStatus.FAILED),
    ("args", FRACTION, JobStatus.FAILED),
    ("args", "[1]", JobStatus.FAILED),
    ("args", "null", JobStatus.FAILED),
    ("args", '"text"', JobStatus.FAILED),
    ("result", "1e5000", JobStatus.SUCCEEDED),
    ("result", NESTED, JobStatus.SUCCEEDED),
    ("metadata", HUGE, JobStatus.SUCCEEDED),
    ("metadata", "[1]", JobStatus.SUCCEEDED),
    *(("deferred_at", time, JobStatus.SUCCEEDED) for time in TIMES),
    *(("started_at", time, JobStatus.SUCCEEDED) for time in TIMES),
    *(("finished_at", time, JobStatus.SUCCEEDED) for time in TIMES),
    ("expires_at", "infinity", JobStatus.SUCCEEDED),
    ("expires_at", "-infinity", JobStatus.CANCELLED),
    *(("scheduled_at", time, JobStatus.SUCCEEDED) for time in TIMES),
    *(
        (column, number, JobStatus.SUCCEEDED)
        for column in ("claim", "attempt", "crashes", "priority")
        for number in (2**31 - 1, -(2**31))
    ),
    ("id", 2**63 - 1, JobStatus.SUCCEEDED),
    ("id", -(2**63), JobStatus.SUCCEEDED),
    ("worker_id", -(2**63), JobStatus.SUCCEEDED),
    ("queueing_lock", "", JobStatus.SUCCEEDED),
    ("queue_name", "q" * 100_000, JobStatus.SUCCEEDED),
    ("task_name", "", JobStatus.FAILED),
    ("task_name", "\x1b[2J\n" * 1000, JobStatus.FAILED),
]


@pytest.mark.parametrize("has_lock", [False, True], ids=["free", "locked"])
@pytest.mark.parametrize(("column", "value", "end"), ROWS)
async def test_it_is_claimed_beside_others_and_ends_alone(
    app: App,
    drain: Drain,
    spoil: Spoil,
    column: str,
    value: Any,
    end: JobStatus,
    has_lock: bool,
) -> None:
    ran: list[int] = []

    @app.task(name="work")
    async def work(n: JsonValue) -> None:
        ran.append(int(str(n)))

    locks = [f"lock {n}" if has_lock else None for n in range(4)]
    ids = [work.configure(lock=lock).defer(n=n) for n, lock in enumerate(locks)]
    spoil(ids[1], **{column: value})
    if column == "id":
        ids[1] = value
    await drain(app, unknown_job_timeout=0)
    statuses = [await app.job_manager.get_job_status_async(id_) for id_ in ids]
    assert statuses == [JobStatus.SUCCEEDED, end, JobStatus.SUCCEEDED, JobStatus.SUCCEEDED]
    assert {0, 2, 3} <= set(ran)
    attempts = [(await app.job_manager.get_job_async(id_)).attempt for id_ in (ids[0], *ids[2:])]
    assert attempts == [1, 1, 1]
    if column == "args":
        [(kind, _)] = await errors_of(app, ids[1])
        assert kind == "taskq.exceptions.InvalidArguments"


async def test_a_listening_worker_goes_on_beside_a_row_that_it_cannot_read(
    app: App, connection: psycopg.Connection, drain: Drain, unchecked: None
) -> None:
    """The issue's own example: by the front get_manager, four jobs of one batch."""

    @app.task(name="other")
    async def other(n: JsonValue) -> None: ...

    rows = connection.execute(
        "INSERT INTO taskq_jobs (task_name, queue_name, args) "
        "SELECT 'other', 'default', value FROM jsonb_array_elements(%s) RETURNING id",
        ['[{"n": 1e5000}, {"n": 1}, {"n": 2}, {"n": 3}]'],
    ).fetchall()
    bad, *good = (id_ for (id_,) in rows)
    await drain(app, unknown_job_timeout=0)
    [(kind, message)] = await errors_of(app, bad)
    assert kind == "taskq.exceptions.InvalidArguments"
    assert message.startswith("task 'other': its arguments cannot be read: number out of range")
    for job_id in good:
        job = await app.job_manager.get_job_async(job_id)
        assert (job.status, job.claim) == (JobStatus.SUCCEEDED, 1)
