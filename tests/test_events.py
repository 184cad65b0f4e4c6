"""Published events: who subscribes, and what each subscriber gets."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from taskq import App, Blueprint, Job, JobDraft, JobStatus, Limit, Task, queries
from taskq.exceptions import (
    InvalidArguments,
    InvalidDatabase,
    InvalidJob,
    InvalidName,
    InvalidSubscription,
)
from taskq.queries.subscriptions import NewSubscription
from tests.conftest import Face
from tests.manager.callers import ASYNC, SYNC, Caller, libpq

PAID = "order.paid"


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as opened:
        yield opened


@pytest.fixture
def other(database_url: str) -> Iterator[App]:
    """The app of another program."""
    with App(database_url) as opened:
        yield opened


def declare(app: App, by: str = "w") -> list[tuple[str, str]]:
    """Write what an app subscribes to, as its worker does."""
    declared: list[NewSubscription] = [each.declared for each in app.subscribers]
    with app.database.engine.begin() as connection:
        return queries.subscriptions.declare_subscriptions(connection, declared, declared_by=by)


async def publish(by: Face | Caller, app: App, event: str, /, **arguments: Any) -> list[int]:
    if isinstance(by, Caller):
        arguments["connection"] = by.connection
    if by.is_async:
        return await app.publish_async(event, **arguments)
    return app.publish(event, **arguments)


def jobs_of(app: App, ids: list[int]) -> list[Job]:
    return [app.job_manager.get_job(id_) for id_ in ids]


# Declaring


def test_what_no_event_is_called_is_refused_and_nothing_is_sent() -> None:
    app = App("postgresql://nobody@127.0.0.1:1/nothing")
    task = app.task(name="task")(lambda: None)
    for name in ("", "x" * 501, "a\0b", 3, None):
        with pytest.raises(InvalidName, match="no event is called="):
            app.publish(name)  # type: ignore[arg-type]
        with pytest.raises(InvalidName, match="no event is called="):
            app.on(name)(task)  # type: ignore[arg-type]
        with pytest.raises(InvalidName, match="no event is called="):
            app.job_manager.list_subscriptions("" if name is None else name)  # type: ignore[arg-type]
        with pytest.raises(InvalidName, match="no event is called="):
            app.job_manager.remove_subscription(name, "x")  # type: ignore[arg-type]
    with pytest.raises(InvalidName, match="no task is called="):
        app.job_manager.remove_subscription(PAID, "")


def test_what_cannot_subscribe_is_refused() -> None:
    app, blueprint = App("postgresql://"), Blueprint()

    @app.task(name="pay")
    def pay(order_id: int) -> None: ...

    @app.task(name="connects")
    def connects(connection: str) -> None: ...

    @app.task(name="may connect")
    def may_connect(connection: str = "") -> None: ...

    with pytest.raises(
        InvalidSubscription, match=r"is no task: write @app\.on\('order.paid'\) above @app\.task"
    ):
        app.on(PAID)(lambda: None)  # type: ignore[arg-type]

    @app.task(name="secret", encrypted=True)
    def secret(order_id: int) -> None: ...

    with pytest.raises(InvalidSubscription, match="'secret' is encrypted, and an event's jobs may"):
        app.on(PAID)(secret)
    with pytest.raises(
        InvalidSubscription, match="task 'connects' needs an argument 'connection', which no"
    ):
        app.on(PAID)(connects)
    app.on(PAID)(may_connect)
    app.on(PAID)(pay)
    with pytest.raises(InvalidSubscription, match=r"task 'pay' subscribes to 'order\.paid' twice"):
        app.on(PAID)(pay)
    with pytest.raises(InvalidSubscription, match="task 'pay' is declared elsewhere"):
        blueprint.on(PAID)(pay)
    with pytest.raises(InvalidJob, match="task 'pay' cannot subscribe to 'x' with 'schedule_in'"):
        app.on("x", schedule_in=3)(pay)  # type: ignore[call-arg]
    with pytest.raises(InvalidJob, match="priority='high'"):
        app.on("x", priority="high")(pay)  # type: ignore[arg-type]
    assert [(each.event, each.task) for each in app.subscribers] == [
        (PAID, may_connect),
        (PAID, pay),
    ]


# Publishing


async def test_an_event_without_a_subscriber_answers_an_empty_list(app: App, face: Face) -> None:
    assert await publish(face, app, PAID, order_id=7) == []
    assert app.job_manager.count_jobs() == {}


async def test_each_task_that_subscribes_gets_one_job_in_the_order_of_names(
    app: App, face: Face
) -> None:
    @app.on("order.refunded")
    @app.on(PAID)
    @app.task(name="z", queue="mail", priority=3, metadata={"by": "shop"})
    def thank(order_id: int) -> None: ...

    @app.on(PAID, queue="slow", lock="books", metadata=None)
    @app.task(name="a", priority=1, metadata={"by": "shop"})
    def book(order_id: int, **others: int) -> None: ...

    @app.task(name="b")
    def bystander(order_id: int) -> None: ...

    first, second = jobs_of(app, await publish(face, app, PAID, order_id=7))
    assert (first.task_name, first.queue, first.priority, first.lock) == ("a", "slow", 1, "books")
    assert (second.task_name, second.queue, second.priority, second.lock) == ("z", "mail", 3, None)
    assert first.task_kwargs == second.task_kwargs == {"order_id": 7}
    assert first.metadata == {"event": PAID}
    assert second.metadata == {"by": "shop", "event": PAID}
    [refund] = jobs_of(app, await publish(face, app, "order.refunded", order_id=8))
    assert (refund.task_name, refund.metadata) == ("z", {"by": "shop", "event": "order.refunded"})


async def test_what_does_not_fit_a_subscriber_is_refused_by_its_name_and_no_other_gets_a_job(
    app: App, face: Face
) -> None:
    @app.on(PAID)
    @app.task(name="book")
    def book(**anything: object) -> None: ...

    @app.on(PAID)
    @app.task(name="thank")
    def thank(order_id: int) -> None: ...

    for wrong in ({"order_id": "x"}, {}, {"order_id": 7, "to": "ada"}):
        with pytest.raises(
            InvalidArguments, match=r"event 'order\.paid' .* subscribes to it: task 'thank': "
        ):
            await publish(face, app, PAID, **wrong)
    with pytest.raises(InvalidArguments, match="'book': argument 'x' got <object"):
        await publish(face, app, PAID, x=object())
    assert app.job_manager.count_jobs() == {}


async def test_a_namespace_renames_the_tasks_that_subscribe_and_not_the_event(
    app: App, face: Face
) -> None:
    mails = Blueprint()

    @mails.on(PAID, limit=Limit("mails", concurrency=1))
    @mails.task(name="thank", aliases=["thanks"])
    def thank(order_id: int) -> None: ...

    app.add_tasks_from(mails, namespace="shop")
    assert declare(app) == [(PAID, "shop:thank")]
    assert [limit.name for limit in app.limits] == ["mails"]
    [job] = jobs_of(app, await publish(face, app, PAID, order_id=7))
    assert (job.task_name, job.limit_key) == ("shop:thank", "mails")


async def test_the_names_of_arguments_are_free_but_for_one(app: App, face: Face) -> None:
    @app.on(PAID)
    @app.task(name="any")
    def anything(**arguments: object) -> None: ...

    names = {"event": 1, "self": 2, "name": 3, "arguments": 4}
    [job] = jobs_of(app, await publish(face, app, PAID, **names))
    assert job.task_kwargs == names
    with pytest.raises(
        InvalidDatabase, match=r"connection='x', in whose .* An argument of an event has another"
    ):
        await publish(face, app, PAID, connection="x")


# Among programs


async def test_one_program_publishes_and_another_subscribes(
    app: App, other: App, face: Face
) -> None:
    room = Limit("tenant", concurrency=2, by=["account", "country"])

    @other.on(PAID)
    @other.task(
        name="bill",
        queue="bills",
        priority=-3,
        lock="books",
        limit=room,
        tags=["money"],
        metadata={"by": "billing"},
    )
    def bill(account: str, order_id: int, country: str = "at:1", *, much: float = 0) -> None: ...

    @other.on(PAID, limit=Limit("order", concurrency=1, by="order_id"))
    @other.task(name="pack")
    def pack(order_id: int, account: str) -> None: ...

    assert declare(other) == [(PAID, "bill"), (PAID, "pack")]
    arguments = {"account": r"a:\c", "order_id": 7}
    theirs = jobs_of(app, await publish(face, app, PAID, **arguments))
    own = jobs_of(app, await publish(face, other, PAID, **arguments))
    for published, known in zip(theirs, own, strict=True):
        for field in (
            "task_name",
            "task_kwargs",
            "queue",
            "priority",
            "lock",
            "limit_key",
            "tags",
            "metadata",
        ):
            assert getattr(published, field) == getattr(known, field), field
    assert theirs[0].limit_key == r"tenant:a\:\\c:at\:1"
    assert theirs[0].metadata == {"by": "billing", "event": PAID}
    assert theirs[1].limit_key == "order:7"


async def test_arguments_are_written_as_a_known_subscriber_says_or_as_json_does(
    app: App, other: App, face: Face
) -> None:
    @other.on(PAID)
    @other.task(name="b")
    def theirs(order: UUID, note: object = None) -> None: ...

    declare(other)
    with pytest.raises(InvalidArguments, match=r"event 'order.paid': argument 'order' got UUID"):
        await publish(face, app, PAID, order=UUID(int=7))
    with pytest.raises(
        InvalidArguments, match=r"event 'order.paid' has the name of an argument '\\ud800'"
    ):
        await publish(face, app, PAID, **{"\ud800": 1})
    [job] = jobs_of(app, await publish(face, app, PAID, order=str(UUID(int=7)), note=["é", 1.5]))
    assert job.task_kwargs == {"order": str(UUID(int=7)), "note": ["é", 1.5]}

    @app.on(PAID)
    @app.task(name="a")
    def ours(order: UUID) -> None: ...

    first, second = jobs_of(app, await publish(face, app, PAID, order=UUID(int=7)))
    assert [first.task_name, second.task_name] == ["a", "b"]
    assert first.task_kwargs == second.task_kwargs == {"order": str(UUID(int=7))}


async def test_a_task_that_is_known_and_declared_gets_one_job_also_by_an_earlier_name(
    app: App, other: App, face: Face
) -> None:
    @other.on(PAID)
    @other.task(name="old", queue="before")
    def before(order_id: int) -> None: ...

    declare(other)

    @app.on(PAID)
    @app.task(name="new", aliases=["old"], queue="now")
    def now(order_id: int) -> None: ...

    [job] = jobs_of(app, await publish(face, app, PAID, order_id=7))
    assert (job.task_name, job.queue) == ("new", "now")
    # Also for those who do not know it.
    assert declare(app) == [(PAID, "new")]
    assert [each.task_name for each in app.job_manager.list_subscriptions()] == ["new"]


async def test_a_key_that_no_limit_can_have_is_refused(app: App, other: App, face: Face) -> None:
    @other.on(PAID, limit=Limit("tenant", concurrency=1, by="account"))
    @other.task(name="bill")
    def bill(account: str) -> None: ...

    declare(other)
    with pytest.raises(InvalidJob, match=r"a limit and a limit_key, of 508 characters"):
        await publish(face, app, PAID, account="x" * 10_000)
    assert app.job_manager.count_jobs() == {}


# Locks


async def test_a_subscriber_whose_queueing_lock_is_taken_is_skipped_and_others_are_not(
    app: App, other: App, face: Face
) -> None:
    @app.on(PAID)
    @app.task(name="a", queueing_lock="a")
    def ours(order_id: int) -> None: ...

    @other.on(PAID)
    @other.task(name="b", queueing_lock="b")
    def theirs(order_id: int) -> None: ...

    @other.on(PAID)
    @other.task(name="c")
    def free(order_id: int) -> None: ...

    declare(other)
    first = await publish(face, app, PAID, order_id=7)
    assert [job.task_name for job in jobs_of(app, first)] == ["a", "b", "c"]
    [again] = jobs_of(app, await publish(face, app, PAID, order_id=8))
    assert again.task_name == "c"


# In a caller's transaction


@pytest.fixture(params=[*SYNC, *ASYNC], ids=lambda connect: connect.__name__)
async def caller(
    request: pytest.FixtureRequest, app: App, database_url: str
) -> AsyncIterator[Caller]:
    async with request.param(database_url) as opened:
        yield Caller(app, opened, request.param in ASYNC)


async def test_an_event_is_published_with_the_callers_transaction_or_not_at_all(
    app: App, other: App, caller: Caller
) -> None:
    @app.on(PAID)
    @app.task(name="a")
    def ours(order_id: int) -> None: ...

    @other.on(PAID)
    @other.task(name="b")
    def theirs(order_id: int) -> None: ...

    declare(other)
    ids = await publish(caller, app, PAID, order_id=7)
    assert app.job_manager.count_jobs() == {}
    await caller.commit()
    assert [job.task_name for job in jobs_of(app, ids)] == ["a", "b"]
    await publish(caller, app, PAID, order_id=8)
    await caller.rollback()
    assert app.job_manager.count_jobs() == {
        ("default", name, JobStatus.TODO): 1 for name in ("a", "b")
    }


async def test_many_subscribers_notify_once_for_each_queue(
    app: App, face: Face, database_url: str
) -> None:
    for number in range(50):
        app.on(PAID)(app.task(name=f"task {number}", queue=f"queue {number % 2}")(lambda: None))
    with psycopg.connect(libpq(database_url), autocommit=True) as listener:
        listener.execute("SELECT taskq_listen()")
        assert len(await publish(face, app, PAID)) == 50
        heard = [n.payload for n in listener.notifies(timeout=10, stop_after=2)]
        heard += [n.payload for n in listener.notifies(timeout=0)]
    assert sorted(payload.rpartition(" ")[0].split()[0] for payload in heard) == ["ready", "ready"]
    assert sorted(payload[-7:] for payload in heard) == ["queue 0", "queue 1"]


async def test_it_takes_one_statement(
    app: App, other: App, face: Face, connection: psycopg.Connection
) -> None:
    for number in range(3):
        app.on(PAID)(app.task(name=f"a{number}")(lambda: None))
        other.on(PAID)(other.task(name=f"b{number}")(lambda: None))
    declare(other)
    assert len(await publish(face, app, PAID)) == 6
    # In a transaction of its own, and so by one statement.
    rows = connection.execute("SELECT DISTINCT xmin::text FROM taskq_jobs").fetchall()
    assert len(rows) == 1


# What is in the database


def test_only_what_has_changed_is_declared_anew(app: App, connection: psycopg.Connection) -> None:
    @app.on("order.packed")
    @app.on(PAID)
    @app.task(name="a", metadata={"by": "shop"}, priority=2)
    def task(order_id: int) -> None: ...

    def versions() -> list[Any]:
        return connection.execute("SELECT event, xmin::text FROM taskq_subscriptions").fetchall()

    assert declare(app, "one") == [("order.packed", "a"), (PAID, "a")]
    before = versions()
    assert declare(app, "two") == []
    assert versions() == before
    packed, paid = app.job_manager.list_subscriptions()
    assert (packed.event, paid.event, paid.task_name, paid.queue) == (
        "order.packed",
        PAID,
        "a",
        "default",
    )
    assert paid.options == {"priority": 2, "metadata": {"by": "shop", "event": PAID}}
    assert paid.declared_by == "one"
    connection.execute("UPDATE taskq_subscriptions SET queue_name = 'x' WHERE event = %s", [PAID])
    assert declare(app, "three") == [(PAID, "a")]
    [paid] = app.job_manager.list_subscriptions(PAID)
    assert (paid.queue, paid.declared_by) == ("default", "three")


async def test_subscriptions_are_removed_by_hand(app: App, other: App, face: Face) -> None:
    @other.on(PAID)
    @other.task(name="a")
    def task() -> None: ...

    declare(other)
    if face.is_async:
        assert len(await app.job_manager.list_subscriptions_async()) == 1
        assert await app.job_manager.remove_subscription_async(PAID, "a")
        assert not await app.job_manager.remove_subscription_async(PAID, "a")
    else:
        assert app.job_manager.remove_subscription(PAID, "a")
        assert not app.job_manager.remove_subscription(PAID, "a")
    assert app.job_manager.list_subscriptions() == []
    assert await publish(face, app, PAID) == []


def test_a_task_is_the_same_after_it_subscribes(app: App) -> None:
    @app.on(PAID)
    @app.task
    def task(order_id: int) -> str:
        return str(order_id)

    assert isinstance(task, Task)
    assert task(order_id=3) == "3"
    assert app.job_manager.get_job(task.defer(order_id=3)).metadata is None


def test_the_jobs_of_subscribers_that_are_known_go_through_defer_middleware_and_expire(
    database_url: str,
) -> None:
    def noted(job: JobDraft) -> None:
        job.metadata = {**(job.metadata or {}), "by": "noted"}

    with App(database_url, defer_middleware=noted) as app:
        app.schema_manager.apply_schema()

        @app.on(PAID)
        @app.task(name="thank", expire_in={"hours": 1})
        def thank(order: int) -> None: ...

        [job_id] = app.publish(PAID, order=7)
        job = app.job_manager.get_job(job_id)
    assert job.metadata == {"event": PAID, "by": "noted"}
    assert job.expires_at is not None
