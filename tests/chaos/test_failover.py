"""A primary that dies, and a synchronous standby that is promoted: all go over by themselves."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from taskq.pytest.server import in_memory
from tests.chaos import patroni
from tests.chaos.conftest import MakeServer, Record, Stage, long_form
from tests.chaos.server import Server

pytestmark = pytest.mark.chaos


def as_libpq(url: str, primary: Server, standby: Server) -> str:
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    return f"{url.replace(f'127.0.0.1:{primary.port}', hosts)}?target_session_attrs=read-write"


def as_sqlalchemy(url: str, primary: Server, standby: Server) -> str:
    bare = url.replace(f"127.0.0.1:{primary.port}", "").replace(
        "postgresql:", "postgresql+psycopg:"
    )
    hosts = f"host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
    return f"{bare}?{hosts}&target_session_attrs=read-write"


def as_pairs(url: str, primary: Server, standby: Server) -> str:
    name = url.rpartition("/")[2]
    return (
        f"host=127.0.0.1,127.0.0.1 port={primary.port},{standby.port} user=chaos dbname={name} "
        "target_session_attrs=read-write"
    )


def cluster(make_server: MakeServer, stage: Stage) -> tuple[Server, Server, str]:
    """A primary, its synchronous standby, and a database that both have."""
    settings = (
        "wal_log_hints = on",
        "synchronous_standby_names = '*'",
        "wal_sender_timeout = '5s'",
    )
    primary = make_server(*settings, "synchronous_commit = local")
    primary.create()
    primary.start()
    primary.make_template()
    database = stage.database(primary)
    standby = make_server(*settings)
    standby.copy_of(primary)
    standby.start()
    await_synchronous(primary)
    primary.execute("ALTER SYSTEM SET synchronous_commit = on", "SELECT pg_reload_conf()")
    return primary, standby, database


def connect(database: str, *servers: Server) -> psycopg.Connection[tuple[object, ...]]:
    """Connect to the one that is the primary now, as the superuser."""
    ports = ",".join(str(server.port) for server in servers)
    return psycopg.connect(
        f"host=127.0.0.1,127.0.0.1 port={ports} user=postgres dbname={database} "
        "target_session_attrs=read-write connect_timeout=5"
    )


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        (as_libpq, "a URL of two hosts"),
        pytest.param(as_sqlalchemy, "hosts in the query", marks=long_form),
        pytest.param(as_pairs, "libpq's pairs", marks=long_form),
    ],
)
def test_what_was_acknowledged_outlives_the_primary(
    make_server: MakeServer,
    stage: Stage,
    record: Record,
    spelling: Callable[[str, Server, Server], str],
    name: str,
) -> None:
    primary, standby, database = cluster(make_server, stage)
    scene = stage.scene(
        f"fail-over: primary killed, standby promoted, {name}",
        primary,
        database=database,
        through=lambda url: spelling(url, primary, standby),
        connect=lambda: connect(database, primary, standby),
    )
    with scene.fault():
        primary.kill()
        standby.promote()
    record(scene.settle())


@long_form
def test_a_switch_over_and_back(make_server: MakeServer, stage: Stage, record: Record) -> None:
    """The former primary comes back as a standby, which takes no writes; then the other way round."""
    primary, standby, database = cluster(make_server, stage)
    servers = (primary, standby)
    scene = stage.scene(
        "fail-over: switched over, and back",
        primary,
        database=database,
        through=lambda url: as_libpq(url, *servers),
        connect=lambda: connect(database, *servers),
    )
    for old, new in (servers, servers[::-1]):
        with scene.fault():
            # It ends once the standby has all.
            old.stop("fast")
            new.promote()
            old.follow(new)
            old.start()
        await_synchronous(new)
    record(scene.settle())


def await_synchronous(primary: Server) -> None:
    deadline = time.monotonic() + 30
    while primary.execute("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
        assert time.monotonic() < deadline, "the standby does not become synchronous"
        time.sleep(0.05)


@long_form
@pytest.mark.skipif(patroni.missing() is not None, reason=f"not installed: {patroni.missing()}")
def test_patroni_fails_over(stage: Stage, record: Record) -> None:
    """By itself, once the primary has been silent for 20 s; the former one comes back as a standby."""
    with tempfile.TemporaryDirectory(prefix="taskq-patroni-", dir=in_memory()) as folder:
        Path(folder).chmod(0o711)
        with patroni.cluster(Path(folder)) as nodes:
            first, second = nodes
            first.server.make_template()
            database = stage.database(first.server)
            servers = (first.server, second.server)
            scene = stage.scene(
                "fail-over: by Patroni and etcd, primary killed",
                first.server,
                database=database,
                through=lambda url: as_libpq(url, *servers),
                connect=lambda: connect(database, *servers),
            )
            for old, new in (nodes, nodes[::-1]):
                with scene.fault():
                    old.kill()
                old.restart()
                patroni.await_roles({new: "master", old: "sync_standby"})
            record(scene.settle())
