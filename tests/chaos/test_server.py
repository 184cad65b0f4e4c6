"""The server restarted, out of connections, out of disk, refusing, and put back to an earlier moment."""

import random
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.chaos.conftest import TIMES, MakeServer, Record, Stage, long_form
from tests.chaos.crew import STALLED_AFTER
from tests.chaos.disks import full, small_disk
from tests.chaos.scene import PATIENCE, Scene
from tests.chaos.server import OWNER, Server

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("mode", [pytest.param("fast", marks=long_form), "immediate"])
def test_the_server_restarts(server: Server, stage: Stage, record: Record, mode: str) -> None:
    scene = stage.scene(f"server: restarted, {mode}", server)
    for _ in range(TIMES):
        with scene.fault():
            server.stop(mode)
            server.start()
    record(scene.settle())


@long_form
def test_backends_are_terminated(
    server: Server, stage: Stage, rng: random.Random, record: Record
) -> None:
    scene = stage.scene("server: all backends terminated, five times", server)
    for _ in range(TIMES):
        with scene.fault():
            for _ in range(5):
                time.sleep(rng.uniform(0, 0.2))
                server.terminate(scene.database)
    record(scene.settle())


def test_there_are_too_many_connections(server: Server, stage: Stage, record: Record) -> None:
    """Others have all that the server allows when everything has to connect anew."""
    scene = stage.scene("server: too many connections", server)
    for _ in range(TIMES):
        with scene.fault(), ExitStack() as taken:
            until = time.monotonic() + STALLED_AFTER
            refused = scene.deferring.refused.total()
            while time.monotonic() < until or scene.deferring.refused.total() < refused + 5:
                assert time.monotonic() < until + PATIENCE, "no defer is refused"
                take_all(server, taken)
                server.terminate(scene.database)
    record(scene.settle())


def take_all(server: Server, taken: ExitStack) -> None:
    with pytest.raises(psycopg.OperationalError):  # noqa: PT012
        while True:
            taken.enter_context(psycopg.connect(server.url("postgres")))


def await_refusals(scene: Scene, refusals: int = 10) -> None:
    """Wait until defers have failed, and for as long as half a stall of the workers."""
    before = scene.deferring.refused.total()
    scene.until(lambda: scene.deferring.refused.total() >= before + refusals, "no defer is refused")
    time.sleep(STALLED_AFTER / 2)


@long_form
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("statement_timeout of 1 ms", "statement_timeout = '1ms'"),
        ("read-only", "default_transaction_read_only = on"),
    ],
)
def test_a_setting_that_taskq_sets_for_itself_changes_nothing(
    server: Server, stage: Stage, record: Record, name: str, setting: str
) -> None:
    scene = stage.scene(f"database: {name}, of the database", server)
    for _ in range(TIMES):
        with scene.fault():
            server.execute(f"ALTER DATABASE {scene.database} SET {setting}")
            server.terminate(scene.database)
            # While it holds.
            scene.flow()
            server.execute(f"ALTER DATABASE {scene.database} RESET ALL")
            server.terminate(scene.database)
    record(scene.settle())


@long_form
@pytest.mark.parametrize(
    ("name", "setting", "parameter"),
    [
        (
            "statement_timeout of 1 ms, where nothing is set on sessions",
            "statement_timeout = '1ms'",
            "pooler=true",
        ),
        (
            "read-only, where nothing is set on sessions",
            "default_transaction_read_only = on",
            "pooler=true",
        ),
        (
            "read-only, where the URL wants read-write",
            "default_transaction_read_only = on",
            "target_session_attrs=read-write",
        ),
    ],
)
def test_a_setting_that_refuses_all_for_a_time(
    server: Server, stage: Stage, record: Record, name: str, setting: str, parameter: str
) -> None:
    scene = stage.scene(f"database: {name}", server, through=lambda url: f"{url}?{parameter}")
    for _ in range(TIMES):
        with scene.fault():
            server.execute(f"ALTER DATABASE {scene.database} SET {setting}")
            server.terminate(scene.database)
            if "timeout" in setting:
                # Some statements are faster.
                time.sleep(STALLED_AFTER / 2)
            else:
                await_refusals(scene)
            server.execute(f"ALTER DATABASE {scene.database} RESET ALL")
            server.terminate(scene.database)
    record(scene.settle())


