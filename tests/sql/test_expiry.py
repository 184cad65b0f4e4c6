"""Jobs that have not begun by their time: they end as cancelled, and no claim starts one."""

import json
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import STATUSES, Connect, DeferOn, Ids, JobOf, Notified, Run

FAR = "2100-01-01T00:00:00Z"
PAST = "2001-01-01T00:00:00Z"


def late(connection: psycopg.Connection, *ids: int) -> None:
    """Let the time of jobs be over."""
    connection.execute(
        "UPDATE taskq_jobs SET expires_at = now() - interval '1 s' WHERE id = ANY(%s)", [list(ids)]
    )


def expire(run: Run, max_jobs: int = 100) -> int:
    jobs: int = run("PromoteJobs", max_jobs=max_jobs)[0]["expired"]
    return jobs


def never_swept(connection: psycopg.Connection) -> None:
    """Leave to a claim what it comes to, as when there are too many, or others have them."""
    connection.execute(
        """
        CREATE OR REPLACE FUNCTION taskq_expire_jobs(max_jobs integer)
        RETURNS TABLE (jobs bigint, opened bigint)
        LANGUAGE sql VOLATILE AS 'SELECT 0::bigint, 0::bigint'
        """
    )


def test_a_time_and_a_wait_are_by_the_servers_clock(
    connection: psycopg.Connection, defer: Ids, job_of: JobOf
) -> None:
    with connection.transaction():
        connection.execute("SELECT pg_sleep(0.01)")
        at, in_a_while, plain = defer({"expire_at": FAR}, {"expire_in": 60}, {})
    assert job_of(at)["expires_at"].year == 2100
    assert job_of(plain)["expires_at"] is None
    wait = job_of(in_a_while)["expires_at"] - job_of(in_a_while)["deferred_at"]
    assert 60.01 <= wait.total_seconds() < 70, "from the call, not from the transaction's begin"


def test_a_job_that_has_not_begun_by_its_time_ends_as_cancelled(
    run: Run, connection: psycopg.Connection, defer: Ids, claim: Ids, job_of: JobOf
) -> None:
    id_, other = defer({"expire_in": 60, "queueing_lock": "q"}, {"expire_in": 60})
    assert expire(run) == 0
    late(connection, id_)
    assert expire(run) == 1
    job = job_of(id_)
    assert job["status"] == "cancelled"
    assert job["expires_at"] < job["finished_at"]
    assert job["started_at"] is None
    assert len(defer({"queueing_lock": "q"})) == 1, "its queueing lock is free"
    assert job_of(other)["status"] == "todo"


@pytest.mark.parametrize(
    "options",
    [
        {"scheduled_at": "2099-01-01T00:00:00Z"},
        {"lock": "a"},
        {"limit": "unheard of"},
        {"queue_name": "not served"},
    ],
)
def test_whatever_a_job_waits_for_it_expires(
    run: Run, connection: psycopg.Connection, defer: Ids, job_of: JobOf, options: dict[str, Any]
) -> None:
    [id_] = defer({"expire_at": FAR} | options)
    late(connection, id_)
    assert expire(run) == 1
    assert job_of(id_)["status"] == "cancelled"


def test_one_that_is_due_and_late_in_one_moment_is_cancelled(
    run: Run, connection: psycopg.Connection, defer: Ids, job_of: JobOf
) -> None:
    [id_] = defer({"expire_at": FAR, "scheduled_at": PAST})
    connection.execute("UPDATE taskq_jobs SET due = false")
    late(connection, id_)
    [promotion] = run("PromoteJobs", max_jobs=100)
    assert (promotion["jobs"], promotion["expired"], promotion["skipped"]) == (0, 1, False)
    assert job_of(id_)["status"] == "cancelled"


def test_paused_ones_expire_too(
    run: Run, connection: psycopg.Connection, defer: Ids, job_of: JobOf
) -> None:
    [id_] = defer({"expire_at": FAR})
    connection.execute("UPDATE taskq_jobs SET paused = true")
    late(connection, id_)
    assert expire(run) == 1
    assert job_of(id_)["status"] == "cancelled"


def test_the_head_of_a_lock_that_expires_lets_the_next_one_in(
    run: Run, connection: psycopg.Connection, defer: Ids, claim: Ids, notified: Notified
) -> None:
    head, following = defer({"lock": "a", "expire_in": 60}, {"lock": "a"})
    connection.execute("DELETE FROM taskq_open_gates")
    late(connection, head)
    notified()
    assert expire(run) == 1
    assert notified() == ["ready default"]
    assert claim() == [following]


