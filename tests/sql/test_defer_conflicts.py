"""taskq_defer_jobs where a job with the same queueing lock waits: it is replaced, or the new one skipped."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.sql import sqlc
from tests.sql.conftest import Connect, DeferOn, Ids, JobOf, Notified, waiting_for
from tests.sql.sqlc import Query, Row

FAR = "2100-01-01T00:00:00Z"
# What a job is deferred with, and what of its row may differ from that of a new one.
EVERYTHING = {
    "task_name": "other",
    "args": {"n": 2},
    "queue_name": "mail",
    "priority": 7,
    "lock": "b",
    "queueing_lock": "x",
    "scheduled_at": FAR,
    "metadata": {"by": "web"},
    "tags": ["b", "a"],
}


@pytest.fixture
def replace(connection: psycopg.Connection, defer_on: DeferOn) -> DeferOn:
    """Defers jobs that replace those that wait with their queueing lock, ``x`` unless they say another."""

    def defer(*jobs: Any) -> list[int | None]:
        return defer_on(connection, "replace", *({"queueing_lock": "x"} | job for job in jobs))

    return defer


def claim_on(
    connection: psycopg.Connection, queries: dict[str, Query], worker_id: int
) -> list[Row]:
    return sqlc.claim(connection, worker_id=worker_id, max_jobs=1)


def test_a_job_that_waits_becomes_the_new_one_under_its_id(
    connection: psycopg.Connection, defer: Ids, replace: DeferOn, job_of: JobOf
) -> None:
    [id_] = defer({"queueing_lock": "x", "lock": "a", "tags": ["old"], "metadata": {"old": 1}})
    connection.execute(
        "UPDATE taskq_jobs SET claim = 4, attempt = 3, crashes = 2, given_back = 1, worker_id = 9,"
        " started_at = now(), deferred_at = now() - interval '1 day'"
    )
    before = job_of(id_)
    assert replace(EVERYTHING) == [id_]
    [fresh] = defer(EVERYTHING | {"queueing_lock": "y"})
    kept = {name: before[name] for name in ("id", "deferred_at", "claim", "queueing_lock")}
    assert job_of(id_) == job_of(fresh) | kept

    assert replace({}) == [id_]
    plain, now = job_of(id_), connection.execute("SELECT clock_timestamp()").fetchone()
    [fresh] = defer({})
    assert now
    assert before["deferred_at"] < plain["scheduled_at"] <= now[0], "it waits since it was replaced"
    assert plain == job_of(fresh) | kept | {"scheduled_at": plain["scheduled_at"]}


@pytest.mark.parametrize("wait", [{"schedule_in": 3600}, {"scheduled_at": FAR}, {}])
def test_the_new_time_is_that_of_the_new_job(
    defer: Ids, claim: Ids, replace: DeferOn, job_of: JobOf, wait: dict[str, Any]
) -> None:
    [now, later] = defer({"queueing_lock": "x"}, {"queueing_lock": "y", "scheduled_at": FAR})
    assert replace(wait, {"queueing_lock": "y"} | wait) == [now, later]
    due = not wait
    assert [job_of(id_)["due"] for id_ in (now, later)] == [due, due]
    assert claim() == ([now, later] if due else [])


def test_where_none_waits_a_job_is_deferred(defer: Ids, claim: Ids, replace: DeferOn) -> None:
    [first] = replace({})
    assert claim() == [first]
    [second] = replace({"args": {"n": 2}})
    assert second is not None
    assert second != first, "the first one runs already"
    assert claim() == [second]


def test_in_one_array_the_last_one_wins_and_all_have_its_id(
    replace: DeferOn, claim: Ids, job_of: JobOf
) -> None:
    jobs = [{"args": {"n": n}, "queueing_lock": lock} for n, lock in enumerate("xyxx")]
    x, y, again, last = replace(*jobs)
    assert x == again == last != y
    assert claim() == [x, y]
    assert [job_of(id_)["args"]["n"] for id_ in (x, y) if id_] == [3, 1]


def test_workers_hear_of_the_new_place_and_of_the_next_job_of_the_lock_that_was_left(
    defer: Ids, replace: DeferOn, claim: Ids, notified: Notified
) -> None:
    first, _ = defer(
        {"queueing_lock": "x", "lock": "a", "scheduled_at": FAR},
        {"lock": "a", "queue_name": "next"},
    )
    notified()
    replace({"lock": "a", "scheduled_at": FAR, "queue_name": "mail"})
    assert notified() == ["later 4102444800.000000 mail"], "it still holds its followers"
    replace({"lock": "b", "scheduled_at": FAR})
    assert notified() == ["later 4102444800.000000 default", "ready next"]
    replace({"lock": "a"})
    assert notified() == ["ready default"]
    replace({"lock": "a", "priority": -1})
    assert notified() == ["ready default", "ready next"]
    assert claim() == [first + 1], "which goes before it now"


def test_a_job_that_is_skipped_notifies_no_worker(
    connection: psycopg.Connection, defer_on: DeferOn, notified: Notified
) -> None:
    jobs = [{"queueing_lock": "x"}, {"queueing_lock": "x", "queue_name": "mail"}, {"lock": "a"}]
    first, skipped, other = defer_on(connection, "skip", *jobs)
    assert (first is None, skipped, other is None) == (False, None, False)
    assert notified() == ["ready default"]
    assert defer_on(connection, "skip", *jobs[:2]) == [None, None]
    assert notified() == []


@pytest.mark.parametrize("jobs", [[{}], [{"queueing_lock": "x"}, {"queueing_lock": None}]])
def test_without_a_queueing_lock_none_is_replaced(
    connection: psycopg.Connection, defer_on: DeferOn, jobs: list[dict[str, Any]]
) -> None:
    with pytest.raises(
        psycopg.errors.InvalidParameterValue,
        match=f"job {len(jobs) - 1} of the array has no queueing_lock",
    ) as refused:
        defer_on(connection, "replace", *jobs)
    assert (
        refused.value.diag.message_hint == "By it on_conflict 'replace' finds the job that waits."
    )
    assert connection.execute("SELECT FROM taskq_jobs").rowcount == 0


def test_another_way_to_treat_a_conflict_is_refused(
    connection: psycopg.Connection, defer_on: DeferOn
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="on_conflict is 'ignore'"):
        defer_on(connection, "ignore", {})


# In the same moment


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_job_that_is_claimed_in_the_same_moment_runs_and_another_one_waits(
    connect: Connect,
    queries: dict[str, Query],
    defer: Ids,
    defer_on: DeferOn,
    job_of: JobOf,
    ends: str,
) -> None:
    [first] = defer({"queueing_lock": "x", "args": {"n": 1}})
    claiming, replacing = connect(), connect()
    claiming.autocommit = False
    with waiting_for(claiming, replacing, connect()) as run:
        assert [job["id"] for job in claim_on(claiming, queries, 1)] == [first]
        late = run(defer_on, replacing, "replace", {"queueing_lock": "x", "args": {"n": 2}})
        getattr(claiming, ends)()
        [second] = late.result(timeout=10)
    if ends == "commit":
        assert (job_of(first)["status"], job_of(first)["args"]) == ("doing", {"n": 1})
        assert second != first
        assert (job_of(second)["status"], job_of(second)["args"]) == ("todo", {"n": 2})
    else:
        assert second == first
        assert (job_of(first)["status"], job_of(first)["args"]) == ("todo", {"n": 2})


def test_a_worker_passes_over_a_job_while_it_is_replaced(
    connect: Connect, queries: dict[str, Query], defer: Ids, defer_on: DeferOn
) -> None:
    [first] = defer({"queueing_lock": "x", "args": {"n": 1}})
    replacing, claiming = connect(), connect()
    with replacing.transaction():
        defer_on(replacing, "replace", {"queueing_lock": "x", "args": {"n": 2}})
        assert claim_on(claiming, queries, 1) == []
    [job] = claim_on(claiming, queries, 1)
    assert (job["id"], job["args"]) == (first, {"n": 2})


def test_of_two_that_come_at_once_the_later_one_replaces_the_other(
    connect: Connect, defer_on: DeferOn, job_of: JobOf, connection: psycopg.Connection
) -> None:
    early, late = connect(), connect()
    with waiting_for(early, late, connect()) as run:
        with early.transaction():
            [first] = defer_on(early, "replace", {"queueing_lock": "x", "args": {"n": 1}})
            waits = run(defer_on, late, "replace", {"queueing_lock": "x", "args": {"n": 2}})
        assert waits.result(timeout=10) == [first]
    assert first
    assert job_of(first)["args"] == {"n": 2}
    assert connection.execute("SELECT FROM taskq_jobs").rowcount == 1


def test_where_snapshots_are_kept_a_conflict_is_a_serialization_failure(
    connect: Connect, defer: Ids, claim: Ids, defer_on: DeferOn
) -> None:
    [first] = defer({"queueing_lock": "x"})
    replacing = connect()
    replacing.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    replacing.autocommit = False
    replacing.execute("SELECT 1 FROM taskq_jobs")
    assert claim() == [first]
    with pytest.raises(psycopg.errors.SerializationFailure):
        defer_on(replacing, "replace", {"queueing_lock": "x"})


def test_what_is_replaced_while_workers_claim_runs_once_with_what_came_last(
    connect: Connect, connection: psycopg.Connection, queries: dict[str, Query], defer_on: DeferOn
) -> None:
    # Each row that was claimed, with what it was claimed with.
    connection.execute(
        """
        CREATE TABLE claims (job_id bigint PRIMARY KEY, queueing_lock text, n integer);
        CREATE FUNCTION log_claim() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO claims VALUES (NEW.id, NEW.queueing_lock, (NEW.args -> 'n')::integer);
            RETURN NULL;
        END $$;
        CREATE TRIGGER log_claim AFTER UPDATE ON taskq_jobs
        FOR EACH ROW WHEN (NEW.status = 'doing') EXECUTE FUNCTION log_claim();
        """
    )
    locks, times = [f"lock {n}" for n in range(3)], 200
    answered: dict[str, list[int | None]] = {lock: [] for lock in locks}

    def replace(lock: str) -> None:
        with connect() as own:
            for n in range(times):
                job = {"queueing_lock": lock, "args": {"n": n}, "lock": [None, lock][n % 2]}
                answered[lock] += defer_on(own, "replace", job)

    def drain(worker_id: int) -> None:
        with connect() as own:
            while True:
                nothing_comes = all(done.done() for done in replacing)
                jobs = claim_on(own, queries, worker_id)
                if nothing_comes and not jobs:
                    return
                outcomes = [
                    {
                        "job_id": job["id"],
                        "claim": 1,
                        "status": "succeeded",
                        "held_lock": job["lock"],
                    }
                    for job in jobs
                ]
                queries["FinishJobs"].run(own, worker_id=worker_id, outcomes=json.dumps(outcomes))

    with ThreadPoolExecutor() as pool:
        replacing = [pool.submit(replace, lock) for lock in locks]
        for done in [*replacing, *(pool.submit(drain, worker_id) for worker_id in (1, 2, 3))]:
            done.result(timeout=60)

    for lock in locks:
        claimed = connection.execute(
            "SELECT job_id, n FROM claims WHERE queueing_lock = %s ORDER BY job_id", [lock]
        ).fetchall()
        assert [id_ for id_, _ in claimed] == sorted({id_ for id_ in answered[lock] if id_})
        # Of each job what came last before it was claimed: the last of those that were answered its id.
        last = {id_: n for n, id_ in enumerate(answered[lock])}
        assert dict(claimed) == last
        assert 1 < len(claimed) < times, "some ran, and some were replaced"