@pytest.mark.parametrize(
    ("name", "make", "end"),
    [
        (
            "a privilege revoked",
            [f"REVOKE INSERT, UPDATE ON taskq_jobs, taskq_workers FROM {OWNER}"],
            [f"GRANT INSERT, UPDATE ON taskq_jobs, taskq_workers TO {OWNER}"],
        ),
        pytest.param(
            "the namespace away",
            ["ALTER SCHEMA public RENAME TO away", "CREATE SCHEMA public"],
            ["DROP SCHEMA public", "ALTER SCHEMA away RENAME TO public"],
            marks=long_form,
        ),
    ],
)
def test_what_taskq_needs_is_taken_away_for_a_time(
    server: Server, stage: Stage, record: Record, name: str, make: list[str], end: list[str]
) -> None:
    scene = stage.scene(f"database: {name}", server)
    for _ in range(TIMES):
        with scene.fault():
            server.execute(*make, database=scene.database)
            await_refusals(scene)
            server.execute(*end, database=scene.database)
    record(scene.settle())


@long_form
def test_the_schema_is_dropped_and_applied_anew(
    server: Server, stage: Stage, record: Record
) -> None:
    """What was in it is gone; what is deferred from then on is run by the same workers."""
    scene = stage.scene("database: the schema dropped, and applied anew", server)
    for _ in range(TIMES):
        with scene.fault(), scene.app() as app:
            app.schema_manager.remove()
            server.execute("TRUNCATE effects", database=scene.database)
            await_refusals(scene)
            applied = time.monotonic()
            scene.kept = lambda one, applied=applied: one.asked > applied  # type: ignore[misc]
            app.schema_manager.apply_schema()
    record(scene.settle())


def test_the_database_is_restored_to_an_earlier_moment(
    server: Server, stage: Stage, record: Record
) -> None:
    """What was deferred between is gone, and its ids come again; what had not run before runs."""
    scene = stage.scene("database: restored to an earlier moment", server)
    name, copy = scene.database, f"{scene.database}_copy"
    for _ in range(TIMES):
        with scene.fault():
            with server.closed(name):
                saved = time.monotonic()
                server.make_database(copy, template=name)
            scene.flow()
            with server.closed(name):
                server.execute(
                    f"ALTER DATABASE {name} RENAME TO {name}_gone",
                    f"ALTER DATABASE {copy} RENAME TO {name}",
                    f"ALTER DATABASE {name}_gone RENAME TO {copy}",
                )
                restored = time.monotonic()
                kept = scene.kept
                scene.kept = lambda one, kept=kept, saved=saved, restored=restored: (  # type: ignore[misc]
                    kept(one) and not saved < one.at < restored
                )
        server.execute(f"DROP DATABASE {copy}")
    record(scene.settle())


def test_the_disk_of_the_tables_is_full(
    server: Server, stage: Stage, record: Record, server_folder: Path
) -> None:
    with small_disk(server_folder / "tables", 100) as disk:
        server.give_to_user(disk)
        server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        database = stage.database(server, "TABLESPACE small")
        try:
            scene = stage.scene("disk: full, of the tables", server, database=database)
            for _ in range(TIMES):
                with scene.fault(), full(disk):
                    await_refusals(scene)
            record(scene.settle())
        finally:
            with server.closed(database):
                pass
            server.execute(f"DROP DATABASE {database} WITH (FORCE)", "DROP TABLESPACE small")


@long_form
def test_the_disk_of_the_write_ahead_log_is_full(
    make_server: MakeServer, stage: Stage, record: Record, server_folder: Path
) -> None:
    """Which ends the server; it starts when there is room."""
    with small_disk(server_folder / "log", 64) as disk:
        server = make_server("min_wal_size = '32MB'", "max_wal_size = '32MB'", wal=disk / "wal")
        server.give_to_user(disk)
        server.create()
        server.start()
        server.make_template()
        scene = stage.scene("disk: full, of the write-ahead log", server)
        for _ in range(TIMES):
            with scene.fault():
                with full(disk):
                    use_up_the_log(server)
                    await_refusals(scene)
                server.stop("immediate")
                server.start()
        record(scene.settle())
        server.stop("immediate")


def use_up_the_log(server: Server) -> None:
    """Write until the segments that are there already are used up."""
    with pytest.raises(psycopg.OperationalError):  # noqa: PT012
        while True:
            server.execute("SELECT pg_switch_wal()", "SELECT txid_current()")
