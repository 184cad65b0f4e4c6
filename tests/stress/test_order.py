"""Who goes first of a lock, in logs made by hand."""

import pytest

from tests.stress.log import Log
from tests.stress.order import holding, order_of_runs, overtaking
from tests.stress.tape import Tape


@pytest.fixture
def tape() -> Tape:
    """An empty one."""
    return Tape()


def overtaken(log: Log) -> list[bool]:
    assert all(violation.check == "order" for violation in overtaking(log))
    return [True for _ in overtaking(log)]


def test_a_claim_past_a_job_that_was_deferred_before_is_found(tape: Tape) -> None:
    tape.defer(1)
    tape.defer(2)
    tape.claim(2)
    assert overtaken(tape.log())


def test_a_claim_of_the_first_is_right(tape: Tape) -> None:
    tape.defer(1)
    tape.defer(2)
    tape.defer(3, lock="b")
    tape.claim(1)
    tape.claim(3)
    assert not overtaken(tape.log())


def test_a_higher_priority_goes_first(tape: Tape) -> None:
    tape.defer(1)
    tape.defer(2, priority=1)
    tape.see()
    tape.claim(1)
    assert overtaken(tape.log())


@pytest.mark.parametrize("waits", ["for its time", "for its retry"])
def test_a_job_that_waits_for_later_holds_its_followers(tape: Tape, waits: str) -> None:
    tape.defer(1, due_at=1000)
    if waits == "for its retry":
        tape.claim(1)
        tape.end(1, "todo", due_at=1000)
    tape.defer(2)
    tape.claim(2)
    assert overtaken(tape.log())


def test_a_better_one_that_changed_in_between_and_waited_all_the_time_was_overtaken(
    tape: Tape,
) -> None:
    tape.defer(1, due_at=3)
    tape.defer(2)
    began = tape.now + 0.5
    tape.write(1, "todo", "worker-1")  # it is made due
    tape.claim(2, began=began)
    assert overtaken(tape.log())


def test_a_better_one_that_was_not_visible_when_the_claim_began_was_not_overtaken(
    tape: Tape,
) -> None:
    tape.defer(2)
    began = tape.now + 0.5
    tape.defer(1)
    tape.see()
    tape.claim(2, began=began)
    assert not overtaken(tape.log())


def test_a_better_one_whose_transaction_was_open_was_not_overtaken(tape: Tape) -> None:
    transaction = tape.begin()
    tape.defer(1, transaction=transaction)
    tape.defer(2, open_ones=(transaction,))
    tape.defer(3, open_ones=(transaction,))
    tape.claim(2, open_ones=(transaction,))
    tape.see()
    assert not overtaken(tape.log())


def test_a_better_one_that_went_while_the_claim_was_under_way_was_not_overtaken(
    tape: Tape,
) -> None:
    tape.defer(1)
    tape.defer(2)
    began = tape.now + 0.5
    tape.write(1, "cancelled", "operating-0")
    tape.see()
    tape.claim(2, began=began)
    assert not overtaken(tape.log())


def test_a_better_one_that_is_cancelled_in_a_transaction_that_is_open_was_overtaken(
    tape: Tape,
) -> None:
    tape.defer(1)
    tape.defer(2)
    transaction = tape.begin()
    tape.write(1, "cancelled", "operating-0", transaction=transaction)
    tape.claim(2, open_ones=(transaction,))
    assert overtaken(tape.log())


def test_a_job_that_was_the_best_until_the_claim_began_overtakes_no_other(tape: Tape) -> None:
    tape.defer(1)
    tape.defer(2, priority=1)
    tape.see()
    began = tape.now + 0.5
    tape.write(2, "todo", "operating-0", priority=-1)
    tape.see()
    tape.claim(2, began=began)
    assert not overtaken(tape.log())


def test_jobs_that_are_claimed_together_overtake_no_other(tape: Tape) -> None:
    tape.defer(1)
    tape.defer(2)
    tape.see()
    began, transaction = tape.now + 0.5, tape.begin()
    for job_id in (2, 1):
        tape.claim(job_id, transaction=transaction, began=began)
    assert not overtaken(tape.log())


def test_a_claim_of_a_lock_that_another_worker_holds_is_found(tape: Tape) -> None:
    for job_id in (1, 2, 3):
        tape.defer(job_id)
    tape.claim(1, "worker-1")
    tape.see()
    tape.claim(2, "worker-1")
    assert not holding(tape.log())
    tape.claim(3, "worker-2")
    assert [violation.check for violation in holding(tape.log())] == ["holding"]


def test_a_lock_that_went_free_while_a_claim_was_under_way_was_not_held(tape: Tape) -> None:
    for job_id in (1, 2):
        tape.defer(job_id)
    tape.claim(1, "worker-1")
    tape.see()
    began = tape.now + 0.5
    tape.end(1)
    tape.see()
    tape.claim(2, "worker-2", began=began)
    assert not holding(tape.log())


def claim_together(tape: Tape, *job_ids: int) -> None:
    transaction = tape.begin()
    for job_id in job_ids:
        tape.claim(job_id, transaction=transaction)


@pytest.fixture
def together(tape: Tape) -> Tape:
    """Two jobs of a lock that were claimed together."""
    tape.defer(1, script=("retry", "succeed"))
    tape.defer(2)
    claim_together(tape, 1, 2)
    return tape


def test_of_jobs_that_were_claimed_together_the_better_one_runs_first(together: Tape) -> None:
    together.run(2)
    assert order_of_runs(together.log())


def test_jobs_that_were_claimed_together_and_run_in_order_are_right(together: Tape) -> None:
    together.run(1)
    together.run(2)
    together.end(1)
    together.end(2)
    assert not order_of_runs(together.log())


@pytest.mark.parametrize("is_written_before", [True, False])
def test_a_job_does_not_run_past_one_that_it_was_claimed_with_and_that_went_back(
    together: Tape, is_written_before: bool
) -> None:
    together.run(1, step="retry")
    if is_written_before:
        together.end(1, "todo")
    together.run(2)
    if not is_written_before:
        together.end(1, "todo")
    assert order_of_runs(together.log())


def test_a_job_runs_past_one_that_went_back_behind_it_or_to_another_lock(together: Tape) -> None:
    together.run(1, step="retry")
    together.end(1, "todo", priority=-1)
    together.run(2)
    assert not order_of_runs(together.log())


def test_a_job_runs_past_one_that_ended_without_having_begun(together: Tape) -> None:
    together.write(1, "doing", "operating-0", abort_requested=True)
    together.run(2)
    together.end(1, "aborted", "worker-1")
    assert not order_of_runs(together.log())
