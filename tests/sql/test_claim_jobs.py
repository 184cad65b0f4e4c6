"""ClaimJobs: which jobs a worker gets, in which order, and what two workers never both get."""

import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.sql import sqlc
from tests.sql.conftest import Connect, Ids, Run
from tests.sql.sqlc import Query

FAR = "2100-01-01T00:00:00Z"
PAST = "2001-01-01T00:00:00Z"


def test_jobs_come_by_priority_then_by_id(defer: Ids, claim: Ids) -> None:
    low, first, second, high, locked = defer(
        {"priority": -1}, {}, {}, {"priority": 5}, {"priority": 2, "lock": "a"}
    )
    assert claim(2) == [high, locked]
    assert claim(2) == [first, second]
    assert claim(2) == [low]
    assert claim(2) == []


def test_a_claim_marks_the_job_with_worker_and_attempt(run: Run, defer: Ids, claim: Ids) -> None:
    [id_] = defer({})
    claim(worker_id=42)
    [job] = run("GetJob", id=id_)
    assert (job["status"], job["worker_id"]) == ("doing", 42)
    assert (job["claim"], job["attempt"]) == (1, 1)
    assert job["started_at"] >= job["deferred_at"]


def test_a_job_waits_for_its_time(defer: Ids, claim: Ids) -> None:
    _, due = defer({"scheduled_at": FAR}, {"scheduled_at": PAST})
    assert claim() == [due]


def test_a_worker_gets_only_what_is_in_its_queues(defer: Ids, claim: Ids) -> None:
    plain, mail, locked = defer({}, {"queue_name": "mail"}, {"queue_name": "mail", "lock": "a"})
    assert claim(queue_names=["print"]) == []
    assert claim(queue_names=["mail", "print"]) == [mail, locked]
    assert claim(queue_names=None) == [plain]


def test_jobs_of_one_lock_run_one_at_a_time_in_order(defer: Ids, claim: Ids, finish: Ids) -> None:
    second, third, first = defer({"lock": "a"}, {"lock": "a"}, {"lock": "a", "priority": 1})
    for expected in (first, second, third):
        assert claim() == [expected]
        assert claim() == [], "its lock is held"
        finish(expected)


def test_jobs_that_wait_for_a_busy_lock_do_not_bar_the_view(
    defer: Ids, claim: Ids, connection: psycopg.Connection
) -> None:
    ids = defer(*({"lock": "busy"} for _ in range(500)), {"lock": "other"})
    assert claim(1) == ids[:1]
    assert claim(1) == ids[-1:]
    assert claim(1) == []


def test_jobs_that_wait_for_a_busy_lock_do_not_bar_the_view_of_another_queue(
    defer: Ids, claim: Ids
) -> None:
    head, _, other = defer(
        {"lock": "busy", "queue_name": "a"},
        {"lock": "busy", "queue_name": "a"},
        {"lock": "free", "queue_name": "b"},
    )
    assert claim(1) == [head]
    assert claim(1) == [other]


def test_the_best_jobs_of_many_queues_come_first(defer: Ids, claim: Ids) -> None:
    ids = defer(*({"queue_name": f"q{n % 10}", "priority": -n} for n in range(50)))
    assert claim(7) == ids[:7]
    assert claim(7, queue_names=[f"q{n}" for n in range(10)]) == ids[7:14]


def test_a_head_that_is_not_due_holds_its_followers(defer: Ids, claim: Ids) -> None:
    _, _, other = defer({"lock": "a", "scheduled_at": FAR}, {"lock": "a"}, {"lock": "b"})
    assert claim() == [other]


def test_a_head_in_a_queue_that_is_not_served_here_holds_its_followers(
    defer: Ids, claim: Ids
) -> None:
    head, follower = defer({"lock": "a", "queue_name": "mail"}, {"lock": "a"})
    assert claim(queue_names=["default"]) == []
    assert claim(queue_names=["mail"]) == [head]
    assert follower > head


