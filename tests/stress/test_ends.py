"""How jobs go from status to status, in logs made by hand."""

from collections.abc import Callable

import pytest

from tests.stress.ends import ends
from tests.stress.tape import Tape


@pytest.fixture
def tape() -> Tape:
    """A job that was claimed."""
    tape = Tape()
    tape.defer(1, script=("retry", "succeed"))
    tape.claim(1)
    return tape


def retry_and_succeed(tape: Tape) -> None:
    tape.run(1, step="retry")
    tape.end(1, "todo")
    tape.claim(1)
    tape.run(1)
    tape.end(1)


def abort(tape: Tape) -> None:
    tape.write(1, "doing", "operating-0", abort_requested=True)
    tape.run(1, step="interrupted")
    tape.end(1, "aborted", "worker-1")


def give_back_what_has_not_begun(tape: Tape) -> None:
    tape.end(1, "todo")
    tape.claim(1, "worker-2")
    tape.run(1)
    tape.end(1)


def kill_and_rescue(tape: Tape) -> None:
    tape.run(1, seconds=None)
    tape.signal("worker-1", "kill")
    tape.end(1, "todo", "worker-2")
    tape.claim(1, "worker-2")
    tape.run(1)
    tape.end(1)


def pause_and_let_go(tape: Tape) -> None:
    tape.signal("worker-1", "pause", seconds=3)
    tape.run(1, step="interrupted")
    tape.end(1, "todo")
    tape.claim(1)
    tape.run(1)
    tape.end(1)


def cancel_and_retry_by_hand(tape: Tape) -> None:
    retry_and_succeed(tape)
    tape.defer(2)
    tape.write(2, "todo", "operating-0", priority=3)
    tape.write(2, "cancelled", "operating-0")
    tape.write(2, "todo", "operating-0")
    tape.write(2, "deleted", "operating-0")


def encrypt_anew(tape: Tape) -> None:
    retry_and_succeed(tape)
    tape.write(1, "succeeded", "operating-0")


@pytest.mark.parametrize(
    "happens",
    [
        retry_and_succeed,
        encrypt_anew,
        abort,
        give_back_what_has_not_begun,
        kill_and_rescue,
        pause_and_let_go,
        cancel_and_retry_by_hand,
    ],
)
def test_what_is_right_is_not_reported(tape: Tape, happens: Callable[[Tape], None]) -> None:
    happens(tape)
    assert ends(tape.log()) == []


def stay(_: Tape) -> None: ...


def succeed_against_the_script(tape: Tape) -> None:
    tape.run(1, step="retry")
    tape.end(1)


def end_without_a_run(tape: Tape) -> None:
    tape.end(1)


def end_twice(tape: Tape) -> None:
    retry_and_succeed(tape)
    tape.end(1)


def run_twice(tape: Tape) -> None:
    tape.run(1, step="retry")
    tape.run(1, step="retry")
    tape.end(1, "todo")
    tape.write(1, "cancelled", "operating-0")


def run_unclaimed(tape: Tape) -> None:
    retry_and_succeed(tape)
    tape.defer(2)
    tape.write(2, "todo", "worker-1", worker_id=1)
    tape.run(2)
    tape.write(2, "cancelled", "operating-0")


def begin_after_it_was_taken(tape: Tape) -> None:
    tape.signal("worker-1", "pause", seconds=3)
    tape.end(1, "todo", "worker-2")
    tape.now += 60
    tape.run(1, step="retry")
    tape.write(1, "cancelled", "operating-0")


def be_claimed_by_two(tape: Tape) -> None:
    tape.run(1, step="retry")
    tape.claim(1, "worker-2")
    tape.run(1)
    tape.end(1)


def be_taken_from_a_worker_that_is_well(tape: Tape) -> None:
    tape.run(1, seconds=10, step="retry")
    tape.end(1, "todo", "worker-2")
    tape.write(1, "cancelled", "operating-0")


def be_ended_by_another_worker(tape: Tape) -> None:
    tape.signal("worker-1", "kill")
    tape.end(1, "failed", "worker-2")


def be_interrupted_for_nothing(tape: Tape) -> None:
    tape.run(1, step="interrupted")
    tape.end(1, "todo")
    tape.write(1, "cancelled", "operating-0")


def be_aborted_for_nothing(tape: Tape) -> None:
    tape.run(1, step="interrupted")
    tape.end(1, "aborted")


def be_cancelled_while_it_runs(tape: Tape) -> None:
    tape.run(1, seconds=10)
    tape.write(1, "cancelled", "operating-0")


def be_changed_by_a_worker(tape: Tape) -> None:
    tape.run(1, step="retry")
    tape.end(1, "todo")
    tape.write(1, "todo", "worker-2", priority=7)
    tape.write(1, "cancelled", "operating-0")


@pytest.mark.parametrize(
    "happens",
    [
        stay,
        succeed_against_the_script,
        end_without_a_run,
        end_twice,
        run_twice,
        run_unclaimed,
        begin_after_it_was_taken,
        be_claimed_by_two,
        be_taken_from_a_worker_that_is_well,
        be_ended_by_another_worker,
        be_interrupted_for_nothing,
        be_aborted_for_nothing,
        be_cancelled_while_it_runs,
        be_changed_by_a_worker,
    ],
)
def test_what_is_wrong_is_found(tape: Tape, happens: Callable[[Tape], None]) -> None:
    happens(tape)
    assert ends(tape.log())
