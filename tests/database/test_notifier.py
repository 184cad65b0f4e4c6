"""One listening connection for all that subscribe: in any event loop or thread, or in none."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from queue import Queue

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from taskq.database import Database
from taskq.database.notifications import (
    Abort,
    Ended,
    Failed,
    Later,
    Missed,
    Notification,
    Ready,
    parse,
)
from taskq.exceptions import InvalidDatabase
from taskq.queries import session
from taskq.queries.connection import Connection
from tests.database.test_sessions import in_child

Notify = Callable[[str], None]
Sessions = Callable[[], list[int]]


class Heard:
    """What a subscriber was notified of, in order, whatever thread it is in."""

    def __init__(self) -> None:
        self._queue: Queue[Notification] = Queue()
        self.threads: set[int] = set()

    def __call__(self, notification: Notification) -> None:
        self.threads.add(threading.get_ident())
        self._queue.put(notification)

    def next(self) -> Notification:
        return self._queue.get(timeout=15)

    async def next_async(self) -> Notification:
        return await asyncio.to_thread(self.next)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database.resolve(f"{database_url}&application_name=notifier")
    yield database
    database.close()


@pytest.fixture
def sessions(connection: psycopg.Connection) -> Sessions:
    """The process ids of the database's sessions."""

    def pids() -> list[int]:
        query = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'notifier'"
        )
        return [pid for (pid,) in connection.execute(query)]

    return pids


@pytest.fixture
def notify(connection: psycopg.Connection) -> Notify:
    def notify(payload: str) -> None:
        connection.execute("SELECT pg_notify(taskq_channel(), %s)", [payload])

    return notify


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it did not come about within 15 s"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("payload", "notification"),
    [
        ("ready 815 mail", Ready("mail", "815")),
        ("ready 815 two words ", Ready("two words ", "815")),
        ("later 1700000000.25 mail", Later("mail", 1700000000.25)),
        ("abort 7", Abort(7)),
        ("ended 7", Ended(7)),
        ("abort seven", None),
        ("later soon mail", None),
        ("of a newer version", None),
        ("", None),
    ],
)
def test_payloads_are_typed_and_what_is_unknown_is_none(
    payload: str, notification: Notification | None
) -> None:
    assert parse(payload) == notification


def test_synchronous_code_is_notified_in_the_order_of_the_notifications(
    database: Database, notify: Notify
) -> None:
    heard = Heard()
    with closing(database.notifier.subscribe(heard)):
        assert heard.next() == Missed()
        for payload in ("abort 1", "nonsense", "ready 2 mail"):
            notify(payload)
        assert [heard.next(), heard.next()] == [Abort(1), Ready("mail", "2")]


async def test_subscribers_in_several_loops_and_in_none_share_one_connection(
    database: Database, notify: Notify, sessions: Sessions
) -> None:
    here, elsewhere, nowhere = Heard(), Heard(), Heard()
    leave = asyncio.Event()
    loop_elsewhere: list[asyncio.AbstractEventLoop] = []

    async def subscribe_elsewhere() -> None:
        loop = asyncio.get_running_loop()
        loop_elsewhere.append(loop)
        with closing(database.notifier.subscribe(elsewhere, loop=loop)):
            await leave.wait()

    other = threading.Thread(target=lambda: asyncio.run(subscribe_elsewhere()), daemon=True)
    other.start()
    loop = asyncio.get_running_loop()
    with (
        closing(database.notifier.subscribe(here, loop=loop)),
        closing(database.notifier.subscribe(nowhere)),
    ):
        for heard in (here, elsewhere, nowhere):
            assert await heard.next_async() == Missed()
        assert len(sessions()) == 1
        notify("abort 1")
        for heard in (here, elsewhere, nowhere):
            assert await heard.next_async() == Abort(1)
        assert here.threads == {threading.get_ident()}
        assert elsewhere.threads == {other.ident}
        loop_elsewhere[0].call_soon_threadsafe(leave.set)
        await asyncio.to_thread(other.join, 15)
        notify("abort 2")
        for heard in (here, nowhere):
            assert await heard.next_async() == Abort(2)
    await database.notifier.wait_closed_async()
    wait_for(lambda: not sessions())


def test_a_subscriber_is_called_with_the_kinds_that_it_wants(
    database: Database, notify: Notify
) -> None:
    heard = Heard()
    with closing(database.notifier.subscribe(heard, kinds=[Ended])):
        assert heard.next() == Missed()
        notify("ready 1 mail")
        notify("ended 1")
        assert heard.next() == Ended(1)


def test_a_subscriber_that_comes_later_is_told_that_it_may_have_missed_some(
    database: Database, notify: Notify, sessions: Sessions
) -> None:
    first, second = Heard(), Heard()
    with closing(database.notifier.subscribe(first)):
        first.next()
        with closing(database.notifier.subscribe(second)):
            assert second.next() == Missed()
        # One that leaves leaves the others alone.
        notify("abort 1")
        assert first.next() == Abort(1)
        assert len(sessions()) == 1


def test_all_are_told_when_listening_fails_and_when_it_begins_again(
    database: Database, notify: Notify, sessions: Sessions, connection: psycopg.Connection
) -> None:
    both = Heard(), Heard()
    with (
        closing(database.notifier.subscribe(both[0])),
        closing(database.notifier.subscribe(both[1])),
    ):
        for heard in both:
            heard.next()
        connection.execute("SELECT pg_terminate_backend(%s)", sessions())
        for heard in both:
            assert isinstance(heard.next(), Failed)
            assert heard.next() == Missed()
        notify("abort 1")
        for heard in both:
            assert heard.next() == Abort(1)


