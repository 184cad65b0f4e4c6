"""What the queries of an operator read beside very many finished jobs, counted: rows, not milliseconds."""

from collections.abc import Callable

import psycopg
import pytest

from tests.sql.crowds import insert, vacuum
from tests.sql.plans import Explained, run_explained
from tests.sql.sqlc import Query

FINISHED = 30_000
STATUSES = "'{todo,doing,succeeded,failed,cancelled,aborted}'"

# Functions that PostgreSQL puts in place of their calls, so that what they read is planned, and counted.
INLINED = ("taskq_job_fits(", "taskq_notify(")

INDEXED = {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}

NO_FILTER = dict.fromkeys(
    [
        "queue_name",
        "task_name",
        "lock",
        "queueing_lock",
        "limit_key",
        "worker_id",
        "deferred_after",
        "deferred_before",
        "finished_after",
        "finished_before",
        "args",
        "tags",
        "error",
    ],
    "NULL",
)

# Of no kind of jobs, until one is asked for.
NO_PAGE = {
    "after": "0",
    "before": "NULL",
    "ids": "NULL",
    "walks": "false",
    "unsuccessful": "'{}'",
    "alive": "false",
    "by_line": "false",
    "max_jobs": "100",
    "max_scanned": "100",
}

Explain = Callable[..., Explained]


@pytest.fixture
def crowd(connection: psycopg.Connection) -> None:
    """Jobs that finished, on more than 1,000 pages, and beside them those of every other kind."""
    finished = {
        "deferred_at": "now() - interval '3 days'",
        "finished_at": "now() - interval '2 days'",
    }
    insert(
        connection,
        FINISHED,
        status="(CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'succeeded' END)::taskq_job_status",
        args="jsonb_build_object('n', n, 'text', repeat(md5(n::text), 10))",
        **finished,
    )
    insert(connection, 3000, priority="n % 2")
    insert(connection, 3000, priority="n % 2", queue="'mail'", lock="'l' || n % 100")
    insert(connection, 3000, scheduled_at="now() + interval '1 day'", due="false")
    insert(connection, 300, status="'doing'", worker_id="1 + n % 3", started_at="now()")
    insert(connection, 3000, status="'succeeded'", deferred_at="now()", finished_at="now()")
    connection.execute("INSERT INTO taskq_workers (name) SELECT 'w' FROM generate_series(1, 3)")
    vacuum(connection, "taskq_jobs", "taskq_open_gates", "taskq_workers", "taskq_failed_attempts")


@pytest.fixture(params=["force_generic_plan", "force_custom_plan"])
def explain(
    request: pytest.FixtureRequest,
    connection: psycopg.Connection,
    queries: dict[str, Query],
    crowd: None,
) -> Explain:
    """Runs a query by its name amid the crowd; it must not be worth compiling (jit) to the planner."""

    def run(name: str, kinds: set[str] = INDEXED, **arguments: str) -> Explained:
        explained = run_explained(connection, queries[name], request.param, **arguments)
        assert explained.kinds <= kinds, [
            (scan["Node Type"], scan["Alias"], scan["Actual Rows"]) for scan in explained.scans
        ]
        assert explained.plan["Total Cost"] < 100_000
        assert not [called for called in INLINED if called in str(explained.plan)]
        return explained

    return run


WAYS = pytest.mark.parametrize(
    ("after", "before"), [("0", "NULL"), ("NULL", "1000000")], ids=["up", "down"]
)


@WAYS
def test_a_page_reads_its_jobs(explain: Explain, after: str, before: str) -> None:
    page = NO_PAGE | {"after": after, "before": before, "statuses": STATUSES, "walks": "true"}
    # Once to look whether they fit, and once whole; by an index, once more in that.
    assert explain("PageJobs", **NO_FILTER | page).read == 200
    nothing = NO_FILTER | {"queue_name": "'none'"} | page | {"max_scanned": "5000"}
    assert explain("PageJobs", **nothing).read == 5001
    named = page | {"ids": "'{7,8,9000}'", "walks": "false"}
    assert explain("PageJobs", **NO_FILTER | named).read == 6
    failed = page | {"statuses": "'{failed}'", "walks": "false", "unsuccessful": "'{failed}'"}
    assert explain("PageJobs", **NO_FILTER | failed).read == 300


