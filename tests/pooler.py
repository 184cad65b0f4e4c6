"""Runs tests through PgBouncer in transaction mode, with notifications past it and with polling alone.

    python -m tests.pooler [ARGUMENTS OF PYTEST]

Tests find it by the fixture ``database_url``, which is the pooler's; what they look at by a connection of
their own they look at past it. Without arguments these are the tests of workers, deferrers and the job
manager, but for those that are about what nothing behind a pooler has, which ``UNFIT`` names.
"""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from benchmarks.server import embedded_server, installed, server_of
from taskq.database.database import Database
from taskq.worker.options import WorkerOptions
from tests.chaos.server import free_port
from tests.versions import CARELESS

PORT_VARIABLE = "TASKQ_TEST_POOLER_PORT"
LISTEN_VARIABLE = "TASKQ_TEST_POOLER_LISTENS"


# What jobs, deferrers, workers and operators are promised. Not those of connections, sessions and
# settings, which are about what a pooler takes away.
_SUITE = (
    *(
        f"tests/worker/test_{name}.py"
        for name in (
            "canceller",
            "context",
            "expiry",
            "groups",
            "limits",
            "locks",
            "middleware",
            "outcomes",
            "pausing",
            "periodic_enqueuer",
            "progress",
            "pruner",
            "rescue",
            "stopping",
            "transaction",
            "transaction_refused",
            "unknown_jobs",
            "waking",
        )
    ),
    *(
        f"tests/manager/test_{name}.py"
        for name in ("changing", "counting", "limiting", "listing", "pausing", "manager")
    ),
    *(
        f"tests/test_{name}.py"
        for name in ("deferring", "events", "expiry", "idempotency", "limits", "periodic", "retry")
    ),
)


# What is about what a session keeps, or a driver that prepares whatever it sends.
UNFIT = (
    "asyncpg_session",
    "test_the_workers_of_another_namespace_prune_by_themselves",
    "test_a_database_without_the_schema_says_how_to_get_it",
    "test_a_job_that_left_its_notification_to_another_is_found",
    "test_many_subscribers_notify_once_for_each_queue",
)


# What is about notifications, or about how seldom a worker asks that has them.
UNHEARD = (
    "test_what_runs_finishes_and_what_was_prefetched_goes_back_and_does_not_begin",
    "test_while_a_task_is_paused_its_jobs_wait_and_others_run",
    "test_in_a_lock_what_follows_a_job_of_a_paused_queue_waits_with_it",
    "test_what_a_claim_brings_that_did_not_see_the_pause_goes_back",
    "test_a_worker_that_missed_the_notification_obeys_when_it_listens_again",
    "test_a_worker_that_does_not_wait_ends_also_if_a_look_is_its_last_act",
    "test_it_costs_some_statements_each_time",
    "test_an_idle_worker_goes_straight_for_what_it_hears_of",
    "test_idle_workers_do_not_all_claim_the_same_job",
    "test_two_apps_that_say_different_things_of_a_limit_are_named_in_the_log",
    "test_a_worker_that_learns_that_it_was_taken_for_dead_aborts_what_it_lost",
)


def find_pgbouncer() -> str | None:
    """The program, wherever Debian or the path has it."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pgbouncer(server: str, *, settings: Mapping[str, object] | None = None) -> Iterator[int]:
    """PgBouncer in transaction mode before all databases of a server; its port.

    Args:
        server: The server, as libpq takes it.
        settings: Of PgBouncer, beside those that it needs.
    """
    program = find_pgbouncer()
    assert program, "PgBouncer is not installed"
    named = conninfo_to_dict(server)
    said = {key: named[key] for key in ("host", "port", "user") if named.get(key)}
    with tempfile.TemporaryDirectory(prefix="taskq-pooler-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        log, port = folder / "log", free_port()
        log.touch()
        user = None
        if os.geteuid() == 0:
            # It refuses to run as root.
            user = pwd.getpwnam("postgres" if installed() else "nobody").pw_uid
            os.chown(log, user, -1)
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "max_client_conn": 1000,
            "default_pool_size": 20,
            "server_idle_timeout": 2,
            "logfile": log,
            **(settings or {}),
        }
        to = " ".join(f"{key}={value}" for key, value in said.items())
        (folder / "ini").write_text(
            f"[databases]\n* = {to}\n[pgbouncer]\n"
            + "".join(f"{key} = {value}\n" for key, value in lines.items())
        )
        process = subprocess.Popen(
            [program, "-q", str(folder / "ini")], user=user, cwd=folder, stdin=subprocess.DEVNULL
        )
        try:
            _await(port, process, log)
            yield port
        finally:
            process.kill()
            process.wait()


def for_another_process(url: str) -> str:
    """A test's URL as another process takes it, which nothing here can tell of the pooler."""
    return f"{url}&pooler=true" if PORT_VARIABLE in os.environ else url


def have_databases_know(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    """Have each URL of the pooler's port mean one: ``pooler=true`` in it is nothing that a driver takes."""
    at = Database._at.__func__  # type: ignore[attr-defined]

    def known(
        cls: type[Database], /, name: str, url: str | URL, pooler: bool | None, **others: Any
    ) -> Database:
        is_poolers = pooler is None and f"port={port}" in str(url)
        database: Database = at(cls, name, url, True if is_poolers else pooler, **others)
        return database

    monkeypatch.setattr(Database, "_at", classmethod(known))


def have_workers_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the workers of a test poll, and often, whatever it says."""
    of = WorkerOptions.of.__func__  # type: ignore[attr-defined]
    polling_alone = {
        "listen_notify": False,
        "fetch_job_polling_interval": 0.1,
        "abort_job_polling_interval": 0.1,
    }

    def polling(
        cls: type[WorkerOptions], /, given: Mapping[str, Any], **others: Any
    ) -> WorkerOptions:
        options: WorkerOptions = of(cls, {**given, **polling_alone}, **others)
        return options

    monkeypatch.setattr(WorkerOptions, "of", classmethod(polling))


def main() -> int:
    """Run them in both ways; returns how many of these failed."""
    if find_pgbouncer() is None:
        print("PgBouncer is not installed: apt-get install pgbouncer")
        return 0
    with ExitStack() as stack:
        programs = installed()
        server = stack.enter_context(
            server_of(programs[0], *CARELESS) if programs else embedded_server()
        )
        port = stack.enter_context(pgbouncer(server))
        return sum(_run(server, port, listens) for listens in (True, False))


def _run(server: str, port: int, listens: bool) -> bool:
    print(f"-- {'with notifications past it' if listens else 'with polling alone'}", flush=True)
    unfit = " or ".join((*UNFIT, *(() if listens else UNHEARD)))
    arguments = sys.argv[1:] or [*_SUITE, "-k", f"not ({unfit})"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        env=os.environ
        | {
            "TASKQ_TEST_DATABASE_URL": server,
            PORT_VARIABLE: str(port),
            LISTEN_VARIABLE: "1" if listens else "",
        },
        cwd=Path(__file__).parents[1],
        check=False,
    )
    return done.returncode != 0


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} dbname=postgres user=postgres").close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer does not run: {log.read_text()}") from error
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
