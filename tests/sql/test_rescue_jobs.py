"""RescueJobs: what becomes of the jobs of a worker that died."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import STATUSES, Connect, HeldLocks, Ids, JobOf, Notified, Run
from tests.sql.sqlc import Query, Row

STALLED_AFTER = 60.0
BOUNDS = {"stalled_after": STALLED_AFTER, "max_crashes": 3}

Rescue = Callable[[], list[int]]
Register = Callable[..., int]
Stall = Callable[[int], None]


@pytest.fixture
def rescue(run: Run) -> Rescue:
    """Rescues jobs; returns their ids, sorted."""

    def rescue_jobs() -> list[int]:
        return sorted(row["id"] for row in run("RescueJobs", **BOUNDS))

    return rescue_jobs


@pytest.fixture
def register(run: Run) -> Register:
    """Registers a worker that is alive; returns its id."""

    def register_worker(concurrency: int = 1) -> int:
        [row] = run(
            "RegisterWorker",
            name="w",
            queue_names=None,
            concurrency=concurrency,
            host=None,
            version=None,
        )
        return int(row["id"])

    return register_worker


@pytest.fixture
def stall(connection: psycopg.Connection) -> Stall:
    """Lets the last heartbeat of a worker be too old."""

    def stall_worker(id_: int) -> None:
        connection.execute(
            "UPDATE taskq_workers SET last_heartbeat = now() - interval '61 s' WHERE id = %s", [id_]
        )

    return stall_worker


def test_the_jobs_of_a_dead_worker_wait_again(
    run: Run,
    connection: psycopg.Connection,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    held_locks: HeldLocks,
    notified: Notified,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    dead = register(concurrency=2)
    plain, locked, _ = defer(
        {}, {"lock": "a", "queue_name": "mail"}, {"scheduled_at": "2100-01-01"}
    )
    claim(worker_id=dead)
    before = job_of(locked)
    stall(dead)
    notified()

    assert rescue() == [plain, locked]
    assert job_of(locked) == before | {"status": "todo", "crashes": 1}
    assert before["due"]
    assert held_locks() == []
    assert notified() == ["ready default", "ready mail"]
    [attempt] = run("ListFailedAttempts", job_id=plain)
    assert (attempt["claim"], attempt["attempt"], attempt["worker_id"]) == (1, 1, dead)
    assert attempt["error_type"] == "taskq.exceptions.WorkerDied"
    assert attempt["started_at"] < attempt["failed_at"]
    assert connection.execute("SELECT FROM taskq_workers").fetchall() == []

    assert rescue() == []
    assert claim(worker_id=register()) == [plain, locked]
    assert (job_of(locked)["claim"], job_of(locked)["attempt"]) == (2, 2)


def test_a_job_that_took_down_its_worker_too_often_ends_as_failed(
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    held_locks: HeldLocks,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    [id_] = defer({"lock": "a"})
    ends = []
    for _ in range(3):
        worker = register()
        assert claim(worker_id=worker) == [id_]
        stall(worker)
        assert rescue() == [id_]
        ends.append((job_of(id_)["status"], job_of(id_)["crashes"]))
    assert ends == [("todo", 1), ("todo", 2), ("failed", 3)]
    assert job_of(id_)["finished_at"] >= job_of(id_)["started_at"]
    assert held_locks() == []
    messages = [row["error_message"] for row in run("ListFailedAttempts", job_id=id_)]
    assert messages == [
        "its worker died while the job ran",
        "its worker died while the job ran",
        "its worker died while the job ran, crash number 3, and ran nothing else: it is not tried again",
    ]


def test_the_jobs_of_a_live_worker_are_not_touched(
    run: Run,
    connection: psycopg.Connection,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    alive, dead = register(), register()
    [id_] = defer({})
    claim(worker_id=alive)
    # A long job is no sign of death.
    connection.execute("UPDATE taskq_jobs SET started_at = now() - interval '1 day'")
    before = job_of(id_)
    stall(dead)
    assert rescue() == []
    assert job_of(id_) == before
    workers = run("ListPeers", stalled_after=STALLED_AFTER)
    assert [worker["id"] for worker in workers] == [alive]


def test_the_jobs_of_a_worker_without_a_row_wait_as_long_as_a_heartbeat_may(
    run: Run,
    connection: psycopg.Connection,
    defer: Ids,
    claim: Ids,
    rescue: Rescue,
    register: Register,
) -> None:
    gone = register()
    old, young = defer({}, {})
    claim(worker_id=gone)
    run("UnregisterWorker", id=gone)
    connection.execute(
        "UPDATE taskq_jobs SET started_at = now() - make_interval(secs => 61) WHERE id = %s", [old]
    )
    assert rescue() == [old]
    connection.execute("UPDATE taskq_jobs SET started_at = now() - make_interval(secs => 61)")
    assert rescue() == [young]


def test_a_rescued_job_that_meets_its_own_queueing_lock_ends_as_failed(
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    dead = register()
    [barred] = defer({"queueing_lock": "q"})
    claim(worker_id=dead)
    [waiting] = defer({"queueing_lock": "q"})
    stall(dead)
    assert rescue() == [barred]
    assert (job_of(barred)["status"], job_of(waiting)["status"]) == ("failed", "todo")
    [attempt] = run("ListFailedAttempts", job_id=barred)
    assert attempt["error_message"] == (
        "its worker died while the job ran; not queued again: "
        "another job with the queueing lock 'q' waits already"
    )


def two_of_one_queueing_lock(defer: Ids, claim: Ids, *, worker_id: int) -> list[int]:
    """Two jobs that run side by side, as the first had stopped waiting when the second came."""
    ids = []
    for _ in range(2):
        ids += defer({"queueing_lock": "q"})
        claim(worker_id=worker_id)
    return ids


def test_of_two_rescued_jobs_with_one_queueing_lock_one_waits(
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    dead = register()
    first, second = two_of_one_queueing_lock(defer, claim, worker_id=dead)
    stall(dead)
    assert rescue() == [first, second]
    assert (job_of(first)["status"], job_of(second)["status"]) == ("todo", "failed")


def test_a_rescued_job_is_not_barred_by_one_that_is_not_tried_again(
    connection: psycopg.Connection,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    ids = []
    for _ in range(2):
        ids += defer({"queueing_lock": "q"})
        dead = register()
        claim(worker_id=dead)
        stall(dead)
    poison, other = ids
    connection.execute("UPDATE taskq_jobs SET crashes = 2 WHERE id = %s", [poison])
    assert rescue() == [poison, other]
    assert (job_of(poison)["status"], job_of(other)["status"]) == ("failed", "todo")


def test_what_a_dead_worker_had_only_claimed_has_not_crashed(
    connection: psycopg.Connection,
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    dead = register(concurrency=2)
    later, first, urgent, last = defer({}, {}, {"priority": 1}, {})
    connection.execute("UPDATE taskq_jobs SET given_back = 2")
    claim(1, worker_id=dead)
    claim(1, worker_id=dead)
    claim(worker_id=dead)
    stall(dead)
    assert rescue() == sorted([later, first, urgent, last])
    # As it begins them: by when it claimed them, then by priority and id.
    counted = {id_: (job_of(id_)["crashes"], job_of(id_)["attempt"]) for id_ in (urgent, later)}
    assert counted == {urgent: (1, 1), later: (1, 1)}
    assert job_of(urgent)["given_back"] is None, "a worker knew it"
    for id_ in (first, last):
        assert (job_of(id_)["crashes"], job_of(id_)["attempt"]) == (0, 0)
        assert job_of(id_)["given_back"] == 2
        assert run("ListFailedAttempts", job_id=id_) == []


def test_a_job_fails_for_its_crashes_only_if_nothing_else_can_have_done_it(
    connection: psycopg.Connection,
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    suspect, other = defer({}, {})
    connection.execute("UPDATE taskq_jobs SET crashes = 2")
    dead = register(concurrency=1)
    claim(worker_id=dead)
    stall(dead)
    assert rescue() == [suspect, other]
    assert (job_of(suspect)["status"], job_of(suspect)["crashes"]) == ("todo", 3)
    assert (job_of(other)["status"], job_of(other)["crashes"]) == ("todo", 2)

    # Nor if its worker is gone without a trace.
    gone = register()
    claim(1, worker_id=gone)
    run("UnregisterWorker", id=gone)
    connection.execute("UPDATE taskq_jobs SET started_at = now() - interval '61 s'")
    assert rescue() == [suspect]
    assert job_of(suspect)["status"] == "todo"

    dead = register()
    claim(1, worker_id=dead)
    stall(dead)
    assert rescue() == [suspect]
    assert job_of(suspect)["status"] == "failed"


def test_a_worker_that_was_killed_for_not_stopping_was_killed_by_no_job(
    connection: psycopg.Connection,
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    [id_] = defer({})
    connection.execute("UPDATE taskq_jobs SET crashes = 2")
    dead = register()
    claim(worker_id=dead)
    connection.execute("UPDATE taskq_workers SET stopping = true")
    stall(dead)
    assert rescue() == [id_]
    assert (job_of(id_)["status"], job_of(id_)["crashes"]) == ("todo", 2)
    assert len(run("ListFailedAttempts", job_id=id_)) == 1


@pytest.mark.parametrize("has_row", [True, False])
def test_of_two_rescuers_at_once_one_does_the_work(
    run: Run,
    connect: Connect,
    connection: psycopg.Connection,
    queries: dict[str, Query],
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    register: Register,
    stall: Stall,
    has_row: bool,
) -> None:
    dead = register()
    [id_] = defer({"lock": "a"})
    claim(worker_id=dead)
    if has_row:
        stall(dead)
    else:
        run("UnregisterWorker", id=dead)
        connection.execute("UPDATE taskq_jobs SET started_at = now() - interval '61 s'")

    first, second, observer = connect(), connect(), connect()
    rescue = queries["RescueJobs"]
    with ThreadPoolExecutor() as pool:
        with first.transaction():
            assert [row["id"] for row in rescue.run(first, **BOUNDS)] == [id_]
            late = pool.submit(rescue.run, second, **BOUNDS)
            blocked_by: tuple[Any, ...] | None = None
            # It waits for the worker's row, if there is one, and passes over the job's.
            while has_row and blocked_by != ([first.info.backend_pid],):
                assert not late.done(), late.result()
                blocked_by = observer.execute(
                    "SELECT pg_blocking_pids(%s)", [second.info.backend_pid]
                ).fetchone()
            if not has_row:
                assert late.result(timeout=10) == []
        assert late.result(timeout=10) == []
    assert (job_of(id_)["status"], job_of(id_)["crashes"]) == ("todo", 1)
    assert len(run("ListFailedAttempts", job_id=id_)) == 1


def test_a_worker_that_was_thought_dead_cannot_end_what_was_rescued(
    run: Run,
    defer: Ids,
    claim: Ids,
    finish: Ids,
    job_of: JobOf,
    held_locks: HeldLocks,
    rescue: Rescue,
    register: Register,
    stall: Stall,
) -> None:
    dead, alive = register(), register()
    [id_] = defer({"lock": "a"})
    claim(worker_id=dead)
    stall(dead)
    rescue()
    assert run("ListDoingJobs", worker_id=dead) == []
    assert finish(id_, worker_id=dead) == []
    assert job_of(id_)["status"] == "todo"

    claim(worker_id=alive)
    assert finish(id_, worker_id=dead) == []
    assert finish(id_, worker_id=dead, claim=2) == []
    assert (job_of(id_)["status"], held_locks()) == ("doing", [("a", id_)])
    assert finish(id_, worker_id=alive, claim=2) == [id_]


def test_a_worker_is_registered_as_long_as_its_row_is_as_it_left_it(
    run: Run, connection: psycopg.Connection, rescue: Rescue, stall: Stall
) -> None:
    def beat(worker: Row, **values: Any) -> Row | None:
        known = {name: worker[name] for name in ("id", "incarnation", "last_heartbeat")} | values
        [asked] = run("IsWorkerRegistered", **known)
        rows = run("BeatWorker", stopping=False, **known)
        assert asked["registered"] is (rows != [])
        return rows[0] if rows else None

    [worker] = run(
        "RegisterWorker", name="w", queue_names=["mail"], concurrency=1, host=None, version=None
    )
    first = beat(worker)
    assert first
    second = beat(worker, last_heartbeat=first["last_heartbeat"])
    assert second
    assert second["last_heartbeat"] > first["last_heartbeat"] > worker["last_heartbeat"]
    assert beat(worker), "the answer to the second one was lost"

    # As after a restore; in another database; and taken for dead.
    stall(worker["id"])
    assert beat(worker, last_heartbeat=second["last_heartbeat"]) is None
    assert beat(worker, last_heartbeat=second["last_heartbeat"] - timedelta(hours=1))
    assert beat(worker, incarnation=worker["incarnation"] + "0") is None
    stall(worker["id"])
    rescue()
    assert beat(worker, last_heartbeat=second["last_heartbeat"] - timedelta(hours=1)) is None
    assert run("ListPeers", stalled_after=STALLED_AFTER) == []

    clock = connection.execute("SELECT extract(EPOCH FROM clock_timestamp())").fetchone()
    assert clock
    assert 0 <= float(clock[0]) - second["server_time"] + 60 < 61


def test_the_id_of_a_worker_is_random_and_json_carries_it(
    run: Run, connection: psycopg.Connection, register: Register
) -> None:
    ids = {register() for _ in range(200)}
    assert len(ids) == 200
    assert max(ids) > 2**50
    assert all(0 < id_ <= 2**52 for id_ in ids)
    # Each bit of them, as none of the fixed bits of a UUID is among them.
    assert all(50 < sum((id_ - 1) >> bit & 1 for id_ in ids) < 150 for bit in range(52))


def test_a_job_that_was_to_be_aborted_is_not_run_again(
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    register: Register,
    stall: Stall,
    rescue: Rescue,
) -> None:
    [id_] = defer({})
    dead = register()
    claim(worker_id=dead)
    run("CancelJobs", ids=[id_], statuses=STATUSES, abort=True, delete_job=False)
    stall(dead)
    assert rescue() == [id_]
    assert job_of(id_)["status"] == "aborted"


def test_a_lock_that_was_freed_by_hand_is_opened(
    connection: psycopg.Connection, run: Run, defer: Ids, claim: Ids
) -> None:
    first, second, _, _, other, _ = defer(
        *({"lock": "a"}, {"lock": "a"}),
        *({"lock": "b"}, {"lock": "b"}),
        *({"lock": "c"}, {"lock": "c"}),
    )
    claim()
    assert claim() == []
    # By hand, past the queries.
    connection.execute(
        "UPDATE taskq_jobs SET status = 'succeeded' WHERE id = ANY(%s)", [[first, other]]
    )
    assert claim() == []

    def opened(after_lock: str) -> tuple[str, int]:
        [row] = run("OpenForgottenGates", after_lock=after_lock, after_limit="", max_gates=2)
        return row["last_lock"], row["opened"]

    assert opened("") == ("b", 1)
    assert claim() == [second]
    assert opened("b") == ("c", 1)
    assert opened("c") == ("", 0)