@WAYS
def test_a_page_of_jobs_that_wait_reads_some_of_each_line(
    connection: psycopg.Connection, explain: Explain, after: str, before: str
) -> None:
    alive = {"statuses": "'{todo}'", "alive": "true", "by_line": "true"}
    page = NO_PAGE | {"after": after, "before": before} | alive
    # Two priorities of two queues and those for later, and the page itself; and the steps between the lines.
    assert 700 <= explain("PageJobs", **NO_FILTER | page).read <= 715
    nothing = NO_FILTER | {"task_name": "'none'"} | page | {"max_scanned": "1000"}
    assert 6000 <= explain("PageJobs", **nothing).read <= 6015
    lock = NO_FILTER | {"lock": "'l7'"} | page | {"by_line": "false"}
    assert explain("PageJobs", **lock).read == 60
    doing = page | {"statuses": "'{doing}'", "by_line": "false"}
    assert explain("PageJobs", **NO_FILTER | doing).read == 400
    # As after a VACUUM beside which another transaction ran: that of autovacuum is one.
    connection.execute("UPDATE pg_class SET relallvisible = 0 WHERE relname = 'taskq_jobs'")
    assert 700 <= explain("PageJobs", **NO_FILTER | page).read <= 715
    assert 6000 <= explain("PageJobs", **nothing).read <= 6015


def test_a_count_reads_what_waits_and_runs_and_samples_the_rest(explain: Explain) -> None:
    kinds = INDEXED | {"Tid Range Scan"}
    every = explain("CountJobs", kinds, ids="NULL", statuses=STATUSES, **NO_FILTER)
    alive = explain("CountJobs", kinds, ids="NULL", statuses="'{todo,doing}'", **NO_FILTER)
    assert alive.read == 9300
    failed = explain("CountJobs", kinds, ids="NULL", statuses="'{failed}'", **NO_FILTER)
    assert failed.read == 1500 + 1500
    sampled = every.read - alive.read - failed.read
    assert 300 < sampled < FINISHED / 2


def test_what_is_done_to_jobs_reads_those(connection: psycopg.Connection, explain: Explain) -> None:
    def ids(status: str, condition: str = "true") -> str:
        row = connection.execute(
            f"SELECT array_agg(id)::text FROM (SELECT id FROM taskq_jobs WHERE status = '{status}' "
            f"AND {condition} ORDER BY id LIMIT 100) AS job".encode()
        ).fetchone()
        assert row
        return f"'{row[0]}'"

    failed, waiting = ids("failed"), ids("todo", "lock IS NOT NULL")
    retry = dict.fromkeys(["retry_at", "retry_in", "priority", "queue_name", "lock"], "NULL")
    assert explain("RetryJobs", ids=failed, statuses=STATUSES, **retry).read == 200
    cancel = {"abort": "true", "delete_job": "false"}
    # A follower of each lock, past those that were cancelled.
    assert explain("CancelJobs", ids=waiting, statuses=STATUSES, **cancel).read <= 500
    vacuum(connection, "taskq_jobs")
    waiting = ids("todo", "lock IS NOT NULL")
    assert explain("DeleteJobs", ids=waiting, statuses=STATUSES).read <= 500
    reschedule = {"schedule_at": "NULL", "schedule_in": "9", "priority": "1", "queue_name": "NULL"}
    assert explain("RescheduleJobs", ids=waiting, statuses=STATUSES, **reschedule).read <= 500
    assert explain("AnnounceLocks", locks="'{l7,l8}'").read <= 2


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_deleting_old_jobs_reads_those_and_as_many_as_it_may_look_at(
    explain: Explain, status: str
) -> None:
    old = {"older_than": "86400", "queue_name": "NULL", "after": "0"}
    most = {"max_jobs": "100", "max_scanned": "200"}
    delete = explain("DeleteOldJobs", status=f"'{status}'", **old | most)
    # To look at, by an index once more in that; and to lock and to delete.
    assert delete.read == (400 if status == "succeeded" else 600)


@pytest.mark.parametrize("part", ["time", "queue", "task"])
def test_figures_of_what_ended_read_the_newest_jobs_and_a_sample(
    explain: Explain, part: str
) -> None:
    hour = {"part": f"'{part}'", "spans": "60", "seconds": "60"}
    assert 5000 < explain("SummarizeEnded", **hour).read <= 5000 + 200
    # Where all of the sample has ended in one span: some of each tier, and not all of some hundreds.
    assert explain("SummarizeEnded", **hour | {"seconds": "86400"}).read <= 5000 + 201 + 150
    latest = explain("ListLatestJobs", task_names="'{noop,none}'")
    assert latest.read == 10_000


def test_who_holds_what_is_read_from_indexes(explain: Explain) -> None:
    assert explain("ListLocks", max_locks="10").read == 3000
    assert explain("ListWorkers").read == 300
    assert (
        explain("ListStalledJobs", stalled_after="30", queue_name="NULL", task_name="NULL").read
        == 300
    )
