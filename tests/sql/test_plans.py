"""What the queries read, counted: rows, not milliseconds."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Connect
from tests.sql.crowds import hold, insert
from tests.sql.plans import Explained, run_explained
from tests.sql.sqlc import Query

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
@pytest.mark.parametrize("queue_names", ["NULL", "ARRAY['default']"], ids=["all", "named"])
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (plain, 40),
        (finished_beside, 40),
        (later_ahead, 40),
        (another_queue_ahead, 50),
        (busy_locks_ahead, 350),
        (one_deep_lock_ahead, 250),
        (own_locks_ahead, 650),
        (own_locks_with_later_jobs, 850),
    ],
)
def test_a_claim_of_ten_reads_no_more_rows_than_it_must(
    connection: psycopg.Connection,
    queries: dict[str, Query],
    shape: Callable[[psycopg.Connection], None],
    most: int,
    queue_names: str,
    plans: str,
) -> None:
    shape(connection)
    insert(connection, MANY)
    connection.execute("VACUUM ANALYZE taskq_jobs, taskq_locks")
    claim = run_explained(
        connection,
        queries["ClaimJobs"],
        plans,
        queue_names=queue_names,
        max_jobs="10",
        worker_id="1",
        mark_queues="'{}'",
        mark_priorities="'{}'",
        mark_ids="'{}'",
    )
    assert claim.kinds <= {"Index Scan", "Index Only Scan"}
    assert 30 <= claim.read <= most, json.dumps(claim.plan, indent=1)
    claimed = connection.execute(
        "SELECT count(*) FROM taskq_jobs WHERE status = 'doing'"
    ).fetchone()
    assert claimed == (10,)


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize(
    ("shape", "jobs"),
    [
        (plain, MANY),
        (finished_beside, 1),
        (later_ahead, 1),
        (another_queue_ahead, 1),
        (another_queue_ahead, MANY),
    ],
)
def test_a_quick_claim_reads_the_jobs_it_takes(
    connection: psycopg.Connection,
    queries: dict[str, Query],
    shape: Callable[[psycopg.Connection], None],
    jobs: int,
    plans: str,
) -> None:
    shape(connection)
    insert(connection, jobs)
    connection.execute("VACUUM ANALYZE taskq_jobs, taskq_locks")
    claim = run_explained(
        connection,
        queries["ClaimFreeJobs"],
        plans,
        queue_name="'default'",
        max_jobs="10",
        worker_id="1",
    )
    assert claim.kinds <= INDEXED
    taken = min(jobs, 10)
    assert 2 * taken <= claim.read <= 3 * taken, json.dumps(claim.plan, indent=1)


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("shape", [busy_locks_ahead, one_deep_lock_ahead, own_locks_ahead])
def test_a_quick_claim_beside_jobs_with_a_lock_reads_one_of_them(
    connection: psycopg.Connection,
    queries: dict[str, Query],
    shape: Callable[[psycopg.Connection], None],
    plans: str,
) -> None:
    shape(connection)
    insert(connection, MANY)
    connection.execute("VACUUM ANALYZE taskq_jobs, taskq_locks")
    claim = run_explained(
        connection,
        queries["ClaimFreeJobs"],
        plans,
        queue_name="'default'",
        max_jobs="10",
        worker_id="1",
    )
    assert claim.kinds <= INDEXED
    assert claim.read == 1, json.dumps(claim.plan, indent=1)


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("queue_names", ["NULL", "ARRAY['default']"], ids=["all", "named"])
def test_a_claim_behind_a_mark_does_not_walk_what_somebody_still_sees(
    connection: psycopg.Connection,
    connect: Connect,
    queries: dict[str, Query],
    queue_names: str,
    plans: str,
) -> None:
    insert(connection, MANY)
    observer = connect()
    with observer.transaction():
        observer.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        observer.execute("SELECT FROM taskq_jobs LIMIT 1")
        connection.execute("UPDATE taskq_jobs SET status = 'succeeded'")
        insert(connection, 20)
        connection.execute("ANALYZE taskq_jobs")
        claim = run_explained(
            connection,
            queries["ClaimJobs"],
            plans,
            queue_names=queue_names,
            max_jobs="10",
            worker_id="1",
            mark_queues="ARRAY['default']",
            mark_priorities="ARRAY[0]",
            mark_ids=f"ARRAY[{MANY}]",
        )
    assert claim.kinds <= INDEXED
    assert 25 <= claim.read <= 50, json.dumps(claim.plan, indent=1)
    # From the start it is more than a thousand.
    assert claim.pages <= 250, json.dumps(claim.plan, indent=1)


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
        INSERT INTO taskq_locks SELECT lock, id FROM taskq_jobs WHERE status = 'doing' AND lock <> '';
        INSERT INTO taskq_workers (id, name, concurrency, last_heartbeat)
        SELECT n, 'w', 50, now() - CASE WHEN n = 1 THEN interval '1 day' ELSE '0' END
        FROM generate_series(1, 20) AS n;
        """
    )
    connection.execute(
        "VACUUM ANALYZE taskq_jobs, taskq_locks, taskq_workers, taskq_failed_attempts"
    )


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
    left = connection.execute("SELECT count(*) FROM taskq_locks WHERE lock LIKE 'runs%'").fetchone()
    assert left == (950,)


def test_listing_what_a_worker_runs_reads_that(explain: Explain) -> None:
    assert explain("ListDoingJobs", worker_id="1").read == 100


def test_a_rescue_reads_what_runs(connection: psycopg.Connection, explain: Explain) -> None:
    rescue = explain("RescueJobs", stalled_after="60", max_crashes="3")
    # Twice: for dead workers, and for locks whose job does not run.
    assert 4000 <= rescue.read <= 4300
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


@pytest.mark.parametrize("queue_names", ["NULL", "ARRAY['default', 'mail']"])
def test_asking_whether_jobs_are_ready_reads_one_that_is(
    explain: Explain, queue_names: str
) -> None:
    assert explain("HasReadyJobs", queue_names=queue_names).read == 1


@pytest.mark.parametrize("queue_names", ["NULL", "ARRAY['default', 'mail']"])
def test_asking_whether_jobs_are_ready_reads_few_that_wait_for_a_lock(
    connection: psycopg.Connection, explain: Explain, queue_names: str
) -> None:
    connection.execute("DELETE FROM taskq_jobs WHERE status = 'todo' AND due AND lock IS NULL")
    hold(connection, "deep%")
    connection.execute("VACUUM ANALYZE taskq_jobs, taskq_locks")
    assert explain("HasReadyJobs", queue_names=queue_names).read == 200


def test_announcing_locks_reads_the_head_of_each(explain: Explain) -> None:
    locks = ", ".join(f"'deep {n}'" for n in range(50))
    assert explain("AnnounceLocks", locks=f"ARRAY[{locks}]").read == 50


def test_promoting_jobs_reads_those_and_the_next_one(explain: Explain) -> None:
    assert explain("PromoteJobs", max_jobs="100").read == 201
