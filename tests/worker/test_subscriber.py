"""Workers of one process are notified by one connection."""

import asyncio
import threading

import psycopg
import pytest

from taskq import App
from tests.worker.conftest import Start, idle, until

LISTENING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND state = 'idle' AND query LIKE '%%taskq_listen()%%' AND pid <> pg_backend_pid() "
    "AND application_name = %s"
)


def listening(connection: psycopg.Connection, application_name: str = "") -> int:
    [sessions] = connection.execute(LISTENING.encode(), [application_name]).fetchone() or (0,)
    return int(sessions)


@pytest.mark.parametrize("past_pooler", [False, True])
async def test_two_workers_of_an_app_share_one_listening_connection(
    app: App,
    start: Start,
    database_url: str,
    connection: psycopg.Connection,
    past_pooler: bool,
) -> None:
    """And the one goes on being notified when the other has stopped."""
    ran: asyncio.Queue[None] = asyncio.Queue()

    @app.task
    async def note() -> None:
        ran.put_nowait(None)

    name = "ears" if past_pooler else ""
    own = {"listen_database": f"{database_url}&application_name=ears"} if past_pooler else {}
    options = {**own, "fetch_job_polling_interval": 60}
    first, second = (
        await start(app, queues=["one"], **options),
        await start(app, queues=["two"], **options),
    )
    assert listening(connection, name) == 1

    async def is_notified(queue: str) -> None:
        await note.configure(queue=queue).defer_async()
        # Without a notification it would take a minute.
        async with asyncio.timeout(15):
            await ran.get()

    for worker in (first, second):
        await idle(worker)
    await is_notified("one")
    await is_notified("two")
    first.stop()
    await until(
        lambda: connection.execute("SELECT count(*) = 1 FROM taskq_workers").fetchone() == (True,),
        "the end of the first",
    )
    assert listening(connection, name) == 1
    await is_notified("two")
    second.stop()
    await until(lambda: listening(connection, name) == 0, "the end of the connection")


async def test_a_worker_in_a_thread_shares_it_too_and_ends_alone(
    app: App, start: Start, connection: psycopg.Connection
) -> None:
    ran: list[str] = []

    @app.task(queue="here")
    async def here() -> None:
        ran.append(threading.current_thread().name)

    @app.task(queue="elsewhere")
    async def elsewhere() -> None:
        ran.append(threading.current_thread().name)

    await start(app, queues=["here"], fetch_job_polling_interval=60)
    other = app.worker(
        queues=["elsewhere"], fetch_job_polling_interval=60, install_signal_handlers=False
    )
    thread = threading.Thread(
        target=lambda: asyncio.run(other.run()), name="elsewhere", daemon=True
    )
    thread.start()
    await elsewhere.defer_async()
    await until(lambda: ran == ["elsewhere"], "its first job")
    await here.defer_async()
    await elsewhere.defer_async()
    await until(lambda: len(ran) == 3, "a job of each")
    assert ran.count("elsewhere") == 2
    assert listening(connection) == 1
    other.stop()
    await asyncio.to_thread(thread.join, 15)
    assert not thread.is_alive()
    await here.defer_async()
    await until(lambda: len(ran) == 4, "a job of the one that is left")
    assert listening(connection) == 1
