"""What names a database: URLs of SQLAlchemy's kind and of libpq's, with one host or several."""

from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import make_url, text

from taskq import App
from taskq.database.database import Database
from taskq.exceptions import InvalidDatabase

SECRET = "hunter2"  # noqa: S105


def sent(database: str) -> dict[str, Any]:
    """What psycopg is told about where, and as whom."""
    engine = Database.resolve(database, {}).engine
    _, parameters = engine.dialect.create_connect_args(engine.url)
    known = ("host", "port", "user", "password", "dbname", "target_session_attrs")
    return {name: str(parameters[name]) for name in known if parameters.get(name)}


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        (
            "postgresql://a:5432,b:5433/db?target_session_attrs=read-write",
            {
                "host": "a,b",
                "port": "5432,5433",
                "dbname": "db",
                "target_session_attrs": "read-write",
            },
        ),
        (
            f"postgres://u:{SECRET}%40@a,b:5433/db",
            {"host": "a,b", "port": ",5433", "user": "u", "password": f"{SECRET}@", "dbname": "db"},
        ),
        (
            "postgresql+psycopg://u@a,b/db",
            {"host": "a,b", "port": ",", "user": "u", "dbname": "db"},
        ),
        ("postgresql://[::1]:5432,[::2]/db", {"host": "::1,::2", "port": "5432,", "dbname": "db"}),
        ("postgresql://[::1]:5432/db", {"host": "::1", "port": "5432", "dbname": "db"}),
        ("postgresql://%2Fvar%2Frun:5433/db", {"host": "/var/run", "port": "5433", "dbname": "db"}),
        ("postgresql:///db?host=a:1&host=b:2", {"host": "a,b", "port": "1,2", "dbname": "db"}),
        ("postgresql:///db?host=a,b&port=5", {"host": "a,b", "port": "5,5", "dbname": "db"}),
        ("postgresql://:5/db?host=a,b", {"host": "a,b", "port": "5,5", "dbname": "db"}),
        (
            f"host=a,b port=5432 user=u password='{SECRET} 2' dbname=db",
            {
                "host": "a,b",
                "port": "5432,5432",
                "user": "u",
                "password": f"{SECRET} 2",
                "dbname": "db",
            },
        ),
        ("hostaddr=127.0.0.1,127.0.0.2 port=1,2", {"host": "127.0.0.1,127.0.0.2", "port": "1,2"}),
    ],
)
def test_several_hosts_and_sockets_are_named_as_libpq_has_it(
    database: str, expected: dict[str, str]
) -> None:
    assert sent(database) == expected
    assert SECRET not in repr(Database.resolve(database))


@pytest.mark.parametrize(
    "database",
    [
        f"postgresql://u:p@{SECRET}@a,b/d",
        f"postgresql://u:{SECRET}@a,b:x/d",
        f"postgresql://u:{SECRET}@a:1,b:{SECRET}/d",
        f"postgresql://u:{SECRET}@a,b/d?bogus={SECRET}",
        f"host=a bogus={SECRET}",
        f"host=a password='{SECRET}",
    ],
)
def test_what_libpq_would_not_take_is_refused_without_its_password(database: str) -> None:
    with pytest.raises(InvalidDatabase, match="several hosts") as caught:
        Database.resolve(database)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None, "which would show more than the message"


@pytest.fixture
def second_alive(database_url: str) -> str:
    """A URL whose first host is dead and whose second one is the test's server."""
    url = make_url(database_url)
    host, port = str(url.query.get("host") or url.host), url.query.get("port") or url.port
    who = f"{url.username}:{url.password or ''}@"
    there = f"{quote(host, safe='')}:{port or 5432}"
    return f"postgresql://{who}127.0.0.1:1,{there}/{url.database}?target_session_attrs=read-write"


async def test_a_host_that_is_dead_is_passed_over(
    second_alive: str, connection: psycopg.Connection
) -> None:
    app = App(second_alive)
    ran = 0

    @app.task
    async def count() -> None:
        nonlocal ran
        ran += 1

    count.defer()
    await count.defer_async()
    await app.run_worker_async(wait=False, install_signal_handlers=False)
    assert ran == 2
    await app.close_async()


async def test_a_host_that_only_reads_is_passed_over(
    second_alive: str, connection: psycopg.Connection
) -> None:
    database = Database.resolve(second_alive)
    connection.execute(
        f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on"
    )
    with pytest.raises(Exception, match="read-only"), database.engine.connect() as one:
        one.execute(text("SELECT 1"))
    connection.execute(
        f"ALTER DATABASE {connection.info.dbname} RESET default_transaction_read_only"
    )
    async with database.async_engine.connect() as two:
        assert await two.scalar(text("SELECT current_database()")) == connection.info.dbname
    await database.close_async()
