"""Reading jobs through the job manager, by both of its faces."""

from collections.abc import Iterator

import pytest

from taskq import App, JobStatus


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as app:
        yield app


@pytest.fixture
def ids(app: App) -> list[int]:
    """Three jobs, of which the second was cancelled."""

    @app.task(name="noop")
    def noop() -> None: ...

    ids = noop.batch_defer({}, {}, {})
    app.job_manager.cancel_job_by_id(ids[1])
    return ids


def test_jobs_are_listed_by_id_without_those_that_are_not_there(app: App, ids: list[int]) -> None:
    jobs = app.job_manager.list_jobs(ids=[ids[1], 10**9, ids[0]])
    assert [(job.id, job.status) for job in jobs] == [
        (ids[0], JobStatus.TODO),
        (ids[1], JobStatus.CANCELLED),
    ]
    assert list(app.job_manager.list_jobs(ids=[])) == []


def test_those_that_have_not_ended_are_alive(app: App, ids: list[int]) -> None:
    assert app.job_manager.list_alive_jobs([*reversed(ids), 10**9]) == [ids[0], ids[2]]


async def test_the_async_faces_say_the_same(app: App, ids: list[int]) -> None:
    manager = app.job_manager
    assert await manager.list_jobs_async(ids=ids) == manager.list_jobs(ids=ids)
    assert await manager.list_alive_jobs_async(ids) == manager.list_alive_jobs(ids)
    await app.database.dispose_async()
