"""The command that watches queues, workers and rates."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import psycopg
import pytest

from taskq.cli.watch.rates import Meter, Rates, Sample
from tests.cli.conftest import Taskq, ended
from tests.cli.terminal import on_terminal


def insert(connection: psycopg.Connection, jobs: int = 1, queue: str = "mail") -> None:
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args) "
        "SELECT %s, 'add', '{}' FROM generate_series(1, %s)",
        [queue, jobs],
    )


@contextmanager
def traffic(connection: psycopg.Connection) -> Iterator[None]:
    """Jobs that come, and as many that end, for as long as the program watches."""
    over = Event()

    def run() -> None:
        while not over.wait(0.01):
            insert(connection, 10, "busy")
            connection.execute(
                "UPDATE taskq_jobs SET status = 'succeeded' WHERE queue_name = 'busy'"
            )

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_without_a_terminal_it_shows_one_frame(connection: psycopg.Connection) -> None:
    insert(connection, 2)
    insert(connection, queue="\x1b[2J")
    connection.execute(
        "INSERT INTO taskq_workers (id, name, queue_names) VALUES (1, 'w', '{mail}')"
    )
    with traffic(connection):
        done = ended("watch", "--interval", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    headline, queues, workers = done.stdout.split("\n\n")
    rates = re.search(
        r"per second: ([\d,]+\.\d) deferred, ([\d,]+\.\d) ended, 0.0 failed$", headline
    )
    assert rates
    assert all(float(rate.replace(",", "")) > 10 for rate in rates.groups())
    _, _, strange, mail = (line.split() for line in queues.splitlines() if "busy" not in line)
    assert strange[:3] == [r"\x1b[2J", "1", "0"]
    assert mail[:3] == ["mail", "2", "0"]
    assert mail[-1] == "1"
    assert workers.splitlines()[2].split()[:4] == ["1", "w", "mail", "0"]


def test_it_shows_which_tasks_are_paused(taskq: Taskq, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO taskq_pauses VALUES ('task', 'add', now() - interval '2 h', 'ada', 'twice')"
    )
    _, queues, tasks, _ = taskq("watch", "--once", "--interval", "0.1").stdout.split("\n\n")
    assert queues == "no job waits or runs"
    assert tasks.splitlines()[-1].split(maxsplit=1) == ["add", "for 2h by ada: twice"]


def test_on_a_terminal_it_goes_on_until_ctrl_c(connection: psycopg.Connection) -> None:
    with on_terminal("watch", "--interval", "0.1") as terminal:
        terminal.until("no job waits or runs")
        insert(connection)
        terminal.until("mail +1 +0")
        insert(connection)
        terminal.until("mail +2 +0")
        assert "interrupted" not in terminal.interrupted()


def test_it_waits_for_a_database_that_does_not_answer(
    connection: psycopg.Connection, database_url: str
) -> None:
    name = connection.info.dbname
    maintenance = database_url.replace("+psycopg", "").replace(f"/{name}?", "/postgres?")
    with on_terminal("watch", "--interval", "0.1") as terminal:
        terminal.until("no job waits or runs")
        with psycopg.connect(maintenance, autocommit=True) as other:
            other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s",
                [name, connection.info.backend_pid],
            )
            try:
                terminal.until("the database does not answer")
                insert(connection)
            finally:
                other.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        terminal.until("mail +1 +0")
        terminal.interrupted()


def test_once_is_one_frame_on_a_terminal_too() -> None:
    with on_terminal("watch", "--once", "--interval", "0.1") as terminal:
        assert "no worker is running" in terminal.rest()


@pytest.mark.parametrize("interval", ["0", "0.01", "often"])
def test_an_interval_that_makes_no_sense_is_refused(taskq: Taskq, interval: str) -> None:
    done = taskq("watch", "--interval", interval)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "interval" in done.stderr
    assert done.stderr.count("\n") == 1


def sample(seconds: float, *, ids: int = 0, failed: int = 0, alive: int = 0) -> Sample:
    at = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return Sample(at=at, ids_drawn=ids, failed_attempts=failed, alive=alive)


def test_what_is_deferred_and_does_not_pile_up_has_ended() -> None:
    meter = Meter()
    assert meter.take(sample(0, ids=100, alive=50)) is None
    rates = meter.take(sample(2, ids=140, failed=4, alive=60))
    assert rates == Rates(deferred=20, ended=15, failed=2)


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    meter = Meter()
    for second in range(60):
        rates = meter.take(sample(second, ids=1_000_000 if second > 30 else 0))
        assert (
            rates is None or rates.deferred == (100_000 if 30 < second <= 40 else 0) or second <= 10
        )


def test_jobs_that_are_put_back_are_no_negative_rate() -> None:
    meter = Meter()
    meter.take(sample(0))
    assert meter.take(sample(1, alive=10)) == Rates(deferred=0, ended=0, failed=0)
