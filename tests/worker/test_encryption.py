"""Encrypted jobs in a worker: nothing that is stored, logged or told shows what they are about."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from taskq import App, AsyncTransactionContext, JobContext, JobStatus
from taskq.encryption import KEYS_VARIABLE, generate_key, is_encrypted
from taskq.exceptions import (
    ConcealedError,
    JobAborted,
    JobFailed,
    Retry,
    TaskqException,
    UnknownEncryptionKey,
)
from taskq.job import Job
from taskq.retry import BaseRetryStrategy, RetryDecision
from taskq.telemetry import Event
from tests.worker.conftest import Drain, Start, errors_of, until

VALUE = "4111-1111-1111"
KEY, OTHER_KEY = generate_key(), generate_key()


@dataclass
class Told:
    """All that the database, the log and the subscribers of telemetry got."""

    connection: psycopg.Connection
    caplog: pytest.LogCaptureFixture
    events: list[Event] = field(default_factory=list)

    def all(self) -> str:
        """As text."""
        tables = self.connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'taskq_%'"
        ).fetchall()
        rows = [
            str(row[0])
            for (table,) in tables
            for row in self.connection.execute(
                f"SELECT to_jsonb({table})::text FROM {table}".encode()
            )
        ]
        formatter = logging.Formatter()
        records = [
            f"{formatter.format(record)} {vars(record)}"
            for record in self.caplog.get_records("call")
        ]
        return "\n".join([*rows, *records, *map(_shown, self.events)])


def _shown(event: Event) -> str:
    error = getattr(event, "error", None)
    told = "".join(traceback.format_exception(error)) if error is not None else ""
    return f"{event!r} {told}"


@pytest.fixture
async def app(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    async with App(database_url, encryption_keys=[KEY]) as app:
        yield app


@pytest.fixture
def told(app: App, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture) -> Told:
    caplog.set_level(logging.DEBUG)
    told = Told(connection, caplog)
    app.telemetry.subscribe(Event, told.events.append)
    return told


class Card(BaseException):
    """What a task may raise, with the value wherever an exception can have one."""


class Quoting(BaseRetryStrategy):
    """Fails itself, and quotes what it was asked about."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        raise ValueError(f"{exception} of {job}")


_NO_CARDS: dict[str, str] = {}


def fail(card: str) -> None:
    try:
        _NO_CARDS[card]
    except KeyError as missing:
        error = ValueError(f"no card {card}")
        error.add_note(f"it was {card}")
        raise error from missing


def fail_as_a_group(card: str) -> None:
    raise ExceptionGroup(f"of {card}", [ValueError(card), KeyError(card)])


def fail_badly(card: str) -> None:
    raise Card(card)


def ask_again(card: str) -> None:
    raise Retry(message=f"again {card}")


def abort(card: str) -> None:
    raise JobAborted(f"gave up {card}")


def abort_and_fail(card: str) -> None:
    raise ExceptionGroup("two", [JobAborted(card), ValueError(card)])


def evaluate(card: str) -> None:
    exec(compile(f"raise ValueError('{card}')", "<text>", "exec"))  # noqa: S102


def return_another(card: str) -> Any:
    return {card}


def return_what_cannot_be_written(card: str) -> Any:
    return Unwritable(card)


class Unwritable:
    def __init__(self, card: str) -> None:
        self.card = card

    def __repr__(self) -> str:
        return self.card


@pytest.mark.parametrize(
    "function",
    [
        fail,
        fail_as_a_group,
        fail_badly,
        ask_again,
        abort,
        abort_and_fail,
        evaluate,
        return_another,
        return_what_cannot_be_written,
    ],
)
@pytest.mark.parametrize("retry", [False, 1, Quoting()], ids=["never", "once", "quoting"])
async def test_what_goes_wrong_tells_no_value(
    app: App, told: Told, drain: Drain, function: Callable[[str], Any], retry: Any
) -> None:
    tries = 0

    def once_more(card: str) -> Any:
        nonlocal tries
        tries += 1
        return function(card) if tries < 3 else None

    task: Any = app.task(name="pay", encrypted=True, store_result=True, retry=retry)(once_more)
    await task.defer_async(card=VALUE)
    await drain(app)
    said = told.all()
    assert VALUE not in said
    assert "gAAAA" in said


