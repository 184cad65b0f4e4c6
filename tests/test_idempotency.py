"""An idempotency key, by the Python API: while a job with it is kept, deferring answers that job's id."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from taskq import App, JobStatus
from taskq.exceptions import AlreadyEnqueued, InvalidJob, InvalidName, InvalidPeriodic
from taskq.task import Task
from tests.conftest import Face


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with App(database_url) as app:
        yield app


@pytest.fixture
def send(app: App) -> Task[..., Any]:
    @app.task(name="send")
    def send(to: str) -> None: ...

    return send


async def test_the_same_key_answers_the_same_job_whatever_becomes_of_it(
    app: App, send: Task[..., Any], face: Face
) -> None:
    keyed = send.configure(idempotency_key="mail:7")
    first = await face.defer(keyed, to="ada")
    assert await face.defer(keyed, to="bob") == first
    await app.run_worker_async(wait=False, install_signal_handlers=False)
    assert await face.defer(keyed, to="cy") == first
    job = app.job_manager.get_job(first)
    assert (job.status, job.idempotency_key) == (JobStatus.SUCCEEDED, "mail:7")
    assert job.task_kwargs == {"to": "ada"}
    assert await face.defer(keyed.configure(idempotency_key=None), to="dan") != first

    app.job_manager.delete_old_jobs(timedelta(0))
    assert await face.defer(keyed, to="eve") > first, "the key is free once its job is deleted"


async def test_a_batch_makes_one_job_of_each_key(
    app: App, send: Task[..., Any], face: Face
) -> None:
    keyed = send.configure(idempotency_key="mail:7")
    [first, *others] = await face.batch(keyed, {"to": "ada"}, {"to": "bob"}, {"to": "cy"})
    assert others == [first, first]
    jobs = [send.configure(idempotency_key=f"mail:{n}").prepare(to=str(n)) for n in (7, 8, 9, 8)]
    manager = app.job_manager
    ids = await manager.defer_jobs_async(jobs) if face.is_async else manager.defer_jobs(jobs)
    assert ids == [first, ids[1], ids[2], ids[1]]
    assert [job.idempotency_key for job in manager.list_jobs()] == ["mail:7", "mail:8", "mail:9"]


async def test_calls_at_once_make_one_job(app: App, send: Task[..., Any]) -> None:
    keyed = send.configure(idempotency_key="mail:7")
    ids = await asyncio.gather(*(keyed.defer_async(to=str(n)) for n in range(20)))
    assert len(set(ids)) == 1
    assert app.job_manager.count_jobs() == {("default", "send", JobStatus.TODO): 1}


async def test_a_key_that_is_waited_for_keeps_no_other_call_waiting(
    app: App, send: Task[..., Any], session_waits: Callable[[], bool]
) -> None:
    keyed = send.configure(idempotency_key="mail:7")
    engine = app.database.engine.execution_options(isolation_level="READ COMMITTED")
    with engine.connect() as other:
        first = keyed.configure(connection=other).defer(to="ada")
        waits = asyncio.create_task(keyed.defer_async(to="bob"))
        async with asyncio.timeout(30):
            while not session_waits():  # noqa: ASYNC110 - a server notifies of no such thing
                await asyncio.sleep(0)
            await asyncio.gather(*(send.defer_async(to=str(n)) for n in range(3)))
        assert not waits.done()
        other.commit()
    assert await waits == first


async def test_a_key_goes_together_with_a_queueing_lock(send: Task[..., Any], face: Face) -> None:
    keyed = send.configure(idempotency_key="mail:7", queueing_lock="x")
    first = await face.defer(keyed, to="ada")
    assert await face.defer(keyed, to="ada") == first, "although it waits"
    with pytest.raises(AlreadyEnqueued) as refused:
        await face.defer(keyed.configure(idempotency_key="mail:8"), to="bob")
    assert refused.value.job_id == first
    skipping = keyed.configure(on_conflict="skip")
    assert await face.defer(skipping, to="bob") == first
    assert await face.defer(skipping.configure(idempotency_key="mail:8"), to="bob") is None
    replacing = keyed.configure(on_conflict="replace", idempotency_key="mail:9")
    assert await face.batch(replacing, {"to": "cy"}, {"to": "dan"}) == [first, first]


@pytest.mark.parametrize(
    ("key", "said"),
    [("", "at least 1"), ("k" * 501, "at most 500"), ("a\0b", "NUL"), (7, "string")],
)
async def test_a_key_that_is_none_is_refused(
    app: App, send: Task[..., Any], key: Any, said: str
) -> None:
    with pytest.raises(InvalidName, match=f"task 'send' .*idempotency_key=.*{said}"):
        send.configure(idempotency_key=key)
    assert app.job_manager.count_jobs() == {}


def test_only_a_job_can_have_a_key(app: App) -> None:
    with pytest.raises(InvalidJob, match="cannot be declared with 'idempotency_key'"):
        app.task(name="once", idempotency_key="once")(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(
        InvalidPeriodic, match="no tick would be deferred while the job of the first"
    ):

        @app.periodic(cron="* * * * *", idempotency_key="once")
        @app.task(name="tick")
        def tick(timestamp: int) -> None: ...
