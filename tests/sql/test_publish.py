"""taskq_publish: an event by SQL, as from a trigger or another language."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import InvalidParameterValue

from taskq import App, Limit
from taskq.job import Job
from taskq.queries.subscriptions import declare_subscriptions
from tests.sql.conftest import Notified

PAID = "order.paid"
TENANT = Limit("tenant", concurrency=2, by=["account", "country"])


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    """The app of a program whose workers have declared their subscriptions."""
    with App(database_url) as app:

        @app.on(PAID)
        @app.task(name="thank", queue="mail", priority=3, lock="mails", tags=["mail"])
        def thank(**arguments: object) -> None: ...

        @app.on(PAID, limit=TENANT, metadata={"by": "billing"})
        @app.task(name="bill")
        def bill(account: object, country: str = "at:1", **others: object) -> None: ...

        @app.on(PAID)
        @app.task(name="count", queueing_lock="count")
        def count(**arguments: object) -> None: ...

        @app.on("order.lost")
        @app.task(name="regret")
        def regret() -> None: ...

        with app.database.engine.connect() as connection:
            declare_subscriptions(
                connection, [each.declared for each in app.subscribers], declared_by="w"
            )
        yield app


def publish(connection: psycopg.Connection, event: str | None, args: object) -> list[int]:
    return [
        id_
        for id_, _ in connection.execute(
            "SELECT * FROM taskq_publish(%s, %s)", [event, json.dumps(args)]
        )
    ]


def given(job: Job) -> dict[str, Any]:
    """What a job was deferred with."""
    names = ("task_name", "task_kwargs", "queue", "priority", "lock", "limit_key", "metadata")
    return {name: getattr(job, name) for name in (*names, "tags", "queueing_lock")}


@pytest.mark.parametrize(
    ("account", "key"),
    [
        ("acme", "acme"),
        (r"a:\c", r"a\:\\c"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ([1, "x:", []], r'[1,"x\:",[]]'),
        ({"b": None, "aa": {"é": '"\n'}, "c": {}}, None),
    ],
)
def test_each_subscriber_gets_the_job_that_an_app_makes_which_knows_it(
    app: App, connection: psycopg.Connection, account: Any, key: str | None
) -> None:
    arguments = {"account": account, "order_id": 7}
    ids = publish(connection, PAID, arguments)
    jobs = [app.job_manager.get_job(id_) for id_ in ids]
    assert [job.task_name for job in jobs] == ["bill", "count", "thank"]
    if key is not None:
        assert jobs[0].limit_key == f"tenant:{key}:at\\:1"
    connection.execute("UPDATE taskq_jobs SET status = 'cancelled', finished_at = now()")
    known = [app.job_manager.get_job(id_) for id_ in app.publish(PAID, **arguments)]
    assert [given(job) for job in jobs] == [given(job) for job in known]


def test_without_a_subscriber_or_arguments_it_is_an_event_all_the_same(
    app: App, connection: psycopg.Connection, notified: Notified
) -> None:
    assert publish(connection, "order.found", {"order_id": 7}) == []
    assert notified() == []
    [(job_id,)] = connection.execute("SELECT id FROM taskq_publish('order.lost')")
    assert given(app.job_manager.get_job(job_id))["task_kwargs"] == {}
    assert len(notified()) == 1


def test_one_whose_queueing_lock_is_taken_is_left_out(
    app: App, connection: psycopg.Connection
) -> None:
    assert len(publish(connection, PAID, {"account": 1})) == 3
    again = publish(connection, PAID, {"account": 1})
    assert [app.job_manager.get_job(id_).task_name for id_ in again] == ["bill", "thank"]


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("event", [PAID, "order.found"])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([7], "as a JSON object, not as array"),
        ("x", "as a JSON object, not as string"),
        (None, "as a JSON object, not as null"),
    ],
)
def test_arguments_without_names_are_refused_whether_anyone_subscribes_or_not(
    connection: psycopg.Connection, event: str, args: object, message: str
) -> None:
    with pytest.raises(InvalidParameterValue, match=f"'{event}' {message}"):
        publish(connection, event, args)


@pytest.mark.parametrize("args", [{"account": 1}, {}])
def test_metadata_are_given_to_each_job_but_for_what_its_subscriber_has_declared(
    app: App, connection: psycopg.Connection, args: dict[str, Any]
) -> None:
    metadata = {"tenant": {"name": "acmé"}, "by": "shop", "event": "another"}
    connection.execute(
        "SELECT taskq_publish(%s, %s, %s)", [PAID, json.dumps(args), json.dumps(metadata)]
    )
    found = {job.task_name: job.metadata for job in app.job_manager.list_jobs()}
    of_event = {"tenant": {"name": "acmé"}, "event": PAID}
    assert found == {
        "bill": {**of_event, "by": "billing"},
        "count": {**of_event, "by": "shop"},
        "thank": {**of_event, "by": "shop"},
    }


def test_a_subscription_without_metadata_takes_those_of_the_event(
    app: App, connection: psycopg.Connection
) -> None:
    """As one that was written by hand."""
    for options in ({"metadata": None}, {}):
        connection.execute(
            "UPDATE taskq_subscriptions SET options = %s WHERE task_name = 'regret'",
            [json.dumps(options)],
        )
        connection.execute("SELECT taskq_publish('order.lost', metadata => '{\"tenant\": 7}')")
    assert [job.metadata for job in app.job_manager.list_jobs()] == [{"tenant": 7}] * 2


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("event", [PAID, "order.found"])
@pytest.mark.parametrize(("metadata", "kind"), [("[]", "array"), ("7", "number"), (None, "null")])
def test_metadata_without_names_are_refused_whether_anyone_subscribes_or_not(
    connection: psycopg.Connection, event: str, metadata: str | None, kind: str
) -> None:
    with pytest.raises(
        InvalidParameterValue,
        match=f"the metadata of event '{event}' as a JSON object, not as {kind}",
    ):
        connection.execute("SELECT taskq_publish(%s, metadata => %s)", [event, metadata])


@pytest.mark.parametrize("event", [None, "", "x" * 501])
def test_what_no_event_is_called_is_refused(
    connection: psycopg.Connection, event: str | None
) -> None:
    with pytest.raises(InvalidParameterValue, match="taskq_publish: no event is called"):
        publish(connection, event, {})


def test_all_get_a_job_or_none(app: App, connection: psycopg.Connection) -> None:
    with pytest.raises(InvalidParameterValue, match="of 513 characters"):
        publish(connection, PAID, {"account": "x" * 500})
    assert app.job_manager.count_jobs() == {}


def test_a_trigger_publishes_in_its_transaction_from_wherever_it_is(
    app: App, connection: psycopg.Connection
) -> None:
    connection.execute(
        """
        CREATE SCHEMA shop;
        CREATE TABLE shop.orders (id bigint PRIMARY KEY, account text);
        CREATE FUNCTION shop.paid() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM public.taskq_publish('order.paid', to_jsonb(NEW));
            RETURN NULL;
        END $$;
        CREATE TRIGGER paid AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.paid();
        SET search_path TO shop
        """
    )
    with connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO orders VALUES (1, 'acme')")
    assert app.job_manager.count_jobs() == {}
    connection.execute("INSERT INTO orders VALUES (2, 'acme')")
    jobs = app.job_manager.list_jobs(task="bill").jobs
    assert [job.task_kwargs for job in jobs] == [{"id": 2, "account": "acme"}]