def test_a_claim_waits_for_no_other_and_takes_no_second_job_of_its_lock(
    connect: Connect, defer: Ids
) -> None:
    [first] = defer({"lock": "a"})
    slow, quick = connect(), connect()
    with slow.transaction():
        [taken] = sqlc.claim(slow, max_jobs=5)
        _, plain = defer({"lock": "a", "priority": 9}, {})
        assert [job["id"] for job in sqlc.claim(quick, max_jobs=5)] == [plain]
    assert taken["id"] == first
    assert sqlc.claim(quick, max_jobs=5) == [], "its lock is held"


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_what_a_claim_leaves_to_a_change_under_way_is_claimed_when_that_has_ended(
    connect: Connect, run: Run, queries: dict[str, Query], defer: Ids, claim: Ids, ends: str
) -> None:
    """The head is cancelled by a transaction that is open while claims look at the lock, and at another."""
    head, follower, other = defer({"lock": "a"}, {"lock": "a"}, {"lock": "b"})
    operator = connect()
    operator.autocommit = False
    queries["CancelJobs"].run(
        operator, ids=[head], statuses=["todo"], abort=False, delete_job=False
    )
    assert claim() == [other]
    assert claim() == []
    getattr(operator, ends)()
    assert claim() == [follower if ends == "commit" else head]


@pytest.mark.parametrize("queue_name", ["default", "mail"])
def test_a_job_that_is_deferred_while_the_head_for_later_is_cancelled_is_claimed(
    connect: Connect, queries: dict[str, Query], defer: Ids, claim: Ids, queue_name: str
) -> None:
    """Neither transaction sees what the other does."""
    [head] = defer({"lock": "a", "scheduled_at": FAR, "queue_name": queue_name})
    deferring = connect()
    with deferring.transaction():
        [row] = deferring.execute(
            "SELECT taskq_defer_jobs(%s)", ['[{"task_name": "noop", "lock": "a"}]']
        )
        connect().execute("SELECT 1")
        queries["CancelJobs"].run(
            connect(), ids=[head], statuses=["todo"], abort=False, delete_job=False
        )
        assert claim() == []
    assert claim(queue_names=["default", "mail"]) == [row[0]]


def test_a_lock_that_is_found_held_is_opened_when_its_job_ends_in_that_moment(
    connect: Connect, queries: dict[str, Query], defer: Ids, claim: Ids
) -> None:
    """Neither the end sees the job that is deferred meanwhile, nor the claim sees the end."""
    [first] = defer({"lock": "a"})
    assert claim() == [first]
    ending = connect()
    ending.autocommit = False
    outcome = {"job_id": first, "claim": 1, "status": "succeeded", "held_lock": "a"}
    queries["FinishJobs"].run(ending, worker_id=1, outcomes=json.dumps([outcome]))
    [second] = defer({"lock": "a"})
    assert claim() == []
    ending.commit()
    assert claim() == [second]


def test_jobs_of_one_lock_are_claimed_in_a_row_up_to_a_length(
    defer: Ids, claim: Ids, finish: Ids
) -> None:
    a = defer(*({"lock": "a"} for _ in range(4)))
    [b] = defer({"lock": "b"})
    [plain] = defer({})
    assert claim(run_length=3) == [*a[:3], b, plain]
    assert claim(run_length=3) == []
    finish(*a[:2])
    assert claim(run_length=3) == [], "the third holds it still"
    finish(a[2])
    assert claim(run_length=3) == a[3:]


def test_heads_of_other_locks_come_before_a_second_job_of_a_lock(defer: Ids, claim: Ids) -> None:
    a = defer(*({"lock": "a"} for _ in range(4)))
    b = defer(*({"lock": "b"} for _ in range(4)))
    assert claim(3, run_length=10) == [a[0], a[1], b[0]]


@pytest.mark.parametrize(
    "other",
    [{"queue_name": "mail"}, {"scheduled_at": FAR}],
    ids=["of a queue that is not served", "for later"],
)
def test_a_row_of_jobs_ends_before_one_that_may_not_run(
    defer: Ids, claim: Ids, other: dict[str, Any]
) -> None:
    first, _, _ = defer({"lock": "a"}, {"lock": "a"} | other, {"lock": "a"})
    assert claim(queue_names=["default"], run_length=10) == [first]


def test_a_row_of_jobs_ends_before_one_that_another_transaction_has(
    connect: Connect, defer: Ids, claim: Ids
) -> None:
    """It may be about to change its place, or when it is to run."""
    first, second, _ = defer(*[{"lock": "a"}] * 3)
    other = connect()
    with other.transaction():
        other.execute("SELECT FROM taskq_jobs WHERE id = %s FOR UPDATE", [second])
        assert claim(run_length=3) == [first]


