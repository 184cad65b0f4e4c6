"""Jobs that expire, in logs made by hand."""

from collections.abc import Callable

import pytest

from tests.stress.ends import ends
from tests.stress.expiry import expired, expiry
from tests.stress.tape import Tape
from tests.stress.waiting import left


@pytest.fixture
def tape() -> Tape:
    """A job that is to begin by the tenth second."""
    tape = Tape()
    tape.defer(1, script=("retry", "succeed"), expires_at=10)
    return tape


def expire(tape: Tape) -> None:
    tape.now = 10
    tape.write(1, "cancelled", "worker-1")


def begin_in_time_and_go_on_later(tape: Tape) -> None:
    tape.claim(1)
    tape.now = 20
    tape.run(1, step="retry")
    tape.end(1, "todo", expires_at=None)
    tape.claim(1)
    tape.run(1)
    tape.end(1)


def be_given_back_and_expire(tape: Tape) -> None:
    tape.claim(1)
    tape.now = 20
    tape.end(1, "todo")
    tape.write(1, "cancelled", "worker-2")


def be_cancelled_by_hand_before_its_time(tape: Tape) -> None:
    tape.write(1, "cancelled", "operating-0")
    tape.now = 20
    tape.write(1, "todo", "operating-0", expires_at=None, script=("succeed",))
    tape.claim(1)
    tape.run(1)
    tape.end(1)


@pytest.mark.parametrize(
    "happens",
    [
        expire,
        begin_in_time_and_go_on_later,
        be_given_back_and_expire,
        be_cancelled_by_hand_before_its_time,
    ],
)
def test_what_is_right_is_not_reported(tape: Tape, happens: Callable[[Tape], None]) -> None:
    happens(tape)
    assert [*ends(tape.log()), *expiry(tape.log())] == []


def begin_late(tape: Tape) -> None:
    tape.now = 10
    tape.claim(1)
    tape.write(1, "doing", "operating-0", abort_requested=True)
    tape.end(1, "aborted", "worker-1")


def be_claimed_again_after_it_was_given_back(tape: Tape) -> None:
    tape.claim(1)
    tape.end(1, "todo")
    tape.now = 20
    tape.claim(1)
    tape.run(1)
    tape.end(1)


def begin_and_expire(tape: Tape) -> None:
    tape.claim(1)
    tape.run(1, step="retry")
    tape.end(1, "todo")
    expire(tape)


def be_ended_before_its_time(tape: Tape) -> None:
    tape.write(1, "cancelled", "worker-1")


def be_given_more_time_by_a_worker(tape: Tape) -> None:
    tape.write(1, "todo", "worker-1", expires_at=20)
    tape.now = 20
    tape.write(1, "cancelled", "worker-1")


def begin_after_it_has_expired(tape: Tape) -> None:
    expire(tape)
    tape.claim(1, expires_at=None)
    tape.run(1)
    tape.end(1)


@pytest.mark.parametrize(
    "happens",
    [
        begin_late,
        be_claimed_again_after_it_was_given_back,
        begin_and_expire,
        be_ended_before_its_time,
        be_given_more_time_by_a_worker,
        begin_after_it_has_expired,
    ],
)
def test_what_is_wrong_is_found(tape: Tape, happens: Callable[[Tape], None]) -> None:
    happens(tape)
    assert [*ends(tape.log()), *expiry(tape.log())]


def test_one_that_is_late_and_waits_still_is_left(tape: Tape) -> None:
    tape.defer(2, lock="b", due_at=1000)
    tape.defer(3, lock="b", expires_at=10)
    assert [("no worker ends it" in str(violation)) for violation in left(tape.log(), 20)] == [
        True,
        False,
        True,
    ]


def test_only_what_a_worker_has_ended_for_its_time_counts_as_expired(tape: Tape) -> None:
    expire(tape)
    tape.defer(2)
    tape.write(2, "cancelled", "operating-0")
    assert [version.job_id for version in expired(tape.log())] == [1]
