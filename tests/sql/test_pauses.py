"""Pause and ResumeQueue: no claim takes a job of a queue that is paused."""

from tests.sql.conftest import Connect, Ids, Notified, Run
from tests.sql.sqlc import Query


def pause(run: Run, name: str, by: str | None = None, reason: str | None = None) -> bool:
    [row] = run("Pause", kind="queue", name=name, paused_by=by, reason=reason)
    return bool(row["done"])


def resume(run: Run, name: str) -> bool:
    [row] = run("ResumeQueue", name=name)
    return bool(row["done"])


def is_ready(run: Run, queues: list[str] | None = None) -> bool:
    [row] = run("HasReadyJobs", queue_names=queues)
    return bool(row["ready"])


def ready(run: Run) -> list[str]:
    return [row["queue_name"] for row in run("ListReadyQueues", max_queues=10)]


def test_a_paused_queue_gives_no_job_until_it_is_resumed(run: Run, defer: Ids, claim: Ids) -> None:
    first, locked, other = defer(
        {"queue_name": "mail"}, {"queue_name": "mail", "lock": "a"}, {"queue_name": "print"}
    )
    pause(run, "mail")
    assert claim(queue_names=["mail"]) == []
    assert claim(queue_names=["print", "mail"]) == [other]
    assert claim(queue_names=None) == []
    resume(run, "mail")
    assert claim(queue_names=["mail"]) == [first, locked]


def test_a_range_that_is_left_out_shifts_no_other(run: Run, defer: Ids, claim: Ids) -> None:
    ids = defer(*({"queue_name": name, "priority": n} for n, name in enumerate("abcd")))
    for name in "ac":
        pause(run, name)
    assert claim(queue_names=list("abcd")) == [ids[3], ids[1]]


def test_a_head_in_a_paused_queue_holds_its_followers(
    run: Run, defer: Ids, claim: Ids, finish: Ids
) -> None:
    pause(run, "mail")
    head, follower, other = defer({"lock": "a", "queue_name": "mail"}, {"lock": "a"}, {"lock": "b"})
    assert claim(queue_names=["mail", "default"]) == [other]
    assert claim(queue_names=["default"]) == []
    resume(run, "mail")
    assert claim(queue_names=["mail", "default"]) == [head]
    finish(head)
    assert claim(queue_names=["mail", "default"]) == [follower]


def test_in_a_row_of_a_lock_a_claim_goes_as_far_as_a_paused_queue(
    run: Run, defer: Ids, claim: Ids
) -> None:
    pause(run, "mail")
    head, _, _ = defer({"lock": "a"}, {"lock": "a", "queue_name": "mail"}, {"lock": "a"})
    assert claim(run_length=10, queue_names=["mail", "default"]) == [head]


def test_no_check_names_a_paused_queue(run: Run, defer: Ids) -> None:
    defer({"queue_name": "a"}, {"queue_name": "b", "lock": "l"}, {"queue_name": "c"})
    assert ready(run) == ["a", "b", "c"]
    pause(run, "a")
    pause(run, "b")
    assert ready(run) == ["c"]
    assert is_ready(run)
    assert is_ready(run, ["b", "c"])
    assert not is_ready(run, ["a", "b"])
    pause(run, "c")
    assert ready(run) == []
    assert not is_ready(run)
    resume(run, "b")
    assert ready(run) == ["b"]
    assert is_ready(run)


def test_what_is_paused_stays_so_and_keeps_what_was_said_of_it(run: Run) -> None:
    assert pause(run, "mail", "ada", "the relay is down")
    assert not pause(run, "mail", "grace")
    [row] = run("ListPauses")
    assert (row["kind"], row["name"], row["paused_by"]) == ("queue", "mail", "ada")
    assert row["reason"] == "the relay is down"
    assert resume(run, "mail")
    assert not resume(run, "mail")
    assert run("ListPauses") == []


def test_workers_are_notified_of_both(run: Run, notified: Notified) -> None:
    pause(run, "mail order")
    assert notified() == ["pause-queue mail order"]
    resume(run, "mail order")
    assert notified() == ["ready mail order"]
    resume(run, "mail order")
    assert notified() == []


def test_a_pause_counts_from_its_commit(
    run: Run, defer: Ids, claim: Ids, connect: Connect, queries: dict[str, Query]
) -> None:
    first, _ = defer({}, {})
    other = connect()
    other.autocommit = False
    queries["Pause"].run(other, kind="queue", name="default", paused_by=None, reason=None)
    assert claim(1) == [first], "not committed"
    other.commit()
    assert claim(1) == []