def test_a_lock_whose_head_is_in_another_queue_is_left_to_who_serves_that(
    defer: Ids, claim: Ids, finish: Ids
) -> None:
    first, mail = defer({"lock": "a"}, {"lock": "a", "queue_name": "mail"})
    last = defer({"lock": "a"})
    assert claim(queue_names=["default"]) == [first]
    finish(first)
    assert claim(queue_names=["default"]) == []
    assert claim(queue_names=["mail"]) == [mail]
    finish(mail)
    assert claim(queue_names=["default"]) == last


def test_what_opens_a_busy_lock_again_and_again_does_not_hide_another(
    defer: Ids, claim: Ids
) -> None:
    [first] = defer({"lock": "busy"})
    assert claim() == [first]
    for _ in range(60):
        defer({"lock": "busy"})
    [other] = defer({"lock": "other"})
    assert claim(1) == [other]


def test_workers_side_by_side_run_each_job_once_and_each_lock_in_order(
    connect: Connect, connection: psycopg.Connection, queries: dict[str, Query], defer: Ids
) -> None:
    # The clock cannot be the witness: now() is read before a statement sees the table. A second
    # doing job of a lock trips over the index, and the log has the claims of a lock in true order.
    connection.execute(
        """
        CREATE UNIQUE INDEX ON taskq_jobs (lock) WHERE status = 'doing';
        CREATE TABLE claims (
            n bigint GENERATED ALWAYS AS IDENTITY, job_id bigint UNIQUE, lock text
        );
        CREATE FUNCTION log_claim() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO claims (job_id, lock) VALUES (NEW.id, NEW.lock);
            RETURN NULL;
        END $$;
        CREATE TRIGGER log_claim AFTER UPDATE ON taskq_jobs
        FOR EACH ROW WHEN (NEW.status = 'doing') EXECUTE FUNCTION log_claim();
        """
    )
    ids = defer(*({"lock": f"lock {n % 7}" if n % 3 else None} for n in range(600)))

    def drain(worker_id: int) -> None:
        with connect() as own:
            while own.execute("SELECT FROM taskq_jobs WHERE status = 'todo' LIMIT 1").rowcount:
                jobs = sqlc.claim(own, worker_id=worker_id, max_jobs=5)
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
        list(pool.map(drain, range(1, 5)))

    claimed = connection.execute("SELECT job_id, lock FROM claims ORDER BY n").fetchall()
    assert sorted(job_id for job_id, _ in claimed) == ids
    chains = defaultdict(list)
    for job_id, lock in claimed:
        chains[lock].append(job_id)
    del chains[None]
    assert len(chains) == 7
    assert all(chain == sorted(chain) for chain in chains.values())
    workers = connection.execute("SELECT count(DISTINCT worker_id) FROM taskq_jobs").fetchone()
    assert workers
    assert workers[0] > 1, "one worker alone proves nothing"
    assert connection.execute("SELECT count(*) FROM taskq_open_gates").fetchone() == (0,)


def test_a_claim_behind_marks_takes_what_lies_behind_them_and_beside_them(
    connection: psycopg.Connection, defer: Ids, claim: Ids
) -> None:
    before, behind = defer({}, {})
    higher, lower = defer({"priority": 5}, {"priority": -5})
    mail, sooner = defer({"queue_name": "mail"}, {"queue_name": "a queue before", "priority": 9})
    marks = {("default", 0): before, ("default", 2147483647): 99, ("post", -2147483648): 99}
    assert claim(2, marks=marks) == [sooner, higher]
    assert claim(marks=marks) == [behind, mail, lower]
    assert claim(marks=marks) == []
    assert claim(queue_names=["default", "mail"]) == [before]


def test_a_claim_behind_marks_serves_the_named_queues_only(defer: Ids, claim: Ids) -> None:
    before, behind = defer({}, {})
    mail, _ = defer({"queue_name": "mail"}, {"queue_name": "other"})
    marks = {("default", 0): before}
    assert claim(queue_names=["default", "mail"], marks=marks) == [behind, mail]


def test_marks_do_not_hide_a_job_with_a_lock(defer: Ids, claim: Ids) -> None:
    locked, free = defer({"lock": "a"}, {})
    assert claim(marks={("default", 0): free}) == [locked]
