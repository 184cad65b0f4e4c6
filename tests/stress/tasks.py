"""The app of the stress test: tasks that do what their script says, and record when they run."""

import asyncio
import base64
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from sqlalchemy import text

from taskq import (
    App,
    BaseRetryStrategy,
    Job,
    JobContext,
    JobStatus,
    Limit,
    Retry,
    RetryDecision,
    Snooze,
)
from tests.stress.scripts import has_effect, step_of

URL_VARIABLE = "TASKQ_DATABASE_URL"

# Of each key, all together, and of a queue.
KEYED = Limit("key", concurrency=2, by="key")
PACED = Limit("paced", rate=100, per=timedelta(seconds=1), concurrency=4)
LIMITED_QUEUE, OF_QUEUE = "d", Limit("queue-d", concurrency=5)
LIMITS = {limit.name: limit for limit in (KEYED, PACED)}

# The first key is the one in some processes, and the other in some: what a deferrer has encrypted by the
# one, an operator encrypts by the other while it waits.
_KEYS = [base64.urlsafe_b64encode(key * 32) for key in (b"0", b"1")]
_ORDER = 1 if int.from_bytes(os.environ.get("PGAPPNAME", "").encode()[-1:]) % 2 else -1

app = App(queue_limits={LIMITED_QUEUE: OF_QUEUE}, encryption_keys=_KEYS[::_ORDER])
for limit in LIMITS.values():
    app.limits.add(limit)

EFFECT = text("INSERT INTO stress_effects VALUES (:id, :claim)")

_of_thread = threading.local()


class ScriptedError(Exception):
    """How an attempt fails by its script."""

    def __init__(self, step: str, queue: str, lock: str) -> None:
        super().__init__(step)
        self.step = step
        self.queue = queue
        self.lock = lock


class Scripted(BaseRetryStrategy):
    """Runs a job again as its script says."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        match exception:
            case ScriptedError(step="demote"):
                return RetryDecision(priority=job.priority - 1)
            case ScriptedError(step="move"):
                return RetryDecision(queue=exception.queue)
            case ScriptedError(step="relock"):
                return RetryDecision(lock=exception.lock)
        return None


@app.task(name="work", pass_context=True, retry=Scripted())
async def work(
    context: JobContext,
    script: list[str],
    nap: float,
    wait: float,
    key: str | None,
    queue: str,
    lock: str,
) -> None:
    """Do a step, on the event loop."""
    step = step_of(script, context.job.claim)
    if has_effect(context.job.id):
        with _recorded(context.job, step):
            async with context.transaction() as connection:
                await connection.execute(EFFECT, {"id": context.job.id, "claim": context.job.claim})
                await asyncio.sleep(nap)
                _end(step, wait, queue, lock)
        return
    with _recorded(context.job, step):
        if nap:
            await asyncio.sleep(nap)
    _end(step, wait, queue, lock)


work_in_secret = app.task(
    name="work in secret", pass_context=True, retry=Scripted(), encrypted=True
)(work.func)


@app.task(name="work in a thread", pass_context=True, retry=Scripted())
def work_in_a_thread(
    context: JobContext,
    script: list[str],
    nap: float,
    wait: float,
    key: str | None,
    queue: str,
    lock: str,
) -> None:
    """Do a step, in a thread."""
    step = step_of(script, context.job.claim)
    if has_effect(context.job.id):
        with _recorded(context.job, step), context.transaction() as connection:
            connection.execute(EFFECT, {"id": context.job.id, "claim": context.job.claim})
            time.sleep(nap)
            _end(step, wait, queue, lock)
        return
    with _recorded(context.job, step):
        time.sleep(nap)
    _end(step, wait, queue, lock)


def _end(step: str, wait: float, queue: str, lock: str) -> None:
    match step:
        case "succeed":
            return
        case "retry":
            raise Retry
        case "retry_later":
            raise Retry(timedelta(seconds=wait))
        case "snooze":
            raise Snooze(timedelta(seconds=wait))
    raise ScriptedError(step, queue, lock)


@contextmanager
def _recorded(job: Job, step: str) -> Iterator[None]:
    """Record that a run begins and ends, each in a transaction of its own: what is between them ran."""
    assert job.status is JobStatus.DOING
    _record(job, None)
    ended = "interrupted"
    try:
        yield
        ended = step
    except (Retry, Snooze, ScriptedError):
        ended = step
        raise
    finally:
        _record(job, ended)


def _record(job: Job, step: str | None) -> None:
    # Not awaited, so that nothing can come in between.
    _connection().execute(
        "INSERT INTO stress_runs (job_id, claim, worker_id, process, pid, lock, priority, key, step) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *(job.id, job.claim, job.worker_id, os.environ["PGAPPNAME"], os.getpid()),
            *(job.lock, job.priority, job.limit_key, step),
        ),
    )


def _connection() -> psycopg.Connection:
    """The thread's own connection."""
    connection: psycopg.Connection | None = getattr(_of_thread, "connection", None)
    if connection is None:
        url = os.environ[URL_VARIABLE].replace("+psycopg", "", 1)
        connection = _of_thread.connection = psycopg.connect(url, autocommit=True)
    return connection