def test_workers_are_notified_of_the_time_and_waiting_clients_of_the_end(
    run: Run, connection: psycopg.Connection, defer: Ids, notified: Notified
) -> None:
    notified()
    [id_, _, _] = defer(
        {"expire_at": FAR, "awaited": True, "queue_name": "mail"},
        {"expire_at": "2101-01-01T00:00:00Z", "queue_name": "mail"},
        {"queue_name": "other"},
    )
    assert notified() == ["later 4102444800.000000 mail", "ready mail", "ready other"]
    [promotion] = run("PromoteJobs", max_jobs=100)
    assert promotion["next_at"].year == 2100
    late(connection, id_)
    assert expire(run) == 1
    assert notified() == [f"ended {id_}"]


def test_it_is_bounded_takes_the_earliest_first_and_says_what_others_hold(
    run: Run, connection: psycopg.Connection, connect: Connect, defer: Ids, job_of: JobOf
) -> None:
    third, first, second = defer(*({"expire_at": f"2001-01-0{day}T00:00:00Z"} for day in (3, 1, 2)))
    assert expire(run, 1) == 1
    assert job_of(first)["status"] == "cancelled"
    with (holder := connect()).transaction():
        holder.execute("SELECT FROM taskq_jobs WHERE id = %s FOR UPDATE", [second])
        [promotion] = run("PromoteJobs", max_jobs=100)
        assert (promotion["expired"], promotion["skipped"]) == (1, True)
    [promotion] = run("PromoteJobs", max_jobs=100)
    assert (promotion["expired"], promotion["skipped"]) == (1, False)
    assert {job_of(id_)["status"] for id_ in (first, second, third)} == {"cancelled"}


def test_what_was_written_by_hand_stops_no_timer(run: Run, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO taskq_jobs (task_name, args, queue_name, expires_at)"
        " VALUES ('noop', '{}', 'default', 'infinity'), ('noop', '{}', 'default', '-infinity')"
    )
    [promotion] = run("PromoteJobs", max_jobs=100)
    assert (promotion["expired"], promotion["next_at"]) == (1, None)


# Claims


def test_a_claim_ends_what_is_late_and_takes_what_is_behind_it(
    connection: psycopg.Connection, defer: Ids, claim: Ids, job_of: JobOf
) -> None:
    jobs = defer(*[{"expire_in": 60, "lock": "a"}, {"lock": "a"}, {"expire_in": 60}, {}])
    late(connection, jobs[0], jobs[2])
    assert claim(max_jobs=2) == [jobs[1], jobs[3]]
    assert [job_of(jobs[place])["status"] for place in (0, 2)] == ["cancelled"] * 2


@pytest.mark.parametrize(
    "options", [{}, {"lock": "a"}, {"limit": "api"}, {"lock": "a", "limit": "api"}]
)
def test_a_claim_starts_none_that_is_late_and_forgets_no_gate(
    connection: psycopg.Connection, defer: Ids, claim: Ids, job_of: JobOf, options: dict[str, Any]
) -> None:
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, concurrency) VALUES ('api', false, 10)"
    )
    never_swept(connection)
    head, following = defer(*[{"expire_in": 60} | options, options])
    late(connection, head)
    for _ in range(3):
        assert head not in claim()
    assert job_of(head)["status"] == "todo"
    assert job_of(following)["status"] == ("todo" if "lock" in options else "doing")
    # Nothing opens a gate here: those that there were are there still.
    connection.execute("UPDATE taskq_jobs SET expires_at = null")
    claimed = [*claim(), *claim()]
    assert head in claimed


def test_a_run_of_a_lock_ends_before_one_that_is_late(
    connection: psycopg.Connection, defer: Ids, claim: Ids
) -> None:
    never_swept(connection)
    jobs = defer(*[{"lock": "a"}, {"lock": "a", "expire_in": 60}, {"lock": "a"}])
    late(connection, jobs[1])
    assert claim(run_length=5) == jobs[:1]


# What has begun


@pytest.mark.parametrize(
    ("outcome", "expires"),
    [
        ({}, False),
        ({"keeps_attempt": True}, False),  # a snooze
        ({"keeps_attempt": True, "unstarted": True}, True),
        ({"keeps_attempt": True, "given_back": 1, "retry_in": 60}, True),
    ],
)
def test_only_what_goes_back_before_it_has_begun_still_expires(
    run: Run,
    connection: psycopg.Connection,
    defer: Ids,
    claim: Ids,
    finish: Ids,
    job_of: JobOf,
    outcome: dict[str, Any],
    expires: bool,
) -> None:
    [id_] = defer({"expire_at": FAR})
    assert claim() == [id_]
    late(connection, id_)
    assert expire(run) == 0
    assert finish(id_, status="todo", **outcome) == [id_]
    assert expire(run) == int(expires)
    assert job_of(id_)["status"] == ("cancelled" if expires else "todo")


