"""What still waits, and why, in logs made by hand."""

from tests.stress.tape import Tape
from tests.stress.waiting import claimable_jobs, left

NOW = 1000.0


def claimable(tape: Tape) -> list[int]:
    newest = [history[-1] for history in tape.log().histories.values()]
    alive = [version for version in newest if version.status in {"todo", "doing"}]
    return [version.job_id for version in claimable_jobs(alive, NOW)]


def test_a_job_is_claimable_if_it_is_due_and_the_first_of_a_lock_that_is_free() -> None:
    tape = Tape()
    tape.defer(1, lock=None)
    tape.defer(2, lock=None, due_at=NOW + 1)
    tape.defer(3, lock="free", due_at=NOW - 1)
    tape.defer(4, lock="free", priority=-1)
    tape.defer(5, lock="held")
    tape.defer(6, lock="held")
    tape.claim(5)
    tape.defer(7, lock="for later", due_at=NOW + 1)
    tape.defer(8, lock="for later")
    tape.defer(9, lock="by priority")
    tape.defer(10, lock="by priority", priority=1)
    assert claimable(tape) == [1, 3, 10]


def test_what_is_left_is_reported_and_what_nothing_bars_comes_first() -> None:
    tape = Tape()
    tape.defer(1, due_at=NOW + 1)
    tape.defer(2)
    tape.defer(3, lock="b")
    tape.defer(4, lock="c")
    tape.write(4, "cancelled", "operating-0")
    found = [
        (violation.check, "nothing bars it" in str(violation))
        for violation in left(tape.log(), NOW)
    ]
    assert found == [("stall", True), ("stall", False), ("stall", False)]
