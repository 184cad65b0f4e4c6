"""Defer middleware: what sees each job before it is sent, and may change it."""

import asyncio
import contextvars
from typing import Any

import psycopg
import pytest

from taskq import App, Blueprint, DeferMiddleware, JobDraft, JobStatus
from taskq.exceptions import InvalidJob, InvalidName, MiddlewareKindMismatch
from taskq.job import new_job
from taskq.task import Task
from taskq.telemetry import PeriodicNotDeferred
from tests.conftest import Face
from tests.worker.conftest import Drain, Start, until

trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")


def traced(job: JobDraft) -> None:
    job.metadata["trace"] = trace.get()


def urgent(job: JobDraft) -> None:
    job.queue, job.priority, job.lock = "fast", job.priority + 1, f"lock of {job.task_name}"
    job.tags.append(f"number:{job.task_kwargs['number']}")


def with_middleware(url: str, middleware: Any) -> App:
    return App(url, defer_middleware=middleware)


@pytest.fixture
async def app(database_url: str) -> Any:
    async with with_middleware(database_url, [traced, urgent]) as app:
        yield app


@pytest.fixture
def note(app: App) -> Task[..., Any]:
    @app.task(name="note", tags=["note"], metadata={"team": "ops"}, store_result=True)
    async def note(number: int) -> int:
        return number

    return note


async def test_it_changes_what_is_sent_and_nothing_else(
    app: App, note: Task[..., Any], face: Face
) -> None:
    later = note.configure(schedule_in={"hours": 1}, expire_in={"hours": 2}, queueing_lock="q")
    token = trace.set("00-1")
    job = app.job_manager.get_job(await face.defer(later, number=7))
    trace.reset(token)
    assert (job.queue, job.priority, job.lock) == ("fast", 1, "lock of note")
    assert job.metadata == {"team": "ops", "trace": "00-1"}
    assert job.tags == ("note", "number:7")
    assert (job.task_kwargs, job.queueing_lock) == ({"number": 7}, "q")
    assert job.scheduled_at is not None
    assert job.expires_at is not None
    assert later.metadata == {"team": "ops"}, "the deferrer stays what it was"


async def test_it_sees_each_job_of_a_batch_once_and_by_itself(
    app: App, note: Task[..., Any], face: Face
) -> None:
    ids = await face.batch(note, {"number": 1}, {"number": 2})
    jobs = [app.job_manager.get_job(job_id) for job_id in ids]
    assert [job.tags for job in jobs] == [("note", "number:1"), ("note", "number:2")]
    assert [job.priority for job in jobs] == [1, 1]


async def test_calls_that_share_a_statement_have_each_their_own_context(
    app: App, note: Task[..., Any]
) -> None:
    async def defer(number: int) -> int:
        trace.set(f"trace {number}")
        return await note.defer_async(number=number)

    ids = await asyncio.gather(*(defer(number) for number in range(20)))
    metadata = [app.job_manager.get_job(job_id).metadata for job_id in ids]
    assert metadata == [{"team": "ops", "trace": f"trace {number}"} for number in range(20)]


async def test_whatever_an_app_defers_passes_by_it(
    app: App, note: Task[..., Any], face: Face, connection: psycopg.Connection
) -> None:
    blueprint = Blueprint()

    @blueprint.task(name="part")
    def part(number: int) -> None: ...

    app.add_tasks_from(blueprint, namespace="shop")
    manager = app.job_manager
    job = new_job(task_name="elsewhere", args={"number": 1})
    ids = [
        await face.defer(part, number=1),
        await face.defer(app.configure_task("note"), number=1),
        await face.defer(app.configure_task("of.another.program"), number=1),
        *(await manager.defer_jobs_async([job]) if face.is_async else manager.defer_jobs([job])),
    ]
    with app.database.engine.execution_options(isolation_level="READ COMMITTED").connect() as own:
        ids.append(note.configure(connection=own).defer(number=1))
        own.commit()
    assert all("number:1" in manager.get_job(job_id).tags for job_id in ids)


async def test_a_job_that_is_waited_for_passes_by_it(
    app: App, note: Task[..., Any], start: Start
) -> None:
    await start(app)
    assert await note.configure(wait_timeout=15).defer_and_wait_async(number=3) == 3
    [job] = app.job_manager.list_jobs()
    assert job.tags == ("note", "number:3")
    assert (job.queue, job.status) == ("fast", JobStatus.SUCCEEDED)


