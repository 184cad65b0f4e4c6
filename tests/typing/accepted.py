"""What type checkers must take as it is: run by test_typing, never executed."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type
from uuid import UUID

import psycopg
from fastapi import FastAPI
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from taskq import (
    AbortReason,
    App,
    AsyncTransactionContext,
    BaseRetryStrategy,
    Blueprint,
    EventDraft,
    FailedAttempt,
    Job,
    JobContext,
    JobCounts,
    JobDraft,
    JobPage,
    JobStatus,
    JobUnsuccessful,
    Limit,
    Progress,
    Retention,
    Retry,
    RetryDecision,
    RetryStrategy,
    Snooze,
    Task,
    TransactionContext,
    WaitTimeout,
    Worker,
)
from taskq.contrib.asgi import InTransaction, lifespan
from taskq.limits import LimitFigures, LimitState
from taskq.manager import Pause, Subscription
from taskq.pytest import Jobs, Ran, jobs_on
from taskq.telemetry import Ending, Event, JobEnded, JobFailed

tenant = Limit("tenant", concurrency=2, by="account")
stripe = Limit("stripe", rate=100, per=timedelta(seconds=1), burst=5)

app = App(
    "postgresql://",
    queue_limits={"payments": stripe, "refunds": Limit("bank", rate=1, per=0.5)},
    import_paths=["shop.jobs"],
    worker_defaults={"concurrency": 10, "queues": ["mail"], "delete_jobs": "successful"},
    periodic_defaults={"max_delay": 60},
)
blueprint = Blueprint()


@app.task
def send(to: str, copies: int = 1) -> bool:
    return bool(to) and copies > 0


@app.task(queue="mail", retry=RetryStrategy(max_attempts=3), store_result=True)
async def charge(order: UUID, at: datetime | None = None) -> int:
    return 1


@app.task(pass_context=True, timeout=5)
async def crawl(context: JobContext, url: str, *, depth: int = 1) -> None:
    assert_type(context.job, Job)
    assert_type(context.should_abort(), bool)
    assert_type(context.abort_reason(), AbortReason | None)
    assert_type(context.app, App)
    assert_type(context.app.configure_task("shop.send").defer(to="ada"), int)
    assert_type(context.app.job_manager.get_job(1), Job)
    assert_type(context.task, Task[..., Any])
    assert_type(context.failed_attempts, Sequence[FailedAttempt])
    if context.job.attempt > 3:
        raise Snooze({"hours": 1})
    raise Retry(timedelta(minutes=1), message="not yet")


@app.task(limit=tenant)
def sync(account: str, region: str = "eu") -> None: ...


@blueprint.task(limit=Limit("both", concurrency=1, by=("account", "region")))
async def sync_region(account: str, region: str) -> None: ...


def limited() -> None:
    assert_type(sync.configure(limit_key="vip").defer(account="acme"), int)
    sync.configure(limit=None, limit_key=None).defer(account="acme")
    sync.configure(limit=stripe, on_conflict="skip", queueing_lock="q").defer(account="acme")
    app.configure_task("of.another.program", limit=tenant, limit_key="acme").defer()
    assert_type(tenant.by, str | Sequence[str] | None)


async def operated() -> None:
    jobs = app.job_manager
    jobs.set_limit("tenant", concurrency=5)
    await jobs.set_limit_async("tenant", key="acme", rate=5, per=timedelta(hours=1), by="ada")
    jobs.set_limit("tenant", rate=5, per=60, burst=2)
    assert_type(jobs.unset_limit("tenant", key="acme"), bool)
    assert_type(await jobs.unset_queue_limit_async("payments"), bool)
    assert_type(jobs.list_limits(), list[LimitState])
    for state in await jobs.list_limits_async("tenant", max_limits=10):
        assert_type(state.figures, LimitFigures | None)
        assert_type(state.room, int | None)
        assert_type(state.next_at, datetime | None)
    assert_type(jobs.pause_task("sync", by="ada", reason="it is down"), bool)
    assert_type(await jobs.resume_task_async("sync"), bool)
    assert_type(jobs.list_pauses(), list[Pause])
    assert_type(jobs.get_job(1).limit_key, str | None)


@app.task(pass_context=True)
async def pay(context: JobContext, order: UUID) -> None:
    async with context.transaction() as connection:
        assert_type(connection, AsyncConnection)
        await charge.configure(connection=connection).defer_async(order=order)
    raise Retry


@app.task(pass_context=True)
def pay_sync(context: JobContext, order: UUID) -> None:
    with context.transaction() as connection:
        assert_type(connection, Connection)
        charge.configure(connection=connection).defer(order=order)


@app.task(pass_context=True, transaction=True, store_result=True)
async def settle(context: AsyncTransactionContext, order: UUID) -> int:
    assert_type(context.connection, AsyncConnection)
    assert_type(context.app, App)
    async with AsyncSession(context.connection) as session:
        await charge.configure(connection=session).defer_async(order=order)
    return 1


@blueprint.task(pass_context=True, transaction=True)
def settle_sync(context: TransactionContext, order: UUID) -> None:
    assert_type(context.connection, Connection)
    charge.configure(connection=Session(context.connection)).defer(order=order)


@app.task(pass_context=True, transaction=True)
async def settle_anyhow(context: JobContext, order: UUID) -> None:
    await context.connection.execute("anything goes")


@blueprint.task(name="clean", aliases=["tidy"])
def clean(days: int) -> None: ...


@app.periodic(cron="*/5 * * * *", timezone="Europe/Berlin", queue="night", lock="report")
@app.task
def report(timestamp: int) -> None: ...


@blueprint.periodic(cron="0 4 * * * 30", periodic_id="nightly", task_kwargs={"kind": "short"})
@blueprint.task(pass_context=True)
async def summary(context: JobContext, timestamp: int, kind: str = "") -> None: ...


class Twice(BaseRetryStrategy):
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        return RetryDecision(retry_in=timedelta(seconds=1)) if job.attempts < 2 else None


@app.task(retry=Twice())
def fetch(id: UUID) -> list[str]:
    return [str(id)]


def measured(call_next: Callable[[], Any], context: JobContext, worker: Worker) -> Any:
    return call_next()


async def traced(
    call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
) -> Any:
    return await call_next()


@app.task(task_middleware=measured)
def measured_task() -> None: ...


async def outer(
    call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
) -> Any:
    assert_type(context.job, Job)
    assert_type(context.app, App)
    assert_type(worker.app, App)
    assert_type(worker.running_jobs, Sequence[Job])
    return await call_next()


def asked(app: App, context: JobContext) -> Worker:
    assert_type(app.worker(concurrency=2), Worker)
    return context.app.worker()


def called() -> None:
    assert_type(send("ada"), bool)
    assert_type(send.defer(to="ada", copies=2), int)
    assert_type(send.batch_defer({"to": "ada"}, send.args(to="bob")), list[int])
    assert_type(clean.defer(days=3), int)
    assert_type(crawl.defer(url="https://example.org", depth=2), int)
    assert_type(pay.defer(order=UUID(int=1)), int)
    assert_type(settle.defer(order=UUID(int=1)), int)
    assert_type(settle.result(app.job_manager.get_job(1)), int)
    settle_sync.batch_defer(settle_sync.args(order=UUID(int=1)))
    assert_type(fetch.result(app.job_manager.get_job(1)), list[str])
    assert_type(charge.result(app.job_manager.get_job(1)), int)
    assert_type(app.job_manager.get_job_status(1), JobStatus)
    assert_type(report.defer(), int)
    assert_type(summary.defer(kind="long"), int)
    summary.configure(task_kwargs={"timestamp": 0}).batch_defer(summary.args(), {})


def stamped(job: JobDraft) -> None:
    job.metadata["tenant"] = {"name": "acme"}
    job.tags.append("tenant:acme")
    job.priority += 1
    job.lock = None
    assert_type(job.task_name, str)


App("postgresql://", defer_middleware=stamped)
App("postgresql://", defer_middleware=[stamped, lambda job: None])


def noted(event: EventDraft) -> None:
    event.metadata["tenant"] = event.arguments["account"]
    assert_type(event.event, str)


App("postgresql://", publish_middleware=noted)
App("postgresql://", publish_middleware=[noted, lambda event: None])


def configured(
    engine_connection: Connection, session: Session, own: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    later = send.configure(
        lock=None,
        queueing_lock="mail",
        metadata={"trace": "00-1", "path": [1, None, {"deep": True}]},
        tags=["customer:7"],
        schedule_in=timedelta(minutes=5),
        queue="slow",
        priority=-1,
        connection=engine_connection,
    )
    assert_type(later.defer(to="ada"), int)
    assert_type(later.batch_defer(send.args(to="ada")), list[int])
    maybe = send.configure(queueing_lock="mail", on_conflict="skip")
    assert_type(maybe.defer(to="ada"), int | None)
    assert_type(maybe.configure(priority=2).defer(to="ada"), int | None)
    assert_type(maybe.configure(on_conflict="raise").defer(to="ada"), int)
    replacing = send.configure(
        queueing_lock="mail", on_conflict="replace", idempotency_key="mail:7"
    )
    assert_type(send.configure(idempotency_key=None).defer(to="ada"), int)
    assert_type(replacing.defer(to="ada"), int)
    assert_type(maybe.configure(on_conflict="replace").batch_defer(send.args(to="ada")), list[int])
    send.configure(schedule_at=datetime.now(UTC), connection=session).defer(to="ada")
    send.configure(schedule_in={"minutes": 5}, connection=own).defer(to="ada")
    send.configure(schedule_in={"hours": 1, "seconds": 0.5}).defer(to="ada")
    send.configure(expire_at=datetime.now(UTC)).configure(expire_in=None).defer(to="ada")
    app.configure_task("x", expire_in=timedelta(minutes=5)).defer()
    there = app.configure_task("of.another.program", queue="there")
    assert_type(there.defer(anything=1, goes=[2]), int)
    skipping = app.configure_task("of.another.program", queueing_lock="a", on_conflict="skip")
    assert_type(skipping.defer(anything=1), int | None)
    assert_type(app.configure_task("x", queueing_lock="a", on_conflict="replace").defer(), int)
    assert_type(skipping.batch_defer({"anything": 1}), list[int | None])


async def awaited(
    connection: AsyncConnection,
    session: AsyncSession,
    own: "psycopg.AsyncConnection[tuple[Any, ...]]",
) -> None:
    assert_type(await charge.defer_async(order=UUID(int=1)), int)
    assert_type(await charge.batch_defer_async(charge.args(order=UUID(int=1))), list[int])
    assert_type(await charge(UUID(int=1)), int)
    await charge.configure(connection=connection).defer_async(order=UUID(int=1))
    await charge.configure(connection=session).defer_async(order=UUID(int=1))
    await charge.configure(connection=own).defer_async(order=UUID(int=1))
    assert_type(await app.job_manager.cancel_job_by_id_async(1, abort=True), bool)
    async with app.open_async() as opened:
        assert_type(opened, App)
    assert_type(await app.open_async(), App)
    await app.run_worker_async(
        wait=False, task_middleware=[measured, traced], worker_middleware=outer, prefetch="auto"
    )


def tested() -> None:
    with app.replace_database("postgresql://elsewhere") as replaced:
        assert_type(replaced, App)


def run() -> None:
    blueprint.add_task_alias(clean, "sweep")
    app.add_tasks_from(blueprint, namespace="shop")
    app.run_worker(queues=["mail"], concurrency=2, shutdown_graceful_timeout=None, prefetch=3)


def managed(session: Session) -> None:
    jobs = app.job_manager
    page = jobs.on(session).list_jobs(status="failed", queue="mail", limit=10)
    assert_type(page, JobPage)
    assert_type(page[0], Job)
    assert_type([job.id for job in page], list[int])
    assert_type(page.next_after, int | None)
    assert_type(page[0].tags, tuple[str, ...])
    assert_type(jobs.cancel_jobs(tags=("customer:7", "import")), int)
    jobs.list_jobs(status=[JobStatus.TODO, "doing"], ids=range(9), after=page.next_after)
    assert_type(jobs.count_jobs(task_kwargs={"user_id": 7}), JobCounts)
    assert_type(jobs.count_jobs()["mail", "send", JobStatus.TODO], int)
    assert_type(jobs.retry_jobs(deferred_after=datetime.now(UTC), status=None), int)
    assert_type(jobs.delete_old_jobs({"days": 3}, include_failed=True), int)
    kept: Retention = {"succeeded": timedelta(days=1), "failed": None}
    App("postgresql://", retention=kept, worker_defaults={"retention": {"aborted": timedelta(1)}})


async def managed_async(connection: AsyncConnection) -> None:
    jobs = app.job_manager
    assert_type(await jobs.on(connection).list_jobs_async(status="failed"), JobPage)
    assert_type(await jobs.get_job_async(1), Job)
    assert_type(await jobs.cancel_jobs_async(queue="mail", abort=True), int)
    await jobs.retry_job_by_id_async(1, datetime.now(UTC), priority=3)
    await jobs.reschedule_job_async(1, schedule_in={"minutes": 5})
    await jobs.retry_job_by_id_async(1, retry_in={"minutes": 5})
    assert_type(await jobs.fetch_async(1, ["mail"], 10), list[Job])


def on_end(event: JobEnded) -> None:
    assert_type(event.job, Job)
    assert_type(event.ending, Ending)


def subscribed() -> None:
    events: list[Event] = []
    assert_type(app.telemetry.subscribe(JobFailed, on_end), Callable[[], None])
    app.telemetry.subscribe(Event, events.append)
    app.telemetry.subscribe(JobEnded, lambda event: print(event.seconds))


def waited() -> None:
    assert_type(send.wait(1, timeout=5), bool)
    assert_type(charge.wait(1, timeout=timedelta(seconds=5)), int)
    assert_type(clean.wait(1), None)
    assert_type(app.job_manager.wait_for_job(1, timeout=0.5), Job)
    waiting = charge.configure(wait_timeout=5, priority=1)
    assert_type(waiting.defer_and_wait(order=UUID(int=1)), int)
    assert_type(waiting.configure(queue="x").defer_and_wait(order=UUID(int=1)), int)
    assert_type(send.configure(wait_timeout=None).defer_and_wait(to="ada"), bool)
    assert_type(crawl.configure().defer_and_wait(url="x"), None)


async def waited_async() -> None:
    assert_type(await send.wait_async(1, timeout=5), bool)
    assert_type(await charge.wait_async(1), int)
    assert_type(await app.job_manager.wait_for_job_async(1), Job)
    waiting = charge.configure(wait_timeout=timedelta(seconds=5))
    assert_type(await waiting.defer_and_wait_async(order=UUID(int=1)), int)
    try:
        assert_type(await fetch.configure().defer_and_wait_async(id=UUID(int=1)), list[str])
    except JobUnsuccessful as error:
        assert_type(error.job_id, int | None)
    except WaitTimeout as error:
        assert_type(error.job_id, int)


@app.task(pass_context=True)
def count(context: JobContext, upto: int) -> None:
    context.report_progress(1)
    context.report_progress(0.5, upto, message="counting")
    progress = app.job_manager.get_job(1).progress
    assert_type(progress, Progress | None)
    if progress is not None:
        assert_type(progress.done, float)
        assert_type(progress.total, float | None)
        assert_type(progress.reported_at, datetime)


@app.on("order.paid", queue="mail", priority=3, tags=["money"])
@app.on("order.refunded")
@app.task
async def book(order: UUID) -> int:
    return 1


@Blueprint().on("order.paid")
@Blueprint().task(pass_context=True)
def heed(context: JobContext, order: UUID) -> None: ...


def published(session: Session, connection: psycopg.Connection) -> None:
    assert_type(app.publish("order.paid", order=UUID(int=1)), list[int])
    assert_type(app.publish("order.paid", order=1, connection=session, event="x"), list[int])
    app.publish("order.paid", connection=connection)
    assert_type(book.defer(order=UUID(int=1)), int)
    assert_type(app.job_manager.list_subscriptions("order.paid"), list[Subscription])
    assert_type(app.job_manager.remove_subscription("order.paid", "book"), bool)


async def published_async(session: AsyncSession) -> None:
    assert_type(await app.publish_async("order.paid", order=1, connection=session), list[int])
    assert_type(await app.job_manager.list_subscriptions_async(), list[Subscription])


def keys() -> list[str]:
    return ["key"]


App("postgresql://", encryption_keys=["key", b"key"])
App("postgresql://", encryption_keys=("key",))
App("postgresql://", encryption_keys=keys)


@app.task(executor="process", store_result=True)
def compute(number: int) -> int:
    return number


@app.task(encrypted=True, store_result=True)
async def pay_by_card(card: str) -> int:
    return len(card)


def encrypted() -> None:
    job = app.job_manager.get_job(1)
    assert_type(pay_by_card.arguments_of(job), dict[str, Any])
    assert_type(pay_by_card.result(job), int)
    assert_type(app.job_manager.rotate_encryption_keys().jobs, int)
    pay_by_card.defer(card="4111")


@app.task
def weigh(item: str) -> float:
    return 1.0


@app.task
async def weigh_later(item: str) -> float:
    return 1.0


def run_in_tests(jobs: Jobs, connection: Connection, session: Session) -> None:
    assert_type(jobs.run(weigh, item="tea"), Ran[float])
    assert_type(jobs.run(weigh_later, item="tea", attempt=2).result, float)
    assert_type(jobs.run(weigh.configure(queue="slow"), item="tea").result, float)
    assert_type(jobs.deferred(weigh, item="tea"), list[Job])
    assert_type(jobs.drain(until=timedelta(days=1)), dict[JobStatus, int])
    with jobs_on(app, connection) as there:
        assert_type(there, Jobs)
    assert_type(InTransaction(session)(weigh).defer(item="tea"), int)


async def run_in_async_tests(jobs: Jobs) -> None:
    assert_type((await jobs.run_async(weigh_later, item="tea")).result, float)
    assert_type(await jobs.assert_deferred_async(weigh, item="tea"), list[Job])
    assert_type(await jobs.drain_async(), dict[JobStatus, int])


FastAPI(lifespan=lifespan(app, worker=True, concurrency=4))
