"""What the queries read, counted: rows, not milliseconds."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Connect
from tests.sql.crowds import hold, insert, vacuum
from tests.sql.plans import Counted, Explained, counting, run_explained
from tests.sql.sqlc import Query, claim

MANY = 20_000
INDEXED = {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}


def plain(connection: psycopg.Connection) -> None:
    pass


def finished_beside(connection: psycopg.Connection) -> None:
    insert(connection, MANY, status="'succeeded'")


def later_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, scheduled_at="now() + interval '1 day'", due="false")


def another_queue_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, queue="'another'")


def expiring_elsewhere(connection: psycopg.Connection) -> None:
    insert(connection, MANY, queue="'another'", expires_at="now() + interval '1 day'")


def busy_locks_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'busy ' || n % 100")
    hold(connection, "busy%")


def one_deep_lock_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'busy'")
    hold(connection, "busy%")


def own_locks_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'own ' || n")


def own_locks_with_later_jobs(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'own ' || n")
    insert(
        connection, MANY, lock="'own ' || n", scheduled_at="now() + interval '1 day'", due="false"
    )


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("queue_names", [None, ["default"]], ids=["all", "named"])
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (plain, 40),
        (finished_beside, 40),
        (later_ahead, 40),
        (another_queue_ahead, 50),
        (expiring_elsewhere, 50),
        (busy_locks_ahead, 350),
        (one_deep_lock_ahead, 60),
        (own_locks_ahead, 150),
        (own_locks_with_later_jobs, 150),
    ],
)
def test_a_claim_of_ten_reads_no_more_than_it_must(
    connection: psycopg.Connection,
    shape: Callable[[psycopg.Connection], None],
    most: int,
    queue_names: list[str] | None,
    plans: str,
) -> None:
    shape(connection)
    insert(connection, MANY)
    vacuum(connection, "taskq_jobs", "taskq_open_gates")
    with counting(connection, plans) as count:
        jobs = claim(connection, max_jobs=10, queue_names=queue_names, run_length=5)
        counted = count()
    assert len(jobs) == 10
    assert counted.whole_tables == 0
    assert 10 <= counted.read <= most


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(
    "shape", [finished_beside, later_ahead, another_queue_ahead, expiring_elsewhere]
)
def test_a_claim_of_the_only_job_of_a_queue_reads_little_else(
    connection: psycopg.Connection, shape: Callable[[psycopg.Connection], None], plans: str
) -> None:
    shape(connection)
    insert(connection, 1)
    vacuum(connection, "taskq_jobs", "taskq_open_gates")
    with counting(connection, plans) as count:
        [_] = claim(connection, max_jobs=10, queue_names=["default"])
        assert count() == Counted(0, 2)


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("run_length", [1, 10])
def test_a_claim_of_jobs_of_one_deep_lock_reads_those(
    connection: psycopg.Connection, run_length: int, plans: str
) -> None:
    insert(connection, MANY, lock="'deep'")
    vacuum(connection, "taskq_jobs", "taskq_open_gates")
    with counting(connection, plans) as count:
        jobs = claim(connection, max_jobs=10, run_length=run_length)
        counted = count()
    assert len(jobs) == run_length
    assert counted.whole_tables == 0
    assert counted.read <= 5 * run_length + 10


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("queue_names", [None, ["default"]], ids=["all", "named"])
def test_a_claim_behind_a_mark_does_not_walk_what_others_still_see(
    connection: psycopg.Connection, connect: Connect, queue_names: list[str] | None, plans: str
) -> None:
    insert(connection, MANY)
    observer = connect()
    with observer.transaction():
        observer.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        observer.execute("SELECT FROM taskq_jobs LIMIT 1")
        connection.execute("UPDATE taskq_jobs SET status = 'succeeded'")
        insert(connection, 20)
        connection.execute("ANALYZE taskq_jobs")
        with counting(connection, plans) as count:
            jobs = claim(
                connection, max_jobs=10, queue_names=["default"], marks={("default", 0): MANY}
            )
            counted = count()
    assert len(jobs) == 10
    # From the start it would be the many that are dead to all but the observer.
    assert counted.whole_tables == 0
    assert counted.read <= 60


@pytest.fixture
def crowd(connection: psycopg.Connection) -> None:
    """Many jobs of every kind; 2,000 run, 100 for each worker from 1 to 20, half of them locked."""
    insert(connection, MANY, status="'succeeded'")
    insert(connection, MANY, queueing_lock="'waits ' || n")
    insert(connection, MANY, lock="'deep ' || n % 100")
    insert(connection, MANY, scheduled_at="now() + interval '1 day'", due="false")
    insert(connection, 1000, scheduled_at="now() - interval '1 s'", due="false")
    doing = {"status": "'doing'", "worker_id": "1 + n % 20", "claim": "1", "started_at": "now()"}
    insert(connection, 1000, queueing_lock="'runs ' || n", **doing)
    insert(connection, 1000, lock="'runs ' || n", **doing)
    connection.execute(
        """
        INSERT INTO taskq_workers (id, name, concurrency, last_heartbeat)
        SELECT n, 'w', 50, now() - CASE WHEN n = 1 THEN interval '1 day' ELSE '0' END
        FROM generate_series(1, 20) AS n;
        """
    )
    vacuum(connection, "taskq_jobs", "taskq_open_gates", "taskq_workers", "taskq_failed_attempts")


Explain = Callable[..., Explained]


@pytest.fixture(params=["force_generic_plan", "force_custom_plan"])
def explain(
    request: pytest.FixtureRequest,
    connection: psycopg.Connection,
    queries: dict[str, Query],
    crowd: None,
) -> Explain:
    """Runs a query by its name amid the crowd, and holds it to the indexes."""

    def run(name: str, **arguments: str) -> Explained:
        explained = run_explained(connection, queries[name], request.param, **arguments)
        assert explained.kinds <= INDEXED, json.dumps(explained.plan, indent=1)
        return explained

    return run


@pytest.mark.parametrize(
    "ending",
    [
        {"status": "succeeded"},
        {"status": "todo", "retry_in": 9},
        {"status": "failed", "error_type": "E", "error_message": "", "error_traceback": ""},
        {"status": "succeeded", "deleted": True},
    ],
    ids=["succeeded", "retried", "failed", "deleted"],
)
def test_ending_a_hundred_jobs_reads_those(
    connection: psycopg.Connection, explain: Explain, ending: dict[str, Any]
) -> None:
    jobs = connection.execute(
        "SELECT id, lock FROM taskq_jobs WHERE status = 'doing' AND worker_id = 1"
    ).fetchall()
    outcomes = [{"job_id": id_, "claim": 1, "held_lock": lock, **ending} for id_, lock in jobs]
    finish = explain("FinishJobs", worker_id="1", outcomes=f"'{json.dumps(outcomes)}'")
    assert 100 <= finish.read <= 300


def test_listing_what_a_worker_runs_reads_that(explain: Explain) -> None:
    assert explain("ListDoingJobs", worker_id="1").read == 100


def test_a_rescue_reads_what_runs(connection: psycopg.Connection, explain: Explain) -> None:
    rescue = explain("RescueJobs", stalled_after="60", max_crashes="3")
    assert 2000 <= rescue.read <= 2300
    left = connection.execute("SELECT count(*) FROM taskq_jobs WHERE status = 'doing'").fetchone()
    assert left == (1900,)


@pytest.mark.parametrize("status", ["todo", "doing", "succeeded"])
@pytest.mark.parametrize("delete_job", ["false", "true"])
def test_cancelling_a_job_reads_it_and_its_follower(
    connection: psycopg.Connection, explain: Explain, status: str, delete_job: str
) -> None:
    found = connection.execute(
        "SELECT max(id) FROM taskq_jobs WHERE status::text = %s AND (lock <> '' OR %s = 'succeeded')",
        [status, status],
    ).fetchone()
    assert found
    cancel = explain(
        "CancelJobs",
        ids=f"ARRAY[{found[0]}]",
        statuses="'{todo,doing,succeeded}'",
        abort="true",
        delete_job=delete_job,
    )
    assert cancel.read <= 5


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("queue_names", [None, ["default", "mail"]])
@pytest.mark.parametrize("barred", [False, True])
def test_asking_whether_jobs_are_ready_reads_one_at_most(
    connection: psycopg.Connection,
    queries: dict[str, Query],
    crowd: None,
    queue_names: list[str] | None,
    plans: str,
    barred: bool,
) -> None:
    if barred:
        connection.execute("DELETE FROM taskq_jobs WHERE status = 'todo' AND due AND lock IS NULL")
        connection.execute("DELETE FROM taskq_open_gates")
        vacuum(connection, "taskq_jobs", "taskq_open_gates")
    with counting(connection, plans) as count:
        [answer] = queries["HasReadyJobs"].run(connection, queue_names=queue_names)
        counted = count()
    assert answer["ready"] is not barred
    assert counted.whole_tables == 0
    assert counted.read <= 1


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
def test_before_the_planner_has_seen_gates_no_lock_is_compared_with_those_of_others(
    connection: psycopg.Connection, queries: dict[str, Query], plans: str
) -> None:
    insert(connection, 500, lock="'own ' || n")
    looked = run_explained(
        connection,
        queries["OpenForgottenGates"],
        plans,
        after_lock="''",
        after_limit="''",
        max_gates="500",
    )
    assert looked.in_vain < 600


def test_announcing_locks_reads_the_head_of_each(explain: Explain) -> None:
    locks = ", ".join(f"'deep {n}'" for n in range(50))
    assert explain("AnnounceLocks", locks=f"ARRAY[{locks}]").read == 50


def test_promoting_jobs_reads_those_and_whether_any_was_skipped_and_the_next_one(
    explain: Explain,
) -> None:
    assert explain("PromoteJobs", max_jobs="100").read == 301


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("lock", ["null", "'own ' || n"], ids=["plain", "locked"])
def test_what_is_late_is_found_among_much_that_is_not(
    connection: psycopg.Connection, queries: dict[str, Query], lock: str, plans: str
) -> None:
    insert(connection, MANY)
    insert(connection, MANY, expires_at="now() + interval '1 day'")
    insert(connection, 1000, expires_at="now() - interval '1 s'", lock=lock)
    vacuum(connection, "taskq_jobs", "taskq_open_gates")
    with counting(connection, plans) as count:
        [promotion] = queries["PromoteJobs"].run(connection, max_jobs=100)
        counted = count()
    assert promotion["expired"] == 100
    assert counted.whole_tables == 0
    # Found, fetched, and counted for whether any was skipped; and what is behind each in its lock.
    assert counted.read <= 410
