"""ListFigures: what metrics say of the queue as a whole, and what that reads."""

import psycopg
import pytest

from tests.sql.crowds import insert, vacuum
from tests.sql.plans import run_explained
from tests.sql.sqlc import read_queries

QUERY = read_queries()["ListFigures"]


def figures(connection: psycopg.Connection) -> dict[tuple[str, str], float]:
    rows = QUERY.run(connection, stalled_after=30.0)
    assert len({(row["figure"], row["label"]) for row in rows}) == len(rows)
    return {(row["figure"], row["label"]): row["value"] for row in rows}


def test_what_waits_and_runs_is_counted_by_queue(connection: psycopg.Connection) -> None:
    insert(connection, 3, queue="'mail'", priority="n")
    insert(connection, 2, queue="'mail'", lock="'one'")
    insert(connection, 4, queue="'api'", limit_key="'stripe'")
    # Due, and no worker has noticed.
    due = {"due": "false", "scheduled_at": "now() - interval '1 minute'"}
    insert(connection, 1, queue="'late'", **due)
    # Neither of these waits in that sense.
    insert(connection, 5, queue="'later'", due="false", scheduled_at="now() + interval '1 day'")
    insert(connection, 6, queue="'halted'", paused="true")
    insert(connection, 7, status="'succeeded'", finished_at="now()")
    insert(connection, 8, queue="'busy'", status="'doing'", worker_id="1", started_at="now()")
    found = figures(connection)
    assert {label: value for (figure, label), value in found.items() if figure == "waiting"} == {
        "mail": 5,
        "api": 4,
        "late": 1,
    }
    assert {label: value for (figure, label), value in found.items() if figure == "running"} == {
        "busy": 8
    }
    assert found["oldest_waiting", "late"] == pytest.approx(60, abs=10)
    assert found["deferred", ""] == 36


def test_the_oldest_is_found_behind_all_that_is_more_urgent(connection: psycopg.Connection) -> None:
    insert(connection, 500, priority="5")
    insert(connection, 1, deferred_at="now() - interval '1 hour'")
    insert(connection, 500, priority="-5")
    found = figures(connection)
    assert found["waiting", "default"] == 1001
    assert found["oldest_waiting", "default"] == pytest.approx(3600, abs=60)


def test_a_time_that_is_none_and_one_in_the_future_make_no_age(
    connection: psycopg.Connection, unchecked: None
) -> None:
    insert(connection, 1, queue="'odd'", deferred_at="'-infinity'")
    insert(connection, 1, queue="'early'", deferred_at="now() + interval '1 hour'")
    found = figures(connection)
    # None of them can be asked for a time: no age is better than a wrong one.
    assert found["waiting", "odd"] == found["waiting", "early"] == 1
    assert found["oldest_waiting", "odd"] == found["oldest_waiting", "early"] == 0


def test_workers_that_are_alive_and_their_slots_are_counted(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO taskq_workers (name, concurrency, last_heartbeat) VALUES "
        "('a', 3, now()), ('b', 4, now()), ('dead', 5, now() - interval '1 hour')"
    )
    found = figures(connection)
    assert (found["workers", ""], found["slots", ""]) == (2, 7)


def test_the_database_says_what_it_has_to_clean_up_and_which_queues_are_paused(
    connection: psycopg.Connection,
) -> None:
    connection.execute("INSERT INTO taskq_pauses (kind, name) VALUES ('queue', 'q'), ('task', 't')")
    found = figures(connection)
    assert found["dead_rows", "taskq_jobs"] >= 0
    assert 0 <= found["notification_queue", ""] < 1
    assert [label for figure, label in found if figure == "paused"] == ["q"]


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
def test_it_reads_a_bounded_number_of_rows_however_many_there_are(
    connection: psycopg.Connection, plans: str
) -> None:
    insert(connection, 100_000, status="'succeeded'", finished_at="now()")
    insert(connection, 25_000, queue="'deep'")
    insert(connection, 25_000, queue="'wide ' || n % 150")
    insert(connection, 25_000, lock="'lock ' || n % 100", queue="'locked'")
    insert(connection, 25_000, due="false", scheduled_at="now() + interval '1 day'")
    vacuum(connection, "taskq_jobs")
    explained = run_explained(connection, QUERY, plans, stalled_after="30.0")
    assert "Seq Scan" not in explained.kinds
    # 166 of each of 150 queues and 20 again, 1,324 of the deep one, and 10,000 with a lock, by two ways.
    assert explained.read < 55_000
    found = figures(connection)
    assert found["waiting", "deep"] == 200_000 // 151
    assert found["waiting", "wide 7"] == 167
    assert found["waiting", "locked"] == 10_000