async def test_an_error_is_stored_with_its_type_and_where_it_was_raised(
    app: App, told: Told, drain: Drain
) -> None:
    task = app.task(name="pay", encrypted=True)(fail)
    job_id = await task.defer_async(card=VALUE)
    await drain(app)
    [attempt] = await app.job_manager.list_failed_attempts_async(job_id)
    assert attempt.error_type == "ValueError"
    assert attempt.error_message == (
        "ValueError was raised; its message is not kept, as the job is encrypted"
    )
    assert f'File "{__file__}", line ' in attempt.error_traceback
    assert "in fail\n" in attempt.error_traceback
    assert "from:\nKeyError\n" in attempt.error_traceback
    [failed] = [event for event in told.events if type(event).__name__ == "JobFailed"]
    assert isinstance(failed.error, ConcealedError)  # type: ignore[attr-defined]
    with pytest.raises(JobFailed) as raised:
        await task.wait_async(job_id)
    assert VALUE not in str(raised.value) + raised.value.error_traceback


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_job_succeeds_and_its_result_is_for_those_with_the_key(
    app: App, told: Told, drain: Drain, is_async: bool, database_url: str
) -> None:
    seen: list[str] = []

    def pay(card: str, when: datetime) -> dict[str, Any]:
        seen.append(card)
        return {"card": card, "year": when.year}

    async def pay_async(card: str, when: datetime) -> dict[str, Any]:
        return pay(card, when)

    task: Any = app.task(name="pay", encrypted=True, store_result=True)(
        pay_async if is_async else pay
    )
    job_id = await task.defer_async(card=VALUE, when=datetime(2026, 1, 1, tzinfo=UTC))
    await drain(app)
    job = await app.job_manager.get_job_async(job_id)
    assert seen == [VALUE]
    assert is_encrypted(job.result)
    assert task.result(job) == {"card": VALUE, "year": 2026}
    assert await task.wait_async(job_id) == task.result(job)
    assert VALUE not in told.all()
    async with App(database_url, encryption_keys=[OTHER_KEY]) as stranger:
        other: Any = stranger.task(name="pay", encrypted=True, store_result=True)(pay)
        with pytest.raises(UnknownEncryptionKey, match=f"the result of job {job_id}"):
            other.result(job)


async def test_a_result_that_fits_no_more_is_not_shown(
    app: App, drain: Drain, database_url: str
) -> None:
    @app.task(name="pay", encrypted=True, store_result=True)
    def pay(card: str) -> str:
        return card

    job_id = await pay.defer_async(card=VALUE)
    await drain(app)
    job = await app.job_manager.get_job_async(job_id)

    def counted(card: str) -> int: ...  # type: ignore[empty-body]

    async with App(database_url, encryption_keys=[KEY]) as later:
        task = later.task(name="pay", store_result=True)(counted)
        with pytest.raises(TaskqException, match="does not fit its type") as refused:
            task.result(job)
    assert VALUE not in "".join(traceback.format_exception(refused.value))


async def test_middleware_sees_the_stored_form_and_may_ask_the_task(
    app: App, told: Told, drain: Drain
) -> None:
    seen: list[Any] = []

    async def watch(call_next: Any, context: JobContext, worker: Any) -> Any:
        seen.append((context.job.task_kwargs, context.task.arguments_of(context.job)))
        return await call_next()

    @app.task(name="pay", encrypted=True, pass_context=True)
    def pay(context: JobContext, card: str) -> None:
        seen.append(context.job.task_kwargs)

    await pay.defer_async(card=VALUE)
    await drain(app, worker_middleware=watch)
    [(stored, arguments), within] = seen
    assert is_encrypted(stored)
    assert stored == within
    assert arguments == {"card": VALUE}
    assert VALUE not in told.all()


