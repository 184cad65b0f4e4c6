"""What follows the end of a process."""

import pytest

from taskq.supervisor.restarts import Done, Ended, GiveUp, Restart, Restarts

CRASHED = Ended(-9, 2.0, started=True, done=False)


@pytest.mark.parametrize(
    ("ended", "any_started", "follows"),
    [
        (Ended(0, 1, started=True, done=True), True, Done()),
        (Ended(0, 1, started=True, done=False), True, Restart(1)),
        (Ended(-9, 3600, started=True, done=False), True, Restart(0)),
        (Ended(1, 3600, started=True, done=True), True, Restart(0)),
        # A job that leaves with the code of a usage error is none.
        (Ended(2, 3600, started=True, done=False), True, Restart(0)),
        # The database is away when one is started again.
        (Ended(1, 1, started=False, done=False), True, Restart(1)),
        (Ended(-11, 1, started=False, done=False), False, Restart(1)),
    ],
)
def test_one_that_ends_is_replaced_unless_it_has_done_its_work(
    ended: Ended, any_started: bool, follows: object
) -> None:
    assert Restarts().ended(ended, any_started=any_started) == follows


@pytest.mark.parametrize(("code", "any_started"), [(2, False), (2, True), (1, False)], ids=str)
def test_one_that_cannot_start_ends_all_with_its_code(code: int, any_started: bool) -> None:
    ended = Ended(code, 1, started=False, done=False)
    follows = Restarts().ended(ended, any_started=any_started)
    assert isinstance(follows, GiveUp)
    assert follows.code == code


def test_those_that_die_at_once_are_replaced_ever_later_and_one_that_lived_begins_anew() -> None:
    restarts = Restarts()
    waits = [restarts.ended(CRASHED, any_started=True) for _ in range(8)]
    assert waits == [Restart(after) for after in (1, 2, 4, 8, 16, 30, 30, 30)]
    lived = Ended(-9, 60.0, started=True, done=False)
    assert restarts.ended(lived, any_started=True) == Restart(0)
    assert restarts.ended(CRASHED, any_started=True) == Restart(1)


def test_if_none_ever_starts_it_ends_after_some() -> None:
    restarts = Restarts()
    died = Ended(-11, 1, started=False, done=False)
    follows = [restarts.ended(died, any_started=False) for _ in range(5)]
    assert [type(step) for step in follows] == [Restart, Restart, Restart, Restart, GiveUp]
