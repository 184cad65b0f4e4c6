"""HasReadyJobs and AnnounceLocks: whether to claim, and who else should."""

from typing import Any

import pytest

from tests.sql.conftest import Ids, Notified, Run

FAR = "2100-01-01T00:00:00Z"
MAIL = {"queue_name": "mail"}


@pytest.mark.parametrize(
    ("jobs", "all_queues", "mail"),
    [
        ([], False, False),
        ([{}], True, False),
        ([MAIL], True, True),
        ([{}, MAIL], True, True),
        ([{"lock": "free"}], True, False),
        ([{"lock": "free", **MAIL}], True, True),
        # A claim finds out that the lock is held.
        ([{"lock": "held"}], True, False),
        ([{"lock": "held", **MAIL}], True, True),
        ([{"lock": "held", **MAIL}, {"lock": "free", **MAIL}], True, True),
        ([{"lock": "held", **MAIL}, {"lock": "free"}], True, True),
        ([{"scheduled_at": FAR, **MAIL}], False, False),
        ([{"scheduled_at": FAR, "lock": "free", **MAIL}], False, False),
        ([{"scheduled_at": "2001-01-01T00:00:00Z", **MAIL}], True, True),
        ([{"lock": "free", "scheduled_at": FAR}, {"lock": "free"}], True, False),
    ],
)
def test_a_worker_learns_whether_a_claim_is_worth_trying(
    run: Run, defer: Ids, claim: Ids, jobs: list[dict[str, Any]], all_queues: bool, mail: bool
) -> None:
    [holder] = defer({"lock": "held"})
    assert claim() == [holder]
    defer(*jobs)

    def ready(queue_names: list[str] | None) -> bool:
        [answer] = run("HasReadyJobs", queue_names=queue_names)
        return bool(answer["ready"])

    assert ready(None) == all_queues
    assert ready(["print", "mail"]) == mail
    assert not ready(["print"])
    assert not ready([])


def test_a_job_that_runs_is_not_ready(run: Run, defer: Ids, claim: Ids, finish: Ids) -> None:
    ids = defer({}, {"lock": "a"})
    claim()
    assert not run("HasReadyJobs", queue_names=None)[0]["ready"]
    defer({"lock": "a"})
    assert claim() == []
    assert not run("HasReadyJobs", queue_names=None)[0]["ready"]
    finish(*ids)
    assert run("HasReadyJobs", queue_names=None)[0]["ready"]


def test_free_locks_are_announced_to_the_queues_of_their_next_jobs(
    run: Run, defer: Ids, notified: Notified
) -> None:
    defer(
        {"lock": "a", "queue_name": "second"},
        {"lock": "a", "queue_name": "first", "priority": 1},
        {"lock": "b", "queue_name": "first"},
        {"lock": "c", "queue_name": "third"},
        {"lock": "later", "queue_name": "fourth", "scheduled_at": FAR},
        {"lock": "unasked", "queue_name": "fifth"},
    )
    notified()
    [answer] = run("AnnounceLocks", locks=["a", "b", "c", "c", "later", "unknown"])
    assert answer["queues"] == 2
    assert notified() == ["ready first", "ready third"]

    assert run("AnnounceLocks", locks=["unknown"]) == [{"queues": 0}]
    assert run("AnnounceLocks", locks=[]) == [{"queues": 0}]
    assert notified() == []