async def test_a_transaction_tells_no_value_either(app: App, told: Told, drain: Drain) -> None:
    @app.task(name="pay", encrypted=True, pass_context=True, transaction=True, store_result=True)
    async def pay(context: AsyncTransactionContext, card: str, fails: bool) -> Any:
        return {card} if fails else card

    @app.task(name="afterwards", encrypted=True, pass_context=True)
    async def afterwards(context: JobContext, card: str) -> None:
        async with context.transaction():
            pass
        raise ValueError(card)

    @app.task(name="constraint", encrypted=True, pass_context=True)
    async def constraint(context: JobContext, card: str) -> None:
        async with context.transaction() as connection:
            await connection.exec_driver_sql("SELECT %s::integer", (card,))

    ids = [
        await pay.defer_async(card=VALUE, fails=False),
        await pay.defer_async(card=VALUE, fails=True),
        await afterwards.defer_async(card=VALUE),
        await constraint.defer_async(card=VALUE),
    ]
    await drain(app)
    jobs = [await app.job_manager.get_job_async(id_) for id_ in ids]
    assert [job.status.value for job in jobs] == ["succeeded", "failed", "succeeded", "failed"]
    assert pay.result(jobs[0]) == VALUE
    assert VALUE not in told.all()


async def test_a_timeout_says_so_and_not_what_it_interrupted(
    app: App, told: Told, drain: Drain
) -> None:
    @app.task(name="pay", encrypted=True, timeout=0.05)
    async def pay(card: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError(card) from None

    job_id = await pay.defer_async(card=VALUE)
    await drain(app)
    [attempt] = await app.job_manager.list_failed_attempts_async(job_id)
    assert "ran longer than the 0.05 s" in attempt.error_message
    assert VALUE not in told.all()


async def test_stored_arguments_that_do_not_fit_tell_no_value(
    app: App, told: Told, drain: Drain, database_url: str
) -> None:
    @app.task(name="pay", encrypted=True)
    def pay(card: str) -> None: ...

    async with App(database_url, encryption_keys=[KEY]) as later:
        # One that is encrypted no more, with another type; and one with other names, as of newer code.
        @later.task(name="pay")
        def pay_by_number(card: int) -> None: ...

        later.telemetry.subscribe(Event, told.events.append)
        job_id = await pay.defer_async(card=VALUE)
        await drain(later)
        [attempt] = await app.job_manager.list_failed_attempts_async(job_id)
        assert "argument 'card' got what does not fit it" in attempt.error_message

    async with App(database_url, encryption_keys=[KEY]) as older:

        @older.task(name="pay")
        def pay_by_name(name: str) -> None: ...

        older.telemetry.subscribe(Event, told.events.append)
        job_id = await pay.defer_async(card=VALUE)
        await drain(older, unknown_job_timeout=0.1)
        kinds = [a.error_type for a in await app.job_manager.list_failed_attempts_async(job_id)]
        assert kinds[0] == "taskq.exceptions.JobGivenBack"
    assert VALUE not in told.all()


async def test_a_periodic_task_may_be_encrypted(app: App, told: Told, start: Start) -> None:
    ticks: list[int] = []

    @app.periodic(cron="* * * * * *", task_kwargs={"card": VALUE})
    @app.task(name="pay", encrypted=True)
    def pay(timestamp: int, card: str) -> None:
        ticks.append(timestamp)

    await start(app)
    await until(lambda: ticks, "a tick")
    assert VALUE not in told.all()


async def test_a_job_whose_key_the_worker_lacks_waits_for_one_that_has_it(
    app: App, told: Told, start: Start, database_url: str
) -> None:
    seen: list[str] = []

    @app.task(name="pay", encrypted=True)
    def pay(card: str) -> None:
        seen.append(card)

    async with App(database_url, encryption_keys=[OTHER_KEY]) as stranger:
        other = stranger.task(name="pay", encrypted=True)(pay.func)
        job_id = await pay.defer_async(card=VALUE)
        own = await other.defer_async(card="another")
        worker = await start(stranger)
        given_back = "SELECT FROM taskq_jobs WHERE id = %s AND given_back = 1 AND status = 'todo'"
        await until(
            lambda: told.connection.execute(given_back, [job_id]).fetchone() is not None,
            "a job that was given back",
        )
        await until(lambda: seen == ["another"], "a job of its own")
        worker.stop()
        assert await stranger.job_manager.get_job_status_async(own) is not JobStatus.FAILED
        [attempt] = await app.job_manager.list_failed_attempts_async(job_id)
        assert attempt.error_type == "taskq.exceptions.JobGivenBack"
        assert "none of the app's encryption keys decrypts it" in attempt.error_message
        await start(app)
        await until(lambda: seen == ["another", VALUE], "the job")
    assert VALUE not in told.all()


@pytest.mark.parametrize("keys", [[OTHER_KEY], []], ids=["another key", "no keys"])
async def test_a_job_that_no_worker_has_a_key_for_fails_alone(
    app: App, drain: Drain, database_url: str, keys: list[str]
) -> None:
    @app.task(name="pay", encrypted=True)
    def pay(card: str) -> None: ...

    job_id = await pay.defer_async(card=VALUE)
    async with App(database_url, encryption_keys=keys) as stranger:
        # Not encrypted any more, or else it would not begin without keys.
        @stranger.task(name="pay")
        def pay_in_plain(card: str) -> None: ...

        plain = await pay_in_plain.defer_async(card="x")
        await drain(stranger, unknown_job_timeout=0)
        manager = stranger.job_manager
        assert await manager.get_job_status_async(plain) is JobStatus.SUCCEEDED
        assert await manager.get_job_status_async(job_id) is JobStatus.FAILED
        [attempt] = await manager.list_failed_attempts_async(job_id)
        assert attempt.error_type == (
            "taskq.exceptions.UnknownEncryptionKey"
            if keys
            else "taskq.exceptions.EncryptionUnavailable"
        )


async def test_a_token_that_was_moved_to_another_task_fails_its_job(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    ran: list[str] = []

    @app.task(name="pay", encrypted=True)
    def pay(amount: int) -> None:
        ran.append("pay")

    @app.task(name="refund", encrypted=True)
    def refund(amount: int) -> None:
        ran.append("refund")

    ids = [await pay.defer_async(amount=1), await refund.defer_async(amount=1_000)]
    connection.execute(
        "UPDATE taskq_jobs SET args = (SELECT args FROM taskq_jobs WHERE id = %s) WHERE id = %s",
        ids,
    )
    await drain(app)
    assert ran == ["pay"]
    [(kind, _)] = await errors_of(app, ids[1])
    assert kind == "taskq.exceptions.CiphertextMisplaced"


async def test_jobs_of_before_and_after_the_task_was_encrypted_run(
    app: App, told: Told, drain: Drain, database_url: str
) -> None:
    seen: list[str] = []

    @app.task(name="pay", encrypted=True, store_result=True)
    def pay(card: str) -> str:
        seen.append(card)
        return card

    async with App(database_url, encryption_keys=[KEY]) as plain_app:
        plain = plain_app.task(name="pay", store_result=True)(pay.func)
        plain_app.telemetry.subscribe(Event, told.events.append)
        before = await plain.defer_async(card="of before")
        await drain(app)
        after = await pay.defer_async(card=VALUE)
        await drain(plain_app)
        jobs = [await app.job_manager.get_job_async(id_) for id_ in (before, after)]
        assert seen == ["of before", VALUE]
        assert jobs[0].task_kwargs == {"card": "of before"}
        assert [plain.result(job) for job in jobs] == ["of before", VALUE]
        assert all(is_encrypted(job.result) for job in jobs)
    assert VALUE not in told.all()


async def test_a_job_claimed_while_keys_are_rotated_is_left_alone(
    app: App, connection: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskq import queries  # noqa: PLC0415
    from taskq.encryption import Keyring  # noqa: PLC0415

    @app.task(name="pay", encrypted=True)
    def pay(card: str) -> None: ...

    ids = [await pay.defer_async(card=VALUE) for _ in range(2)]
    rotated = Keyring.rotated

    def claimed_meanwhile(keyring: Keyring, stored: object) -> Any:
        connection.execute(
            "UPDATE taskq_jobs SET status = 'doing', worker_id = 1 WHERE id = %s", ids[:1]
        )
        return rotated(keyring, stored)

    monkeypatch.setattr(Keyring, "rotated", claimed_meanwhile)
    before = await app.job_manager.get_job_async(ids[0])
    async with App(database_url, encryption_keys=[OTHER_KEY, KEY]) as both:
        rotation = await both.job_manager.rotate_encryption_keys_async()
    assert rotation == queries.job_encryption.Rotation(jobs=1, running=1, unknown=0)
    after = await app.job_manager.get_job_async(ids[0])
    assert json.dumps(after.task_kwargs) == json.dumps(before.task_kwargs)


async def test_a_worker_hears_of_jobs_that_a_rotation_has_held(
    app: App, connection: psycopg.Connection, start: Start, database_url: str
) -> None:
    seen: list[str] = []

    @app.task(name="pay", encrypted=True)
    def pay(card: str) -> None:
        seen.append(card)

    ids = [
        await pay.configure(schedule_in={"hours": 1}).defer_async(card="plain"),
        await pay.configure(schedule_in={"hours": 1}, lock="l").defer_async(card="with a lock"),
    ]
    async with App(database_url, encryption_keys=[OTHER_KEY, KEY]) as both:
        both.task(name="pay", encrypted=True)(pay.func)
        await start(both, fetch_job_polling_interval=600)
        # Ready, and no worker was told: as they are for a claim that passed over them.
        connection.execute(
            "UPDATE taskq_jobs SET due = true, scheduled_at = now() WHERE id = ANY(%s)", [ids]
        )
        rotation = await both.job_manager.rotate_encryption_keys_async()
        assert rotation.jobs + rotation.running == 2
        await until(lambda: set(seen) == {"plain", "with a lock"}, "both jobs")


async def test_errors_of_a_job_that_was_deferred_in_plain_are_concealed_as_well(
    app: App, told: Told, drain: Drain, database_url: str
) -> None:
    app.task(name="pay", encrypted=True)(fail)
    async with App(database_url) as plain:
        job_id = await plain.configure_task("pay").defer_async(card="4222")
    await drain(app)
    [(kind, message)] = await errors_of(app, job_id)
    assert (kind, "4222" in message) == ("ValueError", False)
    assert "4222" not in "".join(map(_shown, told.events)).replace("{'card': '4222'}", "")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_would_have_ended_the_event_loop_tells_no_value(
    database_url: str,
    connection: psycopg.Connection,
    caplog: pytest.LogCaptureFixture,
    kind: type[BaseException],
) -> None:
    caplog.set_level(logging.DEBUG)
    with App(database_url, encryption_keys=[KEY]) as app:
        told = Told(connection, caplog)
        app.telemetry.subscribe(Event, told.events.append)

        @app.task(name="pay", encrypted=True)
        async def pay(card: str) -> None:
            raised = asyncio.Event()

            def fail_in_a_callback() -> None:
                raised.set()
                raise kind(card)

            asyncio.get_running_loop().call_soon(fail_in_a_callback)
            await raised.wait()

        pay.defer(card=VALUE)
        app.run_worker(wait=False, install_signal_handlers=False)
    assert any(type(event).__name__ == "LoopInterrupted" for event in told.events)
    assert VALUE not in told.all()
