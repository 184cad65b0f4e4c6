"""What type checkers must refuse: an error on each line that is marked, and on no other."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from taskq import (
    App,
    AsyncTransactionContext,
    BaseRetryStrategy,
    Blueprint,
    EventDraft,
    Job,
    JobContext,
    JobDraft,
    Limit,
    Retry,
    RetryDecision,
    RetryStrategy,
    Snooze,
    TransactionContext,
    Worker,
)
from taskq.contrib.asgi import InTransaction, lifespan
from taskq.telemetry import JobEnded, JobFailed

app = App("postgresql://")
blueprint = Blueprint()


@app.task
def send(to: str, copies: int = 1) -> bool:
    return bool(to) and copies > 0


@app.task(store_result=True)
async def charge(order: UUID) -> int:
    return 1


@app.task(pass_context=True)
async def crawl(context: JobContext, url: str) -> None: ...


@blueprint.task
def clean(days: int) -> None: ...


@app.task(pass_context=True)  # refused: no context
def forgot() -> None: ...


@app.task(transaction=True)  # refused: it could not reach its connection
def unreachable() -> None: ...


@app.task(executor="fork")  # refused: none of the two
def forked() -> None: ...


@app.task(pass_context=True, transaction="yes")  # refused
def transacted(context: JobContext) -> None: ...


@app.task(pass_context=True)
async def pay(context: JobContext, order: UUID) -> None:
    with context.transaction() as sync_connection:
        await sync_connection.execute(text("SELECT 1"))  # refused: a sync connection
    async with context.transaction() as connection:
        charge.configure(connection=connection.execute)  # refused


@app.task(pass_context=True, transaction=True)
async def settle(context: AsyncTransactionContext) -> None:
    await context.connection.execute("SELECT 1")  # refused: no statement


@app.task(pass_context=True, transaction=True)
def settle_sync(context: TransactionContext) -> None:
    context.connection.run_sync(print)  # refused: an async connection has that


@app.task(queue=3)  # refused
def numbered() -> None: ...


@app.task(retry="often")  # refused
def often() -> None: ...


@app.task(tags=3)  # refused
def tagged() -> None: ...


tenant = Limit("tenant", concurrency=2, by="account")
Limit("tenant", 2)  # refused: by position
Limit("tenant", concurrency="2")  # refused
Limit("tenant", rate=1, per="1m")  # refused
Limit("tenant", concurrency=1, by=3)  # refused
Limit("tenant", concurency=1)  # refused: no such thing
tenant.concurrency = 3  # refused: frozen
App("postgresql://", queue_limits={"mail": 3})  # refused
App("postgresql://", queue_limits=[tenant])  # refused


@app.task(limit="tenant")  # refused
def limited(account: str) -> None: ...


@app.task(limit_key="acme")  # refused: of a job, not of a task
def keyed() -> None: ...


@app.task(retries=3)  # refused: no such option
def misspelt() -> None: ...


@app.periodic(cron=5)  # refused
@app.task
def report(timestamp: int, kind: str = "") -> None: ...


@app.periodic(cron="* * * * *")  # refused: no timestamp
@app.task
def untimed() -> None: ...


@app.periodic(cron="* * * * *", prioriti=1)  # refused: no such option
@app.task
def urgent(timestamp: int) -> None: ...


@app.periodic(cron="* * * * *")  # refused: not a task
def plain(timestamp: int) -> None: ...


@blueprint.task(pass_context=True)  # refused: no context in front
def late(days: int, context: JobContext) -> None: ...


@blueprint.task(name=3)  # refused
def unnamed() -> None: ...


@blueprint.periodic(cron="* * * * *", queue=3)  # refused
@blueprint.task
def nightly(timestamp: int) -> None: ...


class Forgetful(BaseRetryStrategy):
    def get_retry_decision(self, *, job: Job) -> RetryDecision | None:  # refused: no exception
        return None


def counted(call_next: Callable[[], Any], context: JobContext, worker: Worker) -> int:
    return len(call_next())


def without_worker(call_next: Callable[[], Any], context: JobContext) -> Any:
    return call_next()


@app.task(task_middleware=without_worker)  # refused
def wrapped() -> None: ...


def of_a_job(call_next: Callable[[], Any], job: Job, worker: Worker) -> Any:
    return call_next()


@app.task(task_middleware=of_a_job)  # refused: a context
def wrapped_again() -> None: ...


@app.task(pass_context=True)
def look(context: JobContext) -> None:
    context.job.attempt = 2  # refused: frozen
    context.app = app  # refused: frozen
    context.failed_attempts[0].error_type = "none"  # refused: frozen
    name: int = context.worker_name  # refused
    context.job.attempts()  # refused: a number
    context.abort()  # refused: no such thing
    raise Snooze(5)  # refused: seconds of what


def operated() -> None:
    jobs = app.job_manager
    jobs.set_limit("tenant", 5)  # refused: by position
    jobs.set_limit(tenant, concurrency=5)  # refused: by its name
    jobs.set_limit("tenant", concurrency="5")  # refused
    jobs.set_limit("tenant", rate=5, per="1s")  # refused
    jobs.unset_limit("tenant", "acme")  # refused: by position
    jobs.list_limits(max_limits="all")  # refused
    jobs.pause_task(send)  # refused: by its name
    jobs.pause_task("send", "ada")  # refused: by position
    send.configure(limit="tenant")  # refused
    send.configure(limit=tenant, limit_key=3)  # refused


def called() -> None:
    send.defer()  # refused: to is missing
    send.defer("ada")  # refused: by position
    send.defer("ada", copies=2)  # refused: by position
    send.defer(*("ada",))  # refused: by position
    send.args("ada")  # refused: by position
    crawl.defer("https://example.org")  # refused: by position
    report.defer("long")  # refused: by position
    send.configure(priority=1).defer("ada")  # refused: by position
    app.configure_task("of.another.program").defer(1)  # refused: by position
    send.defer(to=1)  # refused
    send.defer(to="ada", copies="2")  # refused
    send.defer(to="ada", copy=2)  # refused: no such argument
    send(to=1)  # refused
    send.args(to=1)  # refused
    send.args()  # refused: to is missing
    send.batch_defer(["ada"])  # refused
    send.batch_defer(crawl.args(url="x"))  # refused: arguments of another task
    crawl.defer(context=None, url="x")  # refused: the context is the worker's
    crawl.defer(url=b"x")  # refused
    clean.defer(days="3")  # refused
    report.defer(kind=1)  # refused
    report.defer(timestamp="now")  # refused: it is the tick's
    charge.defer(order="1")  # refused
    number: str = send.defer(to="ada")  # refused
    ids: list[str] = send.batch_defer({"to": "ada"})  # refused
    result: str = charge.result(app.job_manager.get_job(1))  # refused
    flag: str = send.result(app.job_manager.get_job(1))  # refused
    charge.result(1)  # refused: a job, not its id
    app.job_manager.get_job("1")  # refused
    app.job_manager.on("postgresql://").get_job(1)  # refused
    app.job_manager.get_job(1).id = 2  # refused: frozen
    app.job_manager.cancel_job_by_id(1, "yes")  # refused
    RetryStrategy(3)  # refused: by name only
    RetryStrategy(wait="1")  # refused
    RetryStrategy(retry_exceptions=["ValueError"])  # refused: classes
    RetryDecision(retry_in=5)  # refused
    Retry(at="tomorrow")  # refused


def configured() -> None:
    send.configure(lock=3)  # refused
    send.configure(tags=[1])  # refused
    send.configure(tags=3)  # refused
    send.configure(metadata=["a"])  # refused
    send.configure(metadata={"at": timedelta(1)})  # refused: no JSON
    send.configure(schedule_in=5)  # refused
    send.configure(expire_in=5)  # refused
    send.configure(expire_in={"hour": 1})  # refused: hours
    send.configure(expire_at="tomorrow")  # refused
    send.configure(schedule_in={"hour": 1})  # refused: hours
    send.configure(schedule_in={"hours": "1"})  # refused
    app.configure_task("x", schedule_in={"hour": 1})  # refused
    app.configure_task("x", priorty=1)  # refused: no such option
    skipped: int = app.configure_task("x", on_conflict="skip").defer()  # refused: may be None
    Retry({"hour": 1})  # refused
    send.configure(schedule_at="tomorrow")  # refused
    send.configure(priority="high")  # refused
    send.configure(priorty=1)  # refused: no such option
    send.configure(on_conflict="ignore")  # refused
    send.configure(idempotency_key=7)  # refused
    send.configure(connection="postgresql://")  # refused
    send.configure(priority=1).defer(to=1)  # refused
    send.configure(priority=1).batch_defer(crawl.args(url="x"))  # refused
    some: int = send.configure(on_conflict="skip").defer(to="ada")  # refused: may be None
    app.configure_task(3)  # refused
    later: int = send.configure(priority=1)  # refused: a deferrer
    send.configure(task_kwargs=["ada"])  # refused
    app.add_tasks_from(blueprint)  # refused: no namespace
    app.add_tasks_from([clean], namespace="shop")  # refused
    blueprint.add_task_alias(clean, 3)  # refused
    blueprint.run_worker()  # refused: an app's
    app.replace_database(5)  # refused


async def awaited() -> None:
    await charge.defer_async(order=1)  # refused
    await charge.defer_async(UUID(int=1))  # refused: by position
    await charge.configure(priority=1).defer_async(UUID(int=1))  # refused: by position
    number: int = charge.defer_async(order=UUID(int=1))  # refused: not awaited
    await clean.batch_defer_async(clean.args(days="3"))  # refused
    await charge.configure(schedule_in=timedelta(1)).defer_async()  # refused
    await charge.batch_defer_async(send.args(to="ada"))  # refused
    await app.run_worker_async(concurrency="2")  # refused


def run() -> None:
    app.run_worker(queue="mail")  # refused: queues
    app.run_worker(delete_jobs="sometimes")  # refused
    app.run_worker(worker_middleware=counted)  # refused: sync
    App("postgresql://", worker_defaults={"concurency": 2})  # refused
    App("postgresql://", periodic_defaults={"max_delay": "long"})  # refused


async def stamped(job: JobDraft) -> None:
    job.task_name = "another"  # refused
    job.priority = "high"  # refused
    job.metadata = ["acme"]  # refused
    job.queueing_lock = "a"  # refused: none of it


App("postgresql://", defer_middleware=stamped)  # refused: async
App("postgresql://", defer_middleware=[counted])  # refused


async def noted(event: EventDraft) -> None:
    event.event = "another"  # refused
    event.metadata = ["acme"]  # refused
    event.queue = "a"  # refused: none of it


App("postgresql://", publish_middleware=noted)  # refused: async
App("postgresql://", publish_middleware=[stamped])  # refused


def managed() -> None:
    jobs = app.job_manager
    jobs.list_jobs(status="done")  # refused
    jobs.list_jobs(que="mail")  # refused
    jobs.list_jobs([1, 2])  # refused: ids=
    jobs.count_jobs(queue=3)  # refused
    jobs.list_jobs(tags=3)  # refused
    jobs.delete_jobs(deferred_before="yesterday")  # refused
    jobs.retry_job_by_id("1")  # refused
    jobs.reschedule_job(1, lock="a")  # refused
    jobs.reschedule_job(1, schedule_in={"hour": 1})  # refused
    jobs.retry_jobs(ids=[1], retry_in={"hour": 1})  # refused
    App("postgresql://", retention={"done": timedelta(1)})  # refused
    app.run_worker(retention={"failed": 30})  # refused


async def in_async(event: JobEnded) -> None: ...


def of_failures(event: JobFailed) -> None: ...


def subscribed() -> None:
    app.telemetry.subscribe(JobEnded, in_async)  # refused: async
    app.telemetry.subscribe(JobEnded, of_failures)  # refused: others too
    app.telemetry.subscribe(JobEnded, lambda event: print(event.jobs))  # refused


async def managed_async() -> None:
    jobs = app.job_manager
    number: int = jobs.delete_jobs_async(queue="mail")  # refused: not awaited
    await jobs.list_jobs_async(que="mail")  # refused
    await jobs.get_job_async("1")  # refused
    text: str = await jobs.cancel_jobs_async(queue="mail")  # refused


def waited() -> None:
    wrong: str = charge.wait(1)  # refused
    charge.wait("1")  # refused: not an id
    charge.wait(1, timeout="5")  # refused
    charge.wait(1, 5)  # refused: by position
    send.configure(wait_timeout="5")  # refused
    send.configure(timeout=5)  # refused: no such option
    send.configure().defer_and_wait("ada")  # refused: by position
    send.configure().defer_and_wait(to=1)  # refused
    send.configure().defer_and_wait(to="ada", wait_timeout=5)  # refused: no such argument
    text: str = send.configure(wait_timeout=1).defer_and_wait(to="ada")  # refused
    send.configure(on_conflict="skip").defer_and_wait(to="ada")  # refused: there may be no job
    app.configure_task("x").defer_and_wait()  # refused: what it returns is not known
    app.job_manager.wait_for_job(1, timeout="5")  # refused


@app.task(pass_context=True)
def count(context: JobContext) -> None:
    context.report_progress()  # refused: how much is done
    context.report_progress("half")  # refused
    context.report_progress(1, 2, 3)  # refused: a text
    job: Job = context.job
    done = job.progress.done  # refused: it may have none


@app.on("order.paid", queue=3)  # refused
@app.task
def book(order: UUID) -> None: ...


@app.on("order.paid", schedule_in={"hours": 1})  # refused: not when
@app.task
def later(order: UUID) -> None: ...


@app.on("order.paid")  # refused: not a task
def forgotten(order: UUID) -> None: ...


def published() -> None:
    app.publish()  # refused: which event
    app.publish(3)  # refused
    app.publish("order.paid", 7)  # refused: by position
    app.publish("order.paid", connection="postgresql://")  # refused
    book.defer(order=1)  # refused: its types are as before
    number: int = app.publish("order.paid")  # refused: several
    app.job_manager.remove_subscription("order.paid")  # refused: which task


App("postgresql://", encryption_keys=7)  # refused
App("postgresql://", encryption_keys=[7])  # refused
App("postgresql://", encryption_keys={"key"})  # refused: the first one encrypts, and a set has none


@app.task(encrypted="key")  # refused: the keys are the app's
def pay_by_key(card: str) -> None: ...


@app.task(encrypted=True)
def pay_by_card(card: str) -> None: ...


def encrypted() -> None:
    pay_by_card.defer(card=1)  # refused
    pay_by_card.configure(encrypted=False)  # refused: it is said when the task is declared
    pay_by_card.arguments_of(1)  # refused: not a job


def deferred_in_a_session(session: Session) -> None:
    deferring = InTransaction(session)
    deferring(pay_by_card).defer(card=1)  # refused
    InTransaction("a session")  # refused
    lifespan(app, concurency=1)  # refused
