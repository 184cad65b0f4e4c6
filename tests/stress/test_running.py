"""How many run at once, in logs made by hand."""

import pytest

from taskq import Limit
from tests.stress.log import Log
from tests.stress.running import exclusion, max_running_per_key, most_at_once
from tests.stress.tape import Tape


@pytest.fixture
def tape() -> Tape:
    """Two jobs of one lock, claimed by two workers."""
    tape = Tape()
    for job_id, process in ((1, "worker-1"), (2, "worker-2")):
        tape.defer(job_id)
        tape.claim(job_id, process)
    return tape


def checks_of(log: Log) -> list[str]:
    return [violation.check for violation in exclusion(log)]


def test_two_jobs_of_a_lock_that_run_at_once_are_found(tape: Tape) -> None:
    tape.run(1, seconds=1.5)
    tape.run(2)
    assert checks_of(tape.log()) == ["exclusion"]


def test_one_after_the_other_is_right(tape: Tape) -> None:
    tape.run(1, seconds=1)  # it ends when the other begins
    tape.run(2)
    assert not checks_of(tape.log())


def test_jobs_of_other_locks_and_without_one_may_run_at_once() -> None:
    tape = Tape()
    for job_id, lock in enumerate(("a", "b", None, None)):
        tape.defer(job_id, lock=lock)
        tape.claim(job_id)
        tape.run(job_id, seconds=10)
    assert not checks_of(tape.log())
    assert most_at_once(tape.log(), lambda run: run.key) == 4


def test_a_run_counts_no_more_once_its_process_was_killed(tape: Tape) -> None:
    tape.run(1, seconds=None)
    tape.signal("worker-1", "kill")
    tape.run(2)
    assert not checks_of(tape.log())


def test_a_run_counts_as_long_as_its_job_is_its_own_also_in_a_process_that_is_paused(
    tape: Tape,
) -> None:
    tape.run(1, seconds=10)
    tape.signal("worker-1", "pause", seconds=5)
    tape.run(2)
    assert checks_of(tape.log()) == ["exclusion"]


def test_a_run_counts_no_more_once_its_job_was_taken_from_it(tape: Tape) -> None:
    tape.run(1, seconds=10)
    tape.end(1, "todo", "worker-2")
    tape.run(2)
    assert not checks_of(tape.log())


def test_more_of_a_key_than_its_limit_are_found(tape: Tape) -> None:
    tape.run(1, seconds=5)
    tape.run(2, seconds=5)
    tape.defer(3, lock="b")
    tape.claim(3)
    tape.run(3)
    assert [
        v.check for v in max_running_per_key(tape.log(), {"key": Limit("key", concurrency=2)})
    ] == ["limit"]
    assert not max_running_per_key(tape.log(), {"key": Limit("key", concurrency=3)})
    assert not max_running_per_key(tape.log(), {"another": Limit("another", concurrency=1)})