def test_what_ended_keeps_its_time(defer: Ids, claim: Ids, finish: Ids, job_of: JobOf) -> None:
    [id_] = defer({"expire_at": FAR})
    claim()
    finish(id_)
    assert job_of(id_)["expires_at"].year == 2100


@pytest.mark.parametrize("stopping", [False, True])
def test_a_rescued_job_expires_if_it_had_not_begun(
    run: Run, connection: psycopg.Connection, defer: Ids, claim: Ids, job_of: JobOf, stopping: bool
) -> None:
    begun, prefetched = defer(*[{"expire_at": FAR}] * 2)
    connection.execute(
        "INSERT INTO taskq_workers (id, name, concurrency, stopping, last_heartbeat)"
        " VALUES (1, 'w', 1, %s, now() - interval '1 hour')",
        [stopping],
    )
    claim()
    late(connection, begun, prefetched)
    run("RescueJobs", stalled_after=60.0, max_crashes=3)
    assert expire(run) == 1
    assert job_of(begun)["status"] == "todo"
    assert job_of(prefetched)["status"] == "cancelled"


def test_what_is_retried_by_hand_runs_whenever(
    run: Run, connection: psycopg.Connection, defer: Ids, claim: Ids
) -> None:
    [id_] = defer({"expire_at": FAR})
    late(connection, id_)
    assert expire(run) == 1
    run(
        "RetryJobs",
        ids=[id_],
        statuses=STATUSES,
        retry_at=None,
        retry_in=None,
        priority=None,
        queue_name=None,
        lock=None,
    )
    assert expire(run) == 0
    assert claim() == [id_]


# Deferring


@pytest.mark.parametrize(("new", "year"), [({"expire_at": FAR}, 2100), ({}, None)])
def test_a_job_that_is_replaced_takes_the_new_ones_time(
    connection: psycopg.Connection, defer_on: DeferOn, job_of: JobOf, new: Any, year: int | None
) -> None:
    old = {"queueing_lock": "q", "expire_at": "2050-01-01T00:00:00Z"}
    [id_] = defer_on(connection, "replace", old)
    assert defer_on(connection, "replace", {"queueing_lock": "q"} | new) == [id_]
    assert id_ is not None
    expires_at = job_of(id_)["expires_at"]
    assert (expires_at and expires_at.year) == year


def test_a_time_that_is_over_ends_the_job_at_once(run: Run, defer: Ids, claim: Ids) -> None:
    defer({"expire_at": PAST})
    assert claim() == []
    assert expire(run) == 0, "the claim has ended it"


@pytest.mark.parametrize(
    ("job", "fault"),
    [
        ({"expire_at": FAR, "expire_in": 5}, "job 1 of the array has both expire_at and expire_in"),
        ({"expire_in": 0}, "has expire_in 0, which is no number of seconds above 0"),
        ({"expire_in": -5}, "has expire_in -5, which"),
        ({"expire_in": "5"}, "has expire_in 5, which is no number"),
        ({"expire_in": 4e9}, "or more than a hundred years"),
        ({"expire_at": "infinity"}, "has expire_at infinity, which is not in the years 2 to 9998"),
        (
            {"expire_at": PAST, "scheduled_at": FAR},
            rf"expires \(expire_at {PAST}\) before it may start \(scheduled_at {FAR}\)",
        ),
        (
            {"expire_in": 5, "schedule_in": 5},
            r"\(expire_in 5\) before it may start \(schedule_in 5\)",
        ),
        ({"expire_in": 5, "scheduled_at": FAR}, "before it may start"),
        ({"expire_at": PAST, "schedule_in": 5}, "before it may start"),
    ],
)
def test_what_makes_no_sense_is_refused_as_a_whole(
    connection: psycopg.Connection, defer: Ids, job: dict[str, Any], fault: str
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=fault):
        defer({}, job)
    assert connection.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (0,)


def test_null_is_as_good_as_nothing(defer: Ids, job_of: JobOf) -> None:
    [id_] = defer(json.loads('{"expire_at": null, "expire_in": null}'))
    assert job_of(id_)["expires_at"] is None
