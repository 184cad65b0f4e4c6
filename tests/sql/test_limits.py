"""How many jobs of a limit run at once, and how many start in a time, as claims decide it."""

import json
import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import chain, pairwise
from typing import Any

import psycopg
import pytest

from tests.sql import sqlc
from tests.sql.conftest import Connect, Ids, JobOf, Run

Declare = Callable[..., None]
States = Callable[[], dict[str, Any]]

TENANT = {"limit": "tenant", "limit_key": "acme"}


@pytest.fixture
def declare(run: Run) -> Declare:
    """Says what a limit allows, as a worker's app does, and has claims look at it."""

    def declare_limit(name: str, queues: tuple[str, ...] = (), **figures: Any) -> None:
        limits = [{"limit_key": name, "burst": 1 if "rate" in figures else None} | figures]
        run("DeclareLimits", limits=json.dumps(limits), declared_by="test")
        queue_limits = [{"queue_name": queue, "limit_key": name} for queue in queues]
        run("DeclareQueueLimits", queue_limits=json.dumps(queue_limits), declared_by="test")
        run("OpenLimits", names=[name])

    return declare_limit


@pytest.fixture
def states(run: Run) -> States:
    """How full the limits are, by key."""

    def list_limits() -> dict[str, Any]:
        return {row["limit_key"]: row for row in run("ListLimits", name=None, max_limits=10_000)}

    return list_limits


def gates(connection: psycopg.Connection) -> list[tuple[str, bool]]:
    """The limits with a gate, and whether it is open."""
    return connection.execute(
        "SELECT DISTINCT limit_key, open_at IS NULL FROM taskq_limit_gates ORDER BY limit_key"
    ).fetchall()


def wait_for_token(connection: psycopg.Connection, run: Run) -> None:
    """Wait until the next start of a rate, as a worker's scheduler does, and open what it opens."""
    connection.execute(
        "SELECT pg_sleep_until(max(open_at)) FROM taskq_limit_gates WHERE open_at IS NOT NULL"
    )
    run("PromoteJobs", max_jobs=1000)


