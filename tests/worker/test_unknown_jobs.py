"""Jobs that a worker does not know and another one may, as during a deploy."""

from collections.abc import Sequence

import psycopg
import pytest

from taskq import App, JobContext
from taskq.exceptions import Retry, Snooze
from taskq.job import JobStatus
from taskq.worker.unknown_jobs import wait_before_next
from tests.worker.conftest import (
    Disturbed,
    Drain,
    Finished,
    MakeApp,
    Start,
    errors_of,
    until,
)


@pytest.mark.parametrize(
    ("given_back", "wait"),
    [(0, 1), (1, 1), (2, 1), (3, 1.5), (8, 11.4), (9, 15), (26, 10.8), (27, None), (2**31, None)],
)
def test_a_job_goes_back_for_longer_each_time_until_its_time_is_over(
    given_back: int, wait: float | None
) -> None:
    assert wait_before_next(given_back, timeout=300) == pytest.approx(wait, abs=0.1)


GIVEN_BACK = "taskq.exceptions.JobGivenBack"


def are_scheduled(connection: psycopg.Connection, ids: Sequence[int]) -> bool:
    found = "SELECT FROM taskq_jobs WHERE id = ANY(%s) AND status = 'todo' AND scheduled_at > now()"
    return len(connection.execute(found, [list(ids)]).fetchall()) == len(ids)


async def test_a_job_of_a_newer_deploy_waits_for_a_worker_of_it(
    make_app: MakeApp, start: Start, connection: psycopg.Connection
) -> None:
    old, new = make_app(), make_app()
    ran: list[str] = []

    @old.task(name="greet")
    async def greet(name: str) -> None:
        ran.append(f"old {name}")

    @new.task(name="greet", retry=1)
    async def greet_politely(name: str, title: str = "") -> None:
        ran.append(f"new {title} {name}")

    @old.task(name="move")
    async def move(name: str, days: int) -> None:
        ran.append(f"old {name}")

    @new.task(name="move")
    async def move_at_once(name: str) -> None:
        ran.append(f"move {name}")

    @new.task(name="part", lock="l")
    async def part(name: str) -> None:
        ran.append(f"part from {name}")

    jobs = old.job_manager
    ids = [
        await greet_politely.defer_async(name="ada", title="Lady"),
        await part.defer_async(name="ada"),
        await move_at_once.defer_async(name="ada"),
    ]
    follower = await greet.configure(lock="l").defer_async(name="bob")
    worker = await start(old, concurrency=4)
    await until(lambda: are_scheduled(connection, ids), "jobs that were given back")
    assert await jobs.get_job_status_async(follower) is JobStatus.TODO, "its lock's head waits"
    worker.stop()
    await start(new, concurrency=1)
    await until(lambda: len(ran) == 4, "four jobs that have run")
    assert set(ran) - {"new  bob"} == {"new Lady ada", "part from ada", "move ada"}
    assert ran.index("part from ada") < ran.index("new  bob"), "their lock's order"
    for id_ in ids:
        job = await jobs.get_job_async(id_)
        assert job.attempt == 1, "what was given back is no attempt"
        assert len(await jobs.list_failed_attempts_async(id_)) == 1


@pytest.mark.parametrize("seconds", [0, 0.5])
async def test_a_job_that_no_worker_knows_fails_when_its_time_is_over(
    app: App, start: Start, finished: Finished, seconds: float
) -> None:
    id_ = await app.configure_task("no.such.task").defer_async()
    await start(app, unknown_job_timeout=seconds)
    assert (await finished(id_)).status is JobStatus.FAILED
    kinds = [kind for kind, _ in await errors_of(app, id_)]
    assert kinds == [*([GIVEN_BACK] if seconds else []), "taskq.exceptions.TaskNotFound"]


async def test_arguments_of_other_values_fail_at_once(
    app: App, make_app: MakeApp, drain: Drain
) -> None:
    @app.task(name="count")
    async def count(number: int) -> None: ...

    wrong = await make_app().configure_task("count").defer_async(number="many")
    await drain(app)
    assert await app.job_manager.get_job_status_async(wrong) is JobStatus.FAILED


async def test_a_worker_that_does_not_wait_leaves_it_to_others(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    id_ = await app.configure_task("no.such.task").defer_async()
    await drain(app)
    assert are_scheduled(connection, [id_])


@pytest.mark.parametrize("ending", ["snoozes", "is retried", "is released"])
async def test_a_worker_that_knows_it_and_cannot_end_it_has_its_time_begin_anew(
    make_app: MakeApp, start: Start, connection: psycopg.Connection, ending: str
) -> None:
    old, new = make_app(), make_app()

    @new.task(name="new", pass_context=True)
    async def new_task(context: JobContext) -> None:
        workers[-1].stop()
        match ending:
            case "snoozes":
                raise Snooze({"seconds": 0})
            case "is retried":
                raise Retry({"seconds": 0})
        workers[-1].stop()
        await until(lambda: False)

    def times_given_back() -> int:
        found = "SELECT FROM taskq_failed_attempts WHERE error_type = %s"
        return len(connection.execute(found, [GIVEN_BACK]).fetchall())

    id_ = await new_task.defer_async()
    # Too short for a second time in a row.
    workers = [await start(old, unknown_job_timeout=0.3)]
    await until(lambda: times_given_back() == 1, "a job that was given back")
    workers[-1].stop()
    workers.append(await start(new))
    begun_and_back = "SELECT FROM taskq_jobs WHERE status = 'todo' AND given_back IS NULL"
    await until(lambda: connection.execute(begun_and_back).fetchone() is not None, "a job let go")
    workers.append(await start(old, unknown_job_timeout=0.3))
    await until(lambda: times_given_back() == 2, "a job that was given back again")
    job = await old.job_manager.get_job_async(id_)
    assert (job.status, job.given_back) == (JobStatus.TODO, 1)


async def test_what_goes_back_stays_as_it_is_and_may_be_cancelled(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    jobs = app.job_manager
    deferrer = app.configure_task(
        "no.such.task", queue="mail", priority=7, lock="l", queueing_lock="q"
    )
    id_ = await deferrer.defer_async(number=1)
    before = await jobs.get_job_async(id_)
    await drain(app)
    after = await jobs.get_job_async(id_)
    kept = ("status", "queue", "priority", "lock", "queueing_lock", "task_kwargs", "attempt")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert after.given_back == 1
    await jobs.cancel_job_by_id_async(id_)
    assert await jobs.get_job_status_async(id_) is JobStatus.CANCELLED


async def test_it_costs_some_statements_each_time(
    app: App, start: Start, disturbed: Disturbed, connection: psycopg.Connection
) -> None:
    disturbed.count("claim_jobs", "finish_jobs", "has_ready_jobs", "promote_jobs")
    await app.configure_task("no.such.task").defer_async()
    await start(app, concurrency=1)
    twice = "SELECT FROM taskq_jobs WHERE status = 'todo' AND given_back = 2"
    await until(lambda: connection.execute(twice).fetchone() is not None, "a job given back twice")
    assert disturbed.calls["finish_jobs"] == 2
    assert disturbed.calls.total() <= 20


async def test_many_of_them_keep_no_other_job_from_running(
    app: App, start: Start, finished: Finished
) -> None:
    @app.task
    async def known() -> None: ...

    await app.configure_task("no.such.task").batch_defer_async(*({} for _ in range(1000)))
    behind = await known.defer_async()
    await start(app, concurrency=1)
    assert (await finished(behind)).status is JobStatus.SUCCEEDED
