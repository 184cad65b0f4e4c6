"""What a task may not do with its transaction, and what it is told."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from taskq import App, InvalidTransaction, JobContext, JobStatus, TaskqException
from taskq.exceptions import InvalidJob, InvalidSignature
from tests.worker.conftest import Drain, errors_of
from tests.worker.effects import Effects, Tasks, leave, leave_async

Misuse = Callable[[JobContext, Connection], Any]


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    return driver  # type: ignore[no-any-return]


async def told(app: App, job_id: int) -> str:
    """The one error of a job's one attempt, which is of taskq's own kind."""
    [(kind, message)] = await errors_of(app, job_id)
    assert kind == "taskq.exceptions.InvalidTransaction"
    return message


async def test_a_second_transaction_is_refused(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "once")
        context.transaction()

    refused: list[str] = []

    def again(context: JobContext) -> None:
        with pytest.raises(InvalidTransaction) as error:
            context.transaction()
        refused.append(str(error.value))

    def once(context: JobContext, connection: Connection) -> None:
        leave(connection, "once")

    within = await tasks.block(work).defer_async()
    await drain(app)
    assert "has had its transaction" in await told(app, within)
    assert effects() == []
    after = await tasks.block(once, afterwards=again, name="after").defer_async()
    await drain(app)
    assert await app.job_manager.get_job_status_async(after) is JobStatus.SUCCEEDED
    assert "do all in one block" in refused[0]
    assert effects() == ["once"]


async def test_a_transaction_cannot_be_entered_twice(
    app: App, drain: Drain, effects: Effects
) -> None:
    @app.task(pass_context=True)
    def pay(context: JobContext) -> None:
        transaction = context.transaction()
        with transaction as connection:
            leave(connection, "paid")
        with transaction:
            pass

    job_id = await pay.defer_async()
    await drain(app)
    # It was committed, with which the job has succeeded.
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED
    assert effects() == ["paid"]


async def test_a_block_in_a_task_that_is_one_is_refused(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")
        context.transaction()

    job_id = await tasks.whole(work).defer_async()
    await drain(app)
    assert "use context.connection" in await told(app, job_id)
    assert effects() == []


async def test_a_block_in_a_task_that_stores_its_result_is_refused(
    app: App, drain: Drain, tasks: Tasks
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        raise AssertionError

    job_id = await tasks.block(work, store_result=True).defer_async()
    await drain(app)
    assert "declare the task with transaction=True beside store_result=True" in await told(
        app, job_id
    )


async def test_a_connection_outside_of_a_transaction_is_refused(app: App, drain: Drain) -> None:
    @app.task(pass_context=True)
    def pay(context: JobContext) -> None:
        context.connection.execute(text("SELECT 1"))

    job_id = await pay.defer_async()
    await drain(app)
    assert "is in no transaction: declare its task with transaction=True" in await told(app, job_id)


def commits(context: JobContext, connection: Connection) -> None:
    connection.commit()


def rolls_back(context: JobContext, connection: Connection) -> None:
    connection.rollback()


def rolls_a_session_back(context: JobContext, connection: Connection) -> None:
    Session(connection).rollback()


def session_that_rolls_back(context: JobContext, connection: Connection) -> None:
    session = Session(connection)
    leave(session.connection(), "session")
    session.rollback()


def closes(context: JobContext, connection: Connection) -> None:
    connection.close()


def says_commit(context: JobContext, connection: Connection) -> None:
    connection.execute(text("COMMIT"))


def says_commit_and_goes_on(context: JobContext, connection: Connection) -> None:
    connection.execute(text("COMMIT"))
    leave(connection, "more")


def goes_on_in_autocommit(context: JobContext, connection: Connection) -> None:
    with pytest.raises(InvalidRequestError, match="isolation_level may not be altered"):
        Session(connection.execution_options(isolation_level="AUTOCOMMIT"))
    raise InvalidTransaction("as SQLAlchemy says")


def catches_an_error_of_the_database(context: JobContext, connection: Connection) -> None:
    with pytest.raises(Exception, match="division by zero"):
        connection.execute(text("SELECT 1 / 0"))


BY_HAND = "the task itself ended its transaction"


@pytest.mark.parametrize(
    ("misuse", "message", "left"),
    [
        (commits, "leave the commit to the end of the block", []),
        (rolls_back, BY_HAND, []),
        (session_that_rolls_back, BY_HAND, []),
        (closes, BY_HAND, []),
        (goes_on_in_autocommit, "as SQLAlchemy says", []),
        # What goes past all that could know of it is at least said, and not taken for one commit.
        (says_commit, BY_HAND, ["paid"]),
        (says_commit_and_goes_on, BY_HAND, ["paid"]),
        (catches_an_error_of_the_database, "do what may fail in a savepoint", []),
    ],
)
async def test_a_transaction_that_the_task_ended_itself_is_no_end_of_the_job(
    app: App,
    drain: Drain,
    tasks: Tasks,
    effects: Effects,
    misuse: Misuse,
    message: str,
    left: list[str],
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")
        misuse(context, connection)

    job_id = await tasks.block(work).defer_async()
    await drain(app)
    assert message in await told(app, job_id)
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.FAILED
    assert effects() == left


async def test_a_session_that_rolls_back_nothing_leaves_the_transaction(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")
        rolls_a_session_back(context, connection)

    await tasks.block(work).defer_async()
    await drain(app)
    assert effects() == ["paid"]


async def test_the_wrong_kind_of_block_says_which_is_right(app: App, drain: Drain) -> None:
    @app.task(pass_context=True)
    async def blocks(context: JobContext) -> None:
        with context.transaction():
            raise AssertionError

    @app.task(pass_context=True)
    def loops(context: JobContext) -> None:
        async def inner() -> None:
            async with context.transaction():
                raise AssertionError

        asyncio.run(inner())

    one, two = await blocks.defer_async(), await loops.defer_async()
    await drain(app)
    assert "write `async with context.transaction()`" in await told(app, one)
    assert "write `with context.transaction()`" in await told(app, two)


async def test_an_async_task_may_have_its_transaction_in_a_thread(
    app: App, drain: Drain, effects: Effects
) -> None:
    @app.task(pass_context=True)
    async def pay(context: JobContext) -> None:
        def work() -> None:
            with context.transaction() as connection:
                leave(connection, "paid")

        await asyncio.to_thread(work)

    job_id = await pay.defer_async()
    await drain(app)
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED
    assert effects() == ["paid"]


async def test_a_whole_attempt_that_returns_what_is_still_to_be_awaited_is_refused(
    app: App, drain: Drain, effects: Effects
) -> None:
    def plain(function: Callable[..., Any]) -> Callable[[JobContext], Any]:
        def wrapped(context: JobContext) -> Any:
            return function(context)

        return wrapped

    @app.task(pass_context=True, transaction=True)
    @plain
    async def pay(context: JobContext) -> None:
        await leave_async(context.connection, "paid")

    job_id = await pay.defer_async()
    await drain(app)
    assert "declare it with async def" in await told(app, job_id)
    assert effects() == []


async def test_a_database_that_is_not_the_workers_is_refused(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, bare_url: str
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    replaced = app.replace_database(bare_url)
    task = tasks.block(work, before=lambda _: replaced.__enter__())
    job_id = await task.defer_async()
    await drain(app)
    replaced.__exit__()
    message = await told(app, job_id)
    assert "the app was put on another database" in message
    assert "postgres:postgres" not in message
    assert effects() == []


def noop(context: JobContext) -> None: ...


def test_a_context_of_ones_own_has_no_transaction(app: App) -> None:
    context: Any = JobContext(
        app=app,
        job=None,  # type: ignore[arg-type]
        task=None,  # type: ignore[arg-type]
        worker_name="",
        worker_queues=None,
        start_timestamp=0,
    )
    uses: list[Callable[[], object]] = [context.transaction, lambda: context.connection]
    for use in uses:
        with pytest.raises(InvalidTransaction, match="run the task by a worker"):
            use()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"transaction": True}, InvalidSignature, "pass_context=True as well"),
        ({"transaction": "yes", "pass_context": True}, InvalidJob, "transaction='yes': give True"),
        ({"transactions": True}, InvalidJob, "did you mean 'transaction'?"),
    ],
)
def test_a_task_that_could_not_use_its_transaction_is_refused(
    app: App, options: Any, error: type[TaskqException], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        app.task(**options)(noop)  # type: ignore[no-untyped-call]