def test_no_more_jobs_run_than_a_limit_has_room_for_and_each_end_lets_the_next_one_in(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("tenant", concurrency=2)
    ids = defer(*[TENANT] * 5)
    assert claim() == ids[:2]
    assert claim() == []
    finish(ids[0])
    assert claim() == [ids[2]]
    finish(ids[1], ids[2])
    assert claim() == ids[3:]


def test_each_key_of_a_limit_has_a_room_of_its_own(
    declare: Declare, defer: Ids, claim: Ids
) -> None:
    declare("tenant", concurrency=1)
    ids = defer(TENANT, TENANT, {"limit": "tenant", "limit_key": "b"}, {"limit": "tenant"}, {})
    assert claim() == [ids[0], ids[2], ids[3], ids[4]]


def test_jobs_of_a_full_limit_are_no_reason_to_claim(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, run: Run
) -> None:
    declare("tenant", concurrency=1)
    defer(*[TENANT] * 3)
    assert run("HasReadyJobs", queue_names=None)[0]["ready"]
    claim()
    assert gates(connection) == []
    assert not run("HasReadyJobs", queue_names=None)[0]["ready"]
    assert not run("HasReadyJobs", queue_names=["default"])[0]["ready"]


def test_a_limit_that_is_not_declared_lets_no_job_start_until_it_is(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, run: Run
) -> None:
    [id_] = defer(TENANT)
    assert claim() == []
    assert gates(connection) == [("tenant:acme", False)]
    declare("tenant", concurrency=1)
    assert claim() == [id_]


def test_a_job_with_the_higher_priority_comes_first_in_a_limit(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("tenant", concurrency=1)
    low, high = defer(TENANT, TENANT | {"priority": 5})
    assert claim() == [high]
    [highest] = defer(TENANT | {"priority": 9})
    finish(high)
    assert claim() == [highest]
    finish(highest)
    assert claim() == [low]


def test_limits_of_one_priority_are_taken_in_turn_and_not_by_the_length_of_their_backlogs(
    declare: Declare, defer: Ids, claim: Ids, job_of: JobOf
) -> None:
    declare("tenant", concurrency=100)
    long = defer(*[{"limit": "tenant", "limit_key": "long"}] * 50)
    short = defer(*[{"limit": "tenant", "limit_key": "short"}] * 5)
    other = defer(*[{"limit": "tenant", "limit_key": "other"}] * 5)
    claimed = [claim(max_jobs=3) for _ in range(4)]
    for ids in claimed:
        assert {job_of(id_)["limit_key"] for id_ in ids} == {
            "tenant:long",
            "tenant:short",
            "tenant:other",
        }
    assert sorted(chain(*claimed)) == sorted(long[:4] + short[:4] + other[:4])


def test_jobs_without_a_limit_keep_their_place_among_those_with_one(
    declare: Declare, defer: Ids, claim: Ids
) -> None:
    declare("tenant", concurrency=10)
    ids = defer({}, TENANT, {}, TENANT, {})
    assert claim(max_jobs=2) == ids[:2]
    assert claim(max_jobs=2) == ids[2:4]
    assert claim() == ids[4:]


@pytest.mark.parametrize("name", ["not declared", "not declared {}"])
def test_limits_without_room_have_no_job_behind_them_overtaken_by_one_of_lower_priority(
    declare: Declare, defer: Ids, claim: Ids, name: str
) -> None:
    declare("tenant", concurrency=1)
    [low] = defer({})
    for n in range(9):
        defer({"limit": name.format(n), "priority": 1})
    [limited] = defer({"limit": "tenant", "priority": 1})
    assert claim(1) == [limited]
    assert claim(1) == [low]


def test_the_place_that_a_job_of_higher_priority_leaves_has_no_other_one_overtaken(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    """Its gate has its priority, and not that of the next one."""
    declare("stripe", concurrency=1)
    declare("mail", concurrency=1)
    urgent, low = defer({"limit": "stripe", "priority": 5}, {"limit": "stripe"})
    assert claim(1) == [urgent]
    [high] = defer({"limit": "mail", "priority": 1})
    finish(urgent)
    assert claim(1) == [high]
    assert claim(1) == [low]


def test_the_jobs_of_a_limit_in_a_queue_that_no_worker_serves_hold_up_none_in_another(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("tenant", concurrency=1)
    elsewhere, here, next_ = defer(
        TENANT | {"queue_name": "a"}, TENANT | {"queue_name": "b"}, TENANT | {"queue_name": "b"}
    )
    assert claim(queue_names=["b"]) == [here]
    finish(here)
    assert claim(queue_names=["b"]) == [next_]
    finish(next_)
    assert claim(queue_names=["a"]) == [elsewhere]


@pytest.mark.parametrize("way", ["retry", "snooze", "release"])
def test_a_job_that_goes_back_makes_room(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids, way: str
) -> None:
    declare("tenant", concurrency=1)
    first, second = defer(TENANT, TENANT)
    claim()
    options = {"retry": {"retry_in": 60}, "snooze": {"retry_in": 60, "keeps_attempt": True}}
    finish(first, **{"status": "todo"} | options.get(way, {"keeps_attempt": True}))
    assert claim() == [first if way == "release" else second]


def test_the_job_of_a_dead_worker_makes_room(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, run: Run
) -> None:
    declare("tenant", concurrency=1)
    first, _ = defer(TENANT, TENANT)
    [dead] = run(
        "RegisterWorker", name="dead", queue_names=None, concurrency=1, host=None, version=None
    )
    assert claim(worker_id=dead["id"]) == [first]
    connection.execute("UPDATE taskq_workers SET last_heartbeat = now() - interval '1 hour'")
    run("RescueJobs", stalled_after=30.0, max_crashes=3)
    assert claim() == [first]


def test_a_late_end_of_an_attempt_that_was_rescued_makes_no_room(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, finish: Ids, run: Run
) -> None:
    declare("tenant", concurrency=1)
    first, _ = defer(TENANT, TENANT)
    [dead] = run(
        "RegisterWorker", name="dead", queue_names=None, concurrency=1, host=None, version=None
    )
    claim(worker_id=dead["id"])
    connection.execute("UPDATE taskq_workers SET last_heartbeat = now() - interval '1 hour'")
    run("RescueJobs", stalled_after=30.0, max_crashes=3)
    assert claim() == [first]
    assert finish(first, worker_id=dead["id"]) == []
    assert claim() == []


def test_a_job_with_a_lock_and_a_limit_waits_for_both_and_holds_those_behind_it(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("tenant", concurrency=1)
    both = TENANT | {"lock": "a"}
    running, head, follower, plain_follower = defer(TENANT, both, both, {"lock": "a"})
    assert claim() == [running]
    assert claim() == []
    finish(running)
    assert claim() == [head]
    finish(head)
    assert claim() == [follower]
    finish(follower)
    assert claim() == [plain_follower]
    assert connection.execute("SELECT count(*) FROM taskq_open_gates").fetchone() == (0,)


def test_a_job_that_waits_at_a_limit_and_is_not_the_first_of_its_lock_any_more_waits_for_that_again(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("tenant", concurrency=1)
    running, head = defer(TENANT, TENANT | {"lock": "a"})
    assert claim() == [running]
    [first] = defer({"lock": "a", "priority": 1})
    assert claim() == [first]
    finish(running)
    assert claim() == []
    finish(first)
    assert claim() == [head]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE taskq_jobs SET status = 'cancelled', finished_at = now() WHERE id = ANY(%(ids)s)",
        "DELETE FROM taskq_jobs WHERE id = ANY(%(ids)s)",
        "UPDATE taskq_jobs SET queue_name = 'other' WHERE id = ANY(%(ids)s)",
        "UPDATE taskq_jobs SET limit_key = 'another' WHERE id = ANY(%(ids)s)",
        "UPDATE taskq_jobs SET due = false, scheduled_at = now() + interval '1 h' WHERE id = ANY(%(ids)s)",
        "UPDATE taskq_jobs SET priority = -1 WHERE id = ANY(%(ids)s)",
        "UPDATE taskq_jobs SET task_name = 'paused' WHERE id = ANY(%(ids)s)",
    ],
    ids=[
        "cancelled",
        "deleted",
        "moved",
        "another limit",
        "later",
        "behind another",
        "task paused",
    ],
)
@pytest.mark.parametrize("max_jobs", [1, 3])
def test_what_waited_at_a_limit_and_does_not_any_more_takes_no_place_in_a_claim(
    connection: psycopg.Connection,
    declare: Declare,
    defer: Ids,
    claim: Ids,
    finish: Ids,
    change: str,
    max_jobs: int,
) -> None:
    """Or a worker with few slots would take what is ready for all there is, and sleep."""
    declare("tenant", concurrency=20)
    running = defer(*[TENANT] * 20)
    assert claim(max_jobs=20) == running
    gone = defer(*[TENANT | {"lock": f"lock {n}", "priority": 9} for n in range(20)])
    defer(*[{"lock": f"lock {n}", "queue_name": "other"} for n in range(20)])
    assert claim(queue_names=["default"]) == []
    connection.execute("INSERT INTO taskq_pauses (kind, name) VALUES ('task', 'paused')")
    connection.execute(change.encode(), {"ids": gone})
    [ready] = defer({})
    finish(*running)
    assert claim(queue_names=["default"], max_jobs=max_jobs) == [ready]


def test_nor_is_one_claimed_that_is_not_the_first_of_its_lock_behind_gates_left_several_times(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("tenant", concurrency=2)
    running = defer(TENANT, TENANT)
    assert claim() == running
    [head, _] = defer(TENANT | {"lock": "a", "priority": 1}, TENANT | {"lock": "b"})
    assert claim() == []
    connection.execute(
        "INSERT INTO taskq_open_gates SELECT gate.* FROM taskq_open_gates AS gate, generate_series(1, 9) "
        "WHERE gate.lock = 'a'"
    )
    defer({"lock": "b", "priority": 2, "queue_name": "other"})
    finish(*running)
    assert claim(queue_names=["default"], max_jobs=3) == [head]


def test_a_run_of_a_lock_ends_before_a_job_with_a_limit(
    declare: Declare, defer: Ids, claim: Ids
) -> None:
    declare("tenant", concurrency=5)
    ids = defer({"lock": "a"}, {"lock": "a"}, {"lock": "a"} | TENANT, {"lock": "a"})
    assert claim(run_length=10) == ids[:2]


def test_a_limit_of_a_queue_counts_all_jobs_of_it_however_they_were_deferred(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids, run: Run
) -> None:
    declare("tenant", concurrency=1)
    declare("stripe", ("pay",), concurrency=3)
    plain, locked, limited, second, other = defer(
        {"queue_name": "pay"},
        {"queue_name": "pay", "lock": "a"},
        {"queue_name": "pay"} | TENANT,
        {"queue_name": "pay", "priority": 1},
        {},
    )
    assert claim() == [second, plain, locked, other]
    assert not run("HasReadyJobs", queue_names=None)[0]["ready"]
    assert claim() == []
    finish(second)
    assert run("HasReadyJobs", queue_names=["pay"])[0]["ready"]
    assert claim() == [limited]


def test_jobs_of_a_limit_and_those_of_a_queue_with_the_same_limit_share_one_room(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("stripe", ("pay", "refund"), concurrency=2)
    ids = defer(
        {"queue_name": "pay"}, {"limit": "stripe"}, {"queue_name": "refund"}, {"limit": "stripe"}
    )
    assert claim() == ids[:2]
    finish(ids[0])
    assert claim() == [ids[2]]
    finish(*ids[1:3])
    assert claim() == [ids[3]]


def test_a_rate_lets_one_start_after_the_other_each_when_its_time_has_come(
    connection: psycopg.Connection,
    declare: Declare,
    defer: Ids,
    claim: Ids,
    run: Run,
    job_of: JobOf,
) -> None:
    declare("stripe", rate=20, per=1)
    ids = defer(*[{"limit": "stripe"}] * 4)
    claimed = claim()
    while len(claimed) < 4:
        wait_for_token(connection, run)
        claimed += claim()
    assert claimed == ids
    starts: list[datetime] = [job_of(id_)["started_at"] for id_ in ids]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert min(gaps) >= timedelta(seconds=1 / 20)


def test_of_a_rate_with_a_burst_so_many_start_at_once_and_the_next_ones_evenly(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, run: Run
) -> None:
    declare("stripe", rate=10, per=1, burst=3)
    ids = defer(*[{"limit": "stripe"}] * 5)
    assert claim() == ids[:3]
    wait_for_token(connection, run)
    assert claim() == [ids[3]]


def test_a_job_that_goes_back_before_it_began_gives_its_start_back(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("stripe", rate=1, per=3600)
    first, _ = defer(*[{"limit": "stripe"}] * 2)
    assert claim() == [first]
    finish(first, status="todo", keeps_attempt=True, unstarted=True)
    assert claim() == [first]
    finish(first, claim=2, status="todo", keeps_attempt=True)
    assert claim() == []
    assert gates(connection) == [("stripe", False)]


def an_hour_later(connection: psycopg.Connection, run: Run) -> None:
    run("MoveTime", seconds=3600)
    connection.execute("UPDATE taskq_limit_gates SET open_at = null")


def test_a_start_that_came_back_to_a_queue_that_is_not_served_counts_once(
    connection: psycopg.Connection,
    run: Run,
    declare: Declare,
    defer: Ids,
    claim: Ids,
    finish: Ids,
) -> None:
    declare("stripe", rate=1, per=3600)
    [mail] = defer({"limit": "stripe", "queue_name": "mail"})
    assert claim() == [mail]
    finish(mail, status="todo", keeps_attempt=True, unstarted=True)
    ids = defer(*[{"limit": "stripe"}] * 3)
    for id_ in ids:
        assert claim(queue_names=["default"]) == [id_]
        assert claim(queue_names=["default"]) == []
        an_hour_later(connection, run)


def test_a_start_that_comes_back_late_lets_no_other_one_start_sooner(
    connection: psycopg.Connection,
    run: Run,
    declare: Declare,
    defer: Ids,
    claim: Ids,
    finish: Ids,
) -> None:
    """Its time is over, and the rate has let the next one start."""
    declare("stripe", rate=1, per=3600)
    first, second, _ = defer(*[{"limit": "stripe"}] * 3)
    assert claim() == [first]
    an_hour_later(connection, run)
    assert claim() == [second]
    finish(first, status="todo", keeps_attempt=True, unstarted=True)
    assert claim() == []


def test_a_start_is_given_back_also_by_a_job_of_a_queue_with_a_limit_and_by_one_with_a_lock(
    declare: Declare, defer: Ids, claim: Ids, finish: Ids
) -> None:
    declare("stripe", ("pay",), rate=1, per=3600)
    declare("other", rate=1, per=3600)
    plain, locked = defer({"queue_name": "pay"}, {"limit": "other", "lock": "a"})
    assert sorted(claim()) == [plain, locked]
    finish(plain, status="todo", keeps_attempt=True, unstarted=True)
    finish(locked, status="todo", keeps_attempt=True, unstarted=True)
    assert sorted(claim()) == [plain, locked]


def test_the_rate_of_a_queue_holds_for_jobs_of_it_without_a_limit_and_they_are_started_by_its_timer(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, run: Run
) -> None:
    declare("stripe", ("pay",), rate=20, per=1)
    ids = defer(*[{"queue_name": "pay"}] * 3)
    claimed = claim()
    while len(claimed) < 3:
        wait_for_token(connection, run)
        assert run("HasReadyJobs", queue_names=None)[0]["ready"]
        claimed += claim()
    assert claimed == ids


def test_jobs_of_a_queue_whose_rate_is_spent_are_no_reason_to_claim(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, run: Run
) -> None:
    declare("stripe", ("pay",), rate=1, per=3600)
    ids = defer(*[{"queue_name": "pay"}] * 3)
    assert claim() == ids[:1]
    assert claim() == []
    assert not run("HasReadyJobs", queue_names=None)[0]["ready"]
    assert gates(connection) == [("stripe", False)]


def test_what_an_operator_says_goes_before_what_apps_declare_and_a_key_before_the_whole(
    declare: Declare, defer: Ids, claim: Ids, run: Run, states: States
) -> None:
    def say(limit_key: str, **figures: Any) -> bool:
        nothing = dict.fromkeys(("concurrency", "rate", "per", "burst", "declared_by"))
        [row] = run("SetLimit", **nothing | {"limit_key": limit_key, "is_known": False} | figures)
        run("OpenLimits", names=["tenant"])
        return bool(row["done"])

    assert not say("tenant", concurrency=2)
    declare("tenant", concurrency=1)
    ids = defer(*[TENANT] * 9)
    assert claim() == ids[:1]
    assert say("tenant", concurrency=2)
    assert claim() == ids[1:2]
    assert say("tenant:acme", concurrency=4)
    declare("tenant", concurrency=3)
    assert claim() == ids[2:4]
    assert states()["tenant:acme"]["concurrency"] == 4
    assert run("UnsetLimit", limit_key="tenant:acme") == [{"done": True}]
    assert run("UnsetLimit", limit_key="tenant") == [{"done": True}]
    assert run("UnsetLimit", limit_key="tenant") == [{"done": False}]
    assert states()["tenant:acme"]["concurrency"] == 3
    run("OpenLimits", names=["tenant"])
    assert claim() == []


def test_a_list_of_limits_says_how_full_they_are(
    declare: Declare, defer: Ids, claim: Ids, states: States
) -> None:
    declare("tenant", concurrency=2)
    declare("stripe", ("pay",), rate=1, per=60)
    defer(*[TENANT] * 3, *[{"queue_name": "pay"}] * 2, {"limit": "unsaid"}, TENANT | {"lock": "a"})
    claim()
    listed = states()
    assert {key: (row["running"], row["room"], row["waiting"]) for key, row in listed.items()} == {
        "tenant": (0, 2, 0),
        "tenant:acme": (2, 0, 2),
        "stripe": (1, 0, 1),
        "unsaid": (0, 0, 1),
    }
    assert listed["stripe"]["queue_names"] == ["pay"]
    assert listed["stripe"]["next_at"] > 0
    assert not listed["unsaid"]["is_known"]


def test_a_limit_that_was_freed_by_hand_is_opened(
    connection: psycopg.Connection, declare: Declare, defer: Ids, claim: Ids, run: Run
) -> None:
    declare("tenant", concurrency=1)
    first, second = defer(TENANT, TENANT)
    claim()
    connection.execute("UPDATE taskq_jobs SET status = 'succeeded' WHERE id = %s", [first])
    assert claim() == []
    [row] = run("OpenForgottenGates", after_lock="", after_limit="", max_gates=10)
    assert (row["last_limit"], row["opened"]) == ("tenant:acme", 1)
    assert claim() == [second]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"limit_key": "acme"}, "has a limit_key and no limit"),
        ({"limit": ""}, "of 0 characters"),
        ({"limit": "a:b"}, 'has the limit "a:b", with a colon'),
        ({"limit": "a", "limit_key": "x" * 499}, "of 501 characters"),
    ],
)
def test_a_limit_that_none_can_be_is_refused_and_nothing_is_written(
    connection: psycopg.Connection, defer: Ids, wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        defer({}, wrong)
    assert connection.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (0,)


def test_no_number_of_claims_at_once_exceeds_a_limit(
    connect: Connect, connection: psycopg.Connection, declare: Declare, defer: Ids, run: Run
) -> None:
    declare("tenant", concurrency=3)
    ids = defer(*[{"limit": "tenant", "limit_key": str(n % 3)} for n in range(600)])
    finished: list[int] = []
    too_many: list[tuple[Any, ...]] = []
    done = threading.Event()

    def work(worker_id: int, mine: psycopg.Connection) -> None:
        chance = random.Random(worker_id)
        while len(finished) < len(ids) and not done.is_set():
            jobs = sqlc.claim(mine, max_jobs=chance.randint(1, 20), worker_id=worker_id)
            outcomes = [
                {"job_id": job["id"], "claim": job["claim"], "status": "succeeded"} for job in jobs
            ]
            if outcomes:
                query = queries["FinishJobs"]
                query.run(mine, worker_id=worker_id, outcomes=json.dumps(outcomes))
                finished.extend(job["id"] for job in jobs)

    queries = sqlc.read_queries()
    threads = [
        threading.Thread(target=work, args=(worker_id, connect())) for worker_id in range(1, 7)
    ]
    for thread in threads:
        thread.start()
    watching = threading.Timer(30, done.set)
    watching.start()
    while any(thread.is_alive() for thread in threads):
        too_many += connection.execute(
            "SELECT limit_key, count(*) FROM taskq_jobs WHERE status = 'doing' "
            "GROUP BY limit_key HAVING count(*) > 3"
        ).fetchall()
    watching.cancel()
    assert too_many == []
    assert sorted(finished) == ids
