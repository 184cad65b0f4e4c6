"""taskq_backlog: what those who start and stop workers go by."""

import psycopg
import pytest

from tests.sql.crowds import hold, insert
from tests.sql.plans import counting
from tests.sql.sqlc import claim

MANY = 20_000


def backlog(connection: psycopg.Connection, queue: str | None = None) -> int:
    row = connection.execute("SELECT taskq_backlog(%s)", [queue]).fetchone()
    assert row
    return int(row[0])


def declare(connection: psycopg.Connection, limit: str, concurrency: int) -> None:
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, concurrency) VALUES (%s, false, %s)",
        [limit, concurrency],
    )


def open_limits(connection: psycopg.Connection, *limits: str) -> None:
    connection.execute("SELECT taskq_open_limits(%s)", [list(limits)])


def test_what_is_ready_or_runs_counts_for_its_queue_and_for_all(
    connection: psycopg.Connection,
) -> None:
    insert(connection, 3, queue="'mail'", priority="n")
    insert(connection, 4, queue="'video'", status="'doing'", worker_id="1", started_at="now()")
    insert(connection, 5, queue="'video'")
    insert(connection, 6, status="'succeeded'", finished_at="now()")
    counted = [backlog(connection, queue) for queue in ("mail", "video", "none", None)]
    assert counted == [3, 9, 0, 12]


def test_what_could_not_begin_does_not_count(connection: psycopg.Connection) -> None:
    insert(connection, 3, queue="'later'", due="false", scheduled_at="now() + interval '1 day'")
    insert(connection, 3, queue="'task'", paused="true")
    insert(connection, 3, queue="'queue'")
    insert(connection, 3, queue="'queue'", due="false", scheduled_at="now() - interval '1 s'")
    insert(connection, 3, queue="'held'", lock="'busy'")
    hold(connection, "busy")
    connection.execute("INSERT INTO taskq_pauses (kind, name) VALUES ('queue', 'queue')")
    counted = [backlog(connection, queue) for queue in ("later", "task", "queue", "held", None)]
    # It is the holder that runs.
    assert counted == [0, 0, 0, 0, 1]


def test_of_a_lock_one_counts_and_of_a_limit_as_many_as_it_has_room_for(
    connection: psycopg.Connection,
) -> None:
    declare(connection, "stripe", 4)
    declare(connection, "whole", 5)
    insert(connection, 10, queue="'locked'", lock="'lock ' || n % 2")
    insert(connection, 10, queue="'limited'", limit_key="'stripe'")
    open_limits(connection, "stripe")
    insert(connection, 10, queue="'bounded'")
    connection.execute(
        "INSERT INTO taskq_queue_limits (queue_name, limit_key) VALUES ('bounded', 'whole')"
    )
    assert [backlog(connection, queue) for queue in ("locked", "limited", "bounded", None)] == [
        2,
        4,
        5,
        11,
    ]
    claimed = len(claim(connection, max_jobs=100))
    assert claimed == 11, "as a claim has it"
    assert backlog(connection) == 11


def test_what_no_worker_has_let_in_yet_counts_so_that_one_is_started(
    connection: psycopg.Connection,
) -> None:
    insert(connection, 2, queue="'late'", due="false", scheduled_at="now() - interval '1 s'")
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, rate, per, burst) VALUES ('rate', false, 1, 1, 1)"
    )
    insert(connection, 2, queue="'slow'", limit_key="'rate'")
    open_limits(connection, "rate")
    assert len(claim(connection, max_jobs=5, queue_names=["slow"])) == 1
    connection.execute("UPDATE taskq_jobs SET status = 'succeeded' WHERE status = 'doing'")
    assert backlog(connection, "slow") == 0
    connection.execute(
        "UPDATE taskq_limit_gates SET open_at = now() - interval '1 s' WHERE open_at IS NOT NULL"
    )
    connection.execute("UPDATE taskq_limit_rates SET spent_until = now()")
    assert [backlog(connection, queue) for queue in ("late", "slow", None)] == [2, 1, 3]


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("queue", ["default", None], ids=["one", "all"])
def test_it_reads_little_beside_much_that_is_finished_or_barred(
    connection: psycopg.Connection, queue: str | None, plans: str
) -> None:
    insert(connection, MANY, status="'succeeded'", finished_at="now()")
    insert(connection, MANY, due="false", scheduled_at="now() + interval '1 day'")
    insert(connection, MANY, paused="true")
    insert(connection, MANY, lock="'busy ' || n % 100")
    hold(connection, "busy%")
    declare(connection, "full", 1)
    insert(connection, MANY, limit_key="'full'")
    insert(connection, 1, limit_key="'full'", status="'doing'", worker_id="1", started_at="now()")
    open_limits(connection, "full")
    insert(connection, MANY, queue="'halted'")
    connection.execute("INSERT INTO taskq_pauses (kind, name) VALUES ('queue', 'halted')")
    insert(connection, 50)
    connection.execute("VACUUM ANALYZE taskq_jobs, taskq_open_gates, taskq_limit_gates")
    with counting(connection, plans) as count:
        assert backlog(connection, queue) == (50 + 1 if queue else 50 + 101)
        counted = count()
    assert counted.whole_tables == 0
    # Of each busy lock its first job and its holder, and whatever runs.
    assert counted.read <= 700


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
def test_it_counts_no_further_than_ten_thousand(connection: psycopg.Connection, plans: str) -> None:
    insert(connection, MANY)
    connection.execute("VACUUM ANALYZE taskq_jobs")
    with counting(connection, plans) as count:
        assert backlog(connection, "default") == 10_000
        counted = count()
    assert counted.whole_tables == 0
    assert counted.read <= 10_010
