"""PromoteJobs: jobs for later become due when their time has come."""

import psycopg

from tests.sql.conftest import Ids, Notified, Run

FAR = "2100-01-01T00:00:00Z"
PAST = "2001-01-01T00:00:00Z"


def test_a_job_is_promoted_when_its_time_has_come(
    run: Run,
    connection: psycopg.Connection,
    defer: Ids,
    claim: Ids,
    notified: Notified,
) -> None:
    early, late, tomorrow = defer(
        {"scheduled_at": PAST, "queue_name": "mail"},
        {"scheduled_at": FAR, "priority": 9},
        {"scheduled_at": "2099-01-01T00:00:00Z"},
    )
    # As if it had been deferred before its time.
    connection.execute("UPDATE taskq_jobs SET due = false WHERE id = %s", [early])
    assert claim() == []

    notified()
    [promotion] = run("PromoteJobs", max_jobs=100)
    assert (promotion["jobs"], promotion["next_at"].year) == (1, 2099)
    assert notified() == ["ready mail"], "a worker with room for it has to hear of it"
    assert claim() == [early]

    connection.execute("DELETE FROM taskq_jobs WHERE id IN (%s, %s)", [late, tomorrow])
    [promotion] = run("PromoteJobs", max_jobs=100)
    assert (promotion["jobs"], promotion["next_at"]) == (0, None)
    assert notified() == []


def test_promotion_is_bounded_and_takes_the_earliest_first(
    run: Run, connection: psycopg.Connection, defer: Ids, claim: Ids
) -> None:
    third, first, second = defer(
        *({"scheduled_at": f"2001-01-0{day}T00:00:00Z"} for day in (3, 1, 2))
    )
    connection.execute("UPDATE taskq_jobs SET due = false")
    assert run("PromoteJobs", max_jobs=2)[0]["jobs"] == 2
    assert claim() == [first, second]
    assert run("PromoteJobs", max_jobs=2)[0]["jobs"] == 1
    assert claim() == [third]
