"""Jobs that a worker does not know and another one may, as during a deploy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from taskq import App
from taskq.job import FailedAttempt, JobStatus
from taskq.worker.unknown_jobs import give_back_for
from tests.worker.conftest import Drain, Finished, MakeApp, Start, errors_of, until

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def attempt(error: str, *, ago: float, traceback: str = "") -> FailedAttempt:
    return FailedAttempt(
        claim=1,
        worker_id=1,
        failed_at=NOW - timedelta(seconds=ago),
        error_type=error,
        error_message="",
        error_traceback=traceback,
    )


@pytest.mark.parametrize(
    ("earlier", "wait"),
    [
        ([], 1),
        ([attempt("taskq.exceptions.TaskNotFound", ago=1)], 1),
        ([attempt("taskq.exceptions.InvalidArguments", ago=20)], 10),
        ([attempt("taskq.exceptions.TaskNotFound", ago=100)], 15),
        ([attempt("taskq.exceptions.TaskNotFound", ago=299)], 1),
        ([attempt("taskq.exceptions.TaskNotFound", ago=300)], None),
        # It failed in the end, and somebody has it run again; or it failed otherwise meanwhile.
        ([attempt("taskq.exceptions.TaskNotFound", ago=900, traceback="…")], 1),
        ([attempt("taskq.exceptions.TaskNotFound", ago=900), attempt("ValueError", ago=1)], 1),
    ],
)
def test_a_job_goes_back_for_longer_each_time_until_its_time_is_over(
    earlier: list[FailedAttempt], wait: float | None
) -> None:
    assert give_back_for(earlier, timeout=300, server_now=NOW.timestamp()) == wait


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

    @new.task(name="part", lock="l")
    async def part(name: str) -> None:
        ran.append(f"part from {name}")

    jobs = old.job_manager
    ids = [
        await greet_politely.defer_async(name="ada", title="Lady"),
        await part.defer_async(name="ada"),
    ]
    follower = await greet.configure(lock="l").defer_async(name="bob")
    worker = await start(old, concurrency=3)
    await until(lambda: are_scheduled(connection, ids), "jobs that were given back")
    assert await jobs.get_job_status_async(follower) is JobStatus.TODO, "its lock's head waits"
    worker.stop()
    await start(new, concurrency=1)
    await until(lambda: len(ran) == 3, "three jobs that have run")
    assert set(ran[:2]) == {"new Lady ada", "part from ada"}
    for id_ in ids:
        job = await jobs.get_job_async(id_)
        assert job.attempt == 1, "what was given back is no attempt"
        assert len(await jobs.list_failed_attempts_async(id_)) == 1


@pytest.mark.parametrize("seconds", [0, 0.5])
async def test_a_job_that_nobody_knows_fails_when_its_time_is_over(
    app: App, start: Start, finished: Finished, seconds: float
) -> None:
    id_ = await app.configure_task("nobody.knows").defer_async()
    await start(app, unknown_job_timeout=seconds)
    assert (await finished(id_)).status is JobStatus.FAILED
    kinds = [kind for kind, _ in await errors_of(app, id_)]
    assert kinds == ["taskq.exceptions.TaskNotFound"] * (2 if seconds else 1)


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
    id_ = await app.configure_task("nobody.knows").defer_async()
    await drain(app)
    assert are_scheduled(connection, [id_])