def test_a_statement_of_a_subscriber_waits_for_no_notification_and_keeps_none_away(
    database: Database, notify: Notify, sessions: Sessions
) -> None:
    heard = Heard()
    with closing(database.notifier.subscribe(heard, ping_interval=600)) as subscription:
        assert heard.next() == Missed()
        for number in range(20):

            def ask(connection: Connection, number: int) -> None:
                session.ping(connection)
                notify(f"abort {number}")
                session.ping(connection)

            asyncio.run_coroutine_threadsafe(
                subscription.ask(ask, number), subscription.notifier_loop
            ).result(15)
            assert heard.next() == Abort(number)
        notify("abort 20")
        assert heard.next() == Abort(20)
        assert len(sessions()) == 1


def test_notifications_come_also_between_statements_without_a_pause(
    database: Database, notify: Notify
) -> None:
    heard, stop = Heard(), threading.Event()
    with closing(database.notifier.subscribe(heard, ping_interval=600)) as subscription:
        assert heard.next() == Missed()

        async def ask_on() -> None:
            while not stop.is_set():
                await subscription.ask(session.ping)

        asking = asyncio.run_coroutine_threadsafe(ask_on(), subscription.notifier_loop)
        try:
            for number in range(5):
                notify(f"abort {number}")
                assert heard.next() == Abort(number)
        finally:
            stop.set()
            asking.result(15)


def test_a_subscriber_that_fails_keeps_no_other_from_being_notified(
    database: Database, notify: Notify, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()

    def fail(notification: Notification) -> None:
        raise ZeroDivisionError

    notifier = database.notifier
    with closing(notifier.subscribe(fail)), closing(notifier.subscribe(heard)):
        heard.next()
        notify("abort 1")
        assert heard.next() == Abort(1)
    assert {vars(record).get("action") for record in caplog.records} == {"subscriber_failed"}


async def test_a_loop_that_is_blocked_is_given_no_more_than_it_can_take(
    database: Database, notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.database.notifier._MOST_PENDING", 10)
    here, nowhere = Heard(), Heard()
    notifier = database.notifier
    with (
        closing(notifier.subscribe(here, loop=asyncio.get_running_loop())),
        closing(notifier.subscribe(nowhere)),
    ):
        assert await here.next_async() == Missed()
        nowhere.next()
        # Without a turn of this loop.
        for number in range(13):
            notify(f"abort {number}")
            nowhere.next()
        heard = [await here.next_async() for _ in range(3)]
        assert heard == [Missed(), Abort(11), Abort(12)]


def test_a_loop_that_was_closed_without_a_word_does_not_keep_the_connection(
    database: Database, notify: Notify, sessions: Sessions
) -> None:
    loop, heard = asyncio.new_event_loop(), Heard()
    database.notifier.subscribe(heard, loop=loop)
    wait_for(sessions)
    loop.close()

    def is_let_go() -> bool:
        notify("abort 1")
        return not sessions()

    wait_for(is_let_go)


def test_the_last_subscriber_leaves_neither_a_session_nor_a_thread(
    database: Database, sessions: Sessions
) -> None:
    for _ in range(3):
        heard = Heard()
        subscription = database.notifier.subscribe(heard)
        heard.next()
        subscription.close()
        subscription.close()
        database.close()
    wait_for(lambda: not sessions())
    wait_for(lambda: "taskq Notifier" not in {each.name for each in threading.enumerate()})


def test_a_forked_child_listens_by_itself_and_its_parent_goes_on(
    database: Database, notify: Notify, sessions: Sessions
) -> None:
    heard = Heard()
    with closing(database.notifier.subscribe(heard)) as subscription:
        heard.next()
        [session] = sessions()

        def listen() -> None:
            own = Heard()
            with closing(database.notifier.subscribe(own)):
                subscription.close()
                assert own.next() == Missed()
                while own.next() != Abort(1):
                    pass
            database.close()

        child = in_child(listen)
        wait_for(lambda: len(sessions()) == 2)

        def has_ended() -> bool:
            notify("abort 1")
            return os.waitpid(child, os.WNOHANG) == (child, 0)

        wait_for(has_ended)
        wait_for(lambda: sessions() == [session])
        notify("abort 2")
        while heard.next() != Abort(2):
            pass


def test_a_subscriber_does_not_keep_a_process_from_ending(database_url: str) -> None:
    program = f"""
import threading
from taskq.database import Database

heard = threading.Event()
Database.resolve({database_url!r}).notifier.subscribe(lambda _: heard.set())
assert heard.wait(15)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_a_session_of_a_callers_engine_may_be_idle_for_as_long_as_it_likes(
    database_url: str, connection: psycopg.Connection
) -> None:
    connection.execute(
        f"ALTER DATABASE {connection.info.dbname} SET idle_session_timeout = 100".encode()
    )
    database = Database.resolve(create_async_engine(database_url))
    heard = Heard()
    with closing(database.notifier.subscribe(heard)):
        assert heard.next() == Missed()
        connection.execute("SELECT pg_sleep(0.3), pg_notify(taskq_channel(), 'abort 1')")
        assert heard.next() == Abort(1)
    database.notifier.wait_closed()


def test_through_a_pooler_nothing_subscribes(database_url: str) -> None:
    database = Database.resolve(database_url, pooler=True)
    with pytest.raises(InvalidDatabase, match="by a URL past it"):
        _ = database.notifier
    direct = database.direct(database_url)
    assert direct is database.direct(database_url)
    heard = Heard()
    with closing(direct.notifier.subscribe(heard)):
        assert heard.next() == Missed()
    database.close()