async def test_what_it_raises_is_raised_and_nothing_is_written(
    database_url: str, face: Face
) -> None:
    def odd_alone(job: JobDraft) -> None:
        if job.task_kwargs["number"] == 2:
            raise LookupError("no tenant")

    async with with_middleware(database_url, odd_alone) as app:

        @app.task(name="note")
        def note(number: int) -> None: ...

        with pytest.raises(LookupError, match="no tenant"):
            await face.batch(note, {"number": 1}, {"number": 2})
        assert list(app.job_manager.list_jobs()) == []
        await face.defer(note, number=3)


def put(**values: Any) -> DeferMiddleware:
    def put_in(job: JobDraft) -> None:
        for name, value in values.items():
            setattr(job, name, value)

    return put_in


@pytest.mark.parametrize(
    ("values", "refusal", "fault"),
    [
        ({"queue": ""}, InvalidName, "cannot be deferred with queue=''"),
        ({"priority": "high"}, InvalidJob, "priority='high'"),
        ({"tags": [1]}, InvalidJob, "tags="),
        ({"metadata": ["acme"]}, InvalidJob, "metadata="),
        (
            {"metadata": {"at": object()}},
            InvalidJob,
            "metadata=.*defer middleware has put it there",
        ),
        ({"metadata": {"n": float("nan")}}, InvalidJob, "metadata=.*nan"),
        ({"task_name": "another"}, AttributeError, "task_name"),
        ({"queues": "fast"}, AttributeError, "queues"),
    ],
)
async def test_what_no_job_can_have_is_refused(
    database_url: str, face: Face, values: dict[str, Any], refusal: type[Exception], fault: str
) -> None:
    async with with_middleware(database_url, put(**values)) as app:

        @app.task(name="note")
        def note() -> None: ...

        with pytest.raises(refusal, match=fault):
            await face.defer(note)
        assert list(app.job_manager.list_jobs()) == []


async def test_one_that_is_async_or_returns_something_is_refused(database_url: str) -> None:
    async def later(job: JobDraft) -> None: ...

    class Later:
        async def __call__(self, job: JobDraft) -> None: ...

    for wrong, why in {
        later: "which is async",
        (traced, Later()): "which is async",
        "traced": "which cannot be called",
        3: "which cannot be called",
        (None,): "which cannot be called",
    }.items():
        with pytest.raises(MiddlewareKindMismatch, match=why):
            with_middleware(database_url, wrong)
    for returns in (lambda job: job, lambda job: asyncio.sleep(0)):
        async with with_middleware(database_url, returns) as app:
            with pytest.raises(MiddlewareKindMismatch, match="return nothing"):
                await app.configure_task("note").defer_async()


async def test_ticks_pass_by_it_and_are_lost_alone_if_it_raises(
    database_url: str, start: Start
) -> None:
    def marked(job: JobDraft) -> None:
        if job.task_name == "broken":
            raise LookupError("no tenant")
        job.tags.append("tick")

    async with with_middleware(database_url, marked) as app:
        raised: list[PeriodicNotDeferred] = []
        app.telemetry.subscribe(PeriodicNotDeferred, raised.append)

        @app.periodic(cron="* * * * * *")
        @app.task(name="broken")
        def broken(timestamp: int) -> None: ...

        @app.periodic(cron="* * * * * *")
        @app.task(name="ticking")
        def ticking(timestamp: int) -> None: ...

        worker = await start(app)
        manager = app.job_manager
        await until(lambda: raised and list(manager.list_jobs(tags=["tick"])), "a tick of each")
        worker.stop()
    assert str(raised[0].error) == "no tenant"
    assert raised[0].task_name == "broken"


async def test_the_function_does_not_get_metadata_and_the_context_does(
    app: App, drain: Drain
) -> None:
    seen: list[Any] = []

    @app.task(name="seeing", pass_context=True)
    async def seeing(context: Any, number: int) -> None:
        seen.append(context.job.metadata)

    await seeing.defer_async(number=1)
    await drain(app)
    assert seen == [{"trace": "none"}]
