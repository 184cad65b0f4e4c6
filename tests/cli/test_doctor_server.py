"""What the doctor finds that is the whole server's: on a server of these tests' own."""

import json
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq

from taskq.database.database import Database
from taskq.embedded import EmbeddedServer
from taskq.schema import SchemaManager
from tests.cli.conftest import Taskq

Found = Callable[[str], list[dict[str, Any]]]

PATIENCE = 20  # seconds


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server whose queue of notifications is soon full."""
    folder = Path(tempfile.mkdtemp(prefix="taskq-doctor-"))
    folder.chmod(0o711)
    server = EmbeddedServer(folder)
    try:
        with psycopg.connect(server.start().replace("+psycopg", ""), autocommit=True) as first:
            first.execute("ALTER SYSTEM SET fsync = off")
            first.execute("ALTER SYSTEM SET max_notify_queue_pages = 64")
        server.stop()
        url = server.start()
        database = Database.resolve(url)
        SchemaManager(database).apply_schema()
        database.close()
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def session(url: str) -> Iterator[psycopg.Connection]:
    """An autocommit session."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        yield connection


@pytest.fixture
def found(taskq: Taskq, url: str, monkeypatch: pytest.MonkeyPatch) -> Found:
    """What the doctor finds of one check."""
    monkeypatch.setenv("TASKQ_DATABASE_URL", url)

    def examine(check: str) -> list[dict[str, Any]]:
        done = taskq("doctor", "--json", "--held", "0")
        findings: list[dict[str, Any]] = json.loads(done.stdout)
        critical = any(finding["severity"] == "critical" for finding in findings)
        assert done.exit_code == int(critical), done.output
        return [finding for finding in findings if finding["check"] == check]

    return examine


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process of the server does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def value(session: psycopg.Connection, expression: str) -> Any:
    row = session.execute(f"SELECT {expression}").fetchone()
    assert row
    return row[0]


@contextmanager
def standby(session: psycopg.Connection, slot: str = "") -> Iterator[None]:
    """As much of a standby as tells its primary, once, that it runs a query."""
    info = session.info
    link = pq.PGconn.connect(
        f"host={info.host} port={info.port} user={info.user} dbname={info.dbname} replication=true "
        "application_name=standby".encode()
    )
    try:
        start = value(session, "pg_current_wal_lsn()")
        answer = link.exec_(f"START_REPLICATION {slot} PHYSICAL {start}".encode())
        assert answer.status == pq.ExecStatus.COPY_BOTH, link.error_message
        xmin = int(value(session, "pg_snapshot_xmin(pg_current_snapshot())"))
        link.put_copy_data(b"h" + struct.pack(">qIIII", 0, xmin, 0, 0, 0))
        link.flush()
        yield
    finally:
        link.finish()


def test_a_replication_slot(found: Found, session: psycopg.Connection) -> None:
    value(session, "pg_create_physical_replication_slot('forgotten')")
    try:
        with standby(session, "SLOT forgotten"):
            until(lambda: bool(value(session, "xmin IS NOT NULL FROM pg_replication_slots")))
            # A standby that is a little behind is nothing to speak of.
            assert found("horizon") == []
            session.execute(
                "DO $$ BEGIN FOR i IN 1..100000 LOOP "
                "PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
            )
            [finding] = found("horizon")
            assert finding["severity"] == "warning"
            assert finding["facts"]["active"]
        until(lambda: not value(session, "active FROM pg_replication_slots"))
        [finding] = found("horizon")
        assert finding["severity"] == "critical"
        assert finding["facts"]["replication_slot"] == "forgotten"
        assert finding["facts"]["transactions"] >= 100_000
        assert "pg_drop_replication_slot('forgotten')" in finding["remedy"]
    finally:
        value(session, "pg_drop_replication_slot('forgotten')")
    assert found("horizon") == []


def test_a_standby_without_a_slot(found: Found, session: psycopg.Connection) -> None:
    with standby(session):
        fed = "count(*) FROM pg_stat_replication WHERE backend_xmin IS NOT NULL"
        until(lambda: bool(value(session, fed)))
        [finding] = found("horizon")
        assert finding["facts"]["application"] == "standby"
        assert "hot_standby_feedback" in finding["remedy"]


def test_a_queue_of_notifications_that_fills(
    found: Found, session: psycopg.Connection, url: str
) -> None:
    with psycopg.connect(url.replace("+psycopg", "")) as listener:
        listener.execute("LISTEN anything")
        listener.commit()
        listener.execute("SELECT 'stays'")
        assert found("notifications") == []
        for severity, payloads in (("warning", 16), ("critical", 32)):
            for _ in range(payloads):
                value(session, "pg_notify('anything', repeat('x', 7999))")
            [finding] = found("notifications")
            assert finding["severity"] == severity
            assert finding["facts"]["pid"] == listener.info.backend_pid
            assert finding["facts"]["query"] == "SELECT 'stays'"
        listener.rollback()
    assert found("notifications") == []


def test_autovacuum_that_is_off(found: Found, session: psycopg.Connection) -> None:
    session.execute("ALTER SYSTEM SET autovacuum = off")
    value(session, "pg_reload_conf()")
    until(lambda: bool(value(session, "current_setting('autovacuum') = 'off'")))
    [finding] = found("vacuum")
    assert (finding["severity"], finding["facts"]) == ("critical", {"setting": "autovacuum"})
    session.execute("ALTER SYSTEM RESET autovacuum")
    value(session, "pg_reload_conf()")
    until(lambda: bool(value(session, "current_setting('autovacuum') = 'on'")))
    assert found("vacuum") == []
