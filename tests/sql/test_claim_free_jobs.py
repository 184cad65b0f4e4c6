"""ClaimFreeJobs: the quick claim, which takes what ClaimJobs would, or nothing."""

from tests.sql.conftest import Connect, Ids, Run
from tests.sql.sqlc import Query

FAR = "2100-01-01T00:00:00Z"


def test_jobs_come_by_priority_then_by_id(defer: Ids, claim_free: Ids) -> None:
    low, first, second, high = defer({"priority": -1}, {}, {}, {"priority": 5})
    assert claim_free(2) == [high, first]
    assert claim_free() == [second, low]
    assert claim_free() == []


def test_it_marks_the_job_with_worker_and_attempt(run: Run, defer: Ids, claim_free: Ids) -> None:
    [id_] = defer({})
    claim_free()
    [job] = run("GetJob", id=id_)
    assert (job["status"], job["worker_id"]) == ("doing", 1)
    assert (job["claim"], job["attempt"]) == (1, 1)
    assert job["started_at"] >= job["deferred_at"]


def test_it_takes_what_is_due_in_its_queue(defer: Ids, claim_free: Ids) -> None:
    defer({"queue_name": "mail"}, {"scheduled_at": FAR})
    assert claim_free() == []
    [due] = defer({})
    assert claim_free() == [due]


def test_it_takes_nothing_beside_a_job_with_a_lock(defer: Ids, claim: Ids, claim_free: Ids) -> None:
    """Which may be the one to go first."""
    locked, plain, _ = defer({"lock": "a", "priority": 1}, {}, {"lock": "b", "queue_name": "mail"})
    assert claim_free() == []
    assert claim(1) == [locked]
    assert claim_free() == [plain]


def test_it_passes_over_what_another_takes(
    connect: Connect, queries: dict[str, Query], defer: Ids, claim_free: Ids
) -> None:
    first, second = defer({}, {})
    other = connect()
    with other.transaction():
        [taken] = queries["ClaimFreeJobs"].run(other, worker_id=2, max_jobs=1, queue_name="default")
        assert taken["id"] == first
        assert claim_free() == [second]
