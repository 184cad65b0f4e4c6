"""When a worker claims, checks or waits: event by event, without a database or a clock."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from taskq.queries.job_claim import AvailabilityCheck
from taskq.worker.claim_timing import Check, Claim, ClaimTiming, Wait

POLL = 60.0
READY = AvailabilityCheck(ready=True, oldest_transaction=5, next_transaction=5)
NOTHING = AvailabilityCheck(ready=False, oldest_transaction=5, next_transaction=5)
UNDER_WAY = AvailabilityCheck(ready=False, oldest_transaction=4, next_transaction=9)
STILL_UNDER_WAY = AvailabilityCheck(ready=False, oldest_transaction=8, next_transaction=12)
ALL_ENDED = AvailabilityCheck(ready=False, oldest_transaction=9, next_transaction=15)

Event = Callable[[ClaimTiming], None]
Decision = Claim | Check | Wait


@dataclass
class Step:
    """What happens, and what is to be done then."""

    now: float
    event: Event
    expected: Decision
    capacity: int = 10


def nothing() -> Event:
    return lambda timing: None


def woken() -> Event:
    return lambda timing: timing.wake()


def notified(now: float, rank: int, queue: str | None = "a") -> Event:
    return lambda timing: timing.notified(now, rank, queue)


def began(now: float, queue: str | None = None) -> Event:
    return lambda timing: timing.claim_began(now, queue)


def ended(now: float, jobs: int = 0, *, from_start: bool = True, alone: bool = True) -> Event:
    return lambda timing: timing.claim_ended(
        now, jobs=jobs, limit=10, from_start=from_start, is_alone=alone
    )


def checked(now: float, seen: AvailabilityCheck) -> Event:
    def event(timing: ClaimTiming) -> None:
        timing.check_began()
        timing.check_ended(now, seen)

    return event


EVERYWHERE = Claim(None)

# Each begins with a worker that has claimed once, at 0, in vain.
CASES: dict[str, list[Step]] = {
    "without an event it claims when the poll's time has come": [
        Step(0, nothing(), Wait(POLL)),
        Step(59, nothing(), Wait(POLL)),
        Step(60, nothing(), EVERYWHERE),
        Step(60, began(60), Wait(120)),
    ],
    "a notification for one queue leads to a claim there alone, which does not put off the poll": [
        Step(1, notified(1, 0), Claim("a")),
        Step(1, began(1, "a"), Wait(POLL)),
    ],
    "notifications for two queues lead to a claim everywhere": [
        Step(1, notified(1, 0, "a"), Claim("a")),
        Step(1, notified(1, 0, "b"), EVERYWHERE),
    ],
    "the same queue twice is one claim there": [
        Step(1, notified(1, 0), Claim("a")),
        Step(1, notified(1, 0), Claim("a")),
    ],
    "an event during a claim leads to another one": [
        Step(1, woken(), EVERYWHERE),
        Step(1, began(1), Wait(61)),
        Step(1, woken(), EVERYWHERE),
        Step(1, ended(1), EVERYWHERE),
    ],
    "without capacity it waits for more, however long": [
        Step(1, woken(), Wait(None), capacity=0),
        Step(100, nothing(), Wait(None), capacity=0),
        Step(100, nothing(), EVERYWHERE, capacity=1),
    ],
    "who is not first in rank checks a moment later, and does nothing if there is nothing": [
        Step(1, notified(1, 1), Wait(1.03)),
        Step(1.03, nothing(), Check()),
        Step(1.04, checked(1.04, NOTHING), Wait(POLL)),
    ],
    "who is not first in rank claims what it still finds": [
        Step(1, notified(1, 3), Wait(1.03)),
        Step(1.04, checked(1.04, READY), EVERYWHERE),
    ],
    "one check for many notifications, which are put off to three times the wait at most": [
        Step(1, notified(1, 1), Wait(1.03)),
        Step(1.02, notified(1.02, 1), Wait(1.05)),
        Step(1.04, notified(1.04, 1), Wait(1.07)),
        Step(1.06, notified(1.06, 1), Wait(1.09)),
        Step(1.08, notified(1.08, 1), Wait(1.09)),
        Step(1.09, nothing(), Check()),
    ],
    "the poll comes before a check that is planned for later": [
        Step(59.99, notified(59.99, 1), Wait(60)),
        Step(60, nothing(), EVERYWHERE),
    ],
    "on a slow network a check waits for about three claims": [
        Step(1, woken(), EVERYWHERE),
        Step(1, began(1), Wait(61)),
        Step(1.4, ended(1.4), Wait(61)),
        Step(2, notified(2, 1), Wait(2.3)),
    ],
    "while transactions are under way that may defer in silence, it checks twice as late each time": [
        Step(1, notified(1, 0), Claim("a")),
        Step(1, began(1, "a"), Wait(POLL)),
        Step(1, ended(1), Wait(1.005)),
        Step(1.005, checked(1.005, UNDER_WAY), Wait(1.015)),
        Step(1.015, checked(1.015, STILL_UNDER_WAY), Wait(1.035)),
        Step(1.035, checked(1.035, ALL_ENDED), Wait(POLL)),
    ],
    "where a claim got all it asked for it checks, and claims again after two of them": [
        Step(1, woken(), EVERYWHERE),
        Step(1, began(1), Wait(61)),
        Step(1, ended(1, 10), Check()),
        Step(1, checked(1, READY), EVERYWHERE),
        Step(1, began(1), Wait(61)),
        Step(1, ended(1, 10), EVERYWHERE),
    ],
    "what a claim behind earlier ones did not find may lie before them": [
        Step(1, woken(), EVERYWHERE),
        Step(1, began(1), Wait(61)),
        Step(1, ended(1, 4, from_start=False), EVERYWHERE),
    ],
    "others may give up what a claim passed over, if there are others": [
        Step(1, woken(), EVERYWHERE),
        Step(1, began(1), Wait(61)),
        Step(1, ended(1, 4, alone=False), Wait(1.03)),
    ],
    "a claim takes the place of a check that is due, and not of one that is planned": [
        Step(1, notified(1, 1), Wait(1.03)),
        Step(1.01, woken(), EVERYWHERE),
        Step(1.01, began(1.01), Wait(1.03)),
        Step(1.04, woken(), EVERYWHERE),
        Step(1.04, began(1.04), Wait(61.04)),
    ],
    "a check that is due makes a claim one everywhere": [
        Step(1, notified(1, 1, "a"), Wait(1.03)),
        Step(1.03, notified(1.03, 0, "b"), EVERYWHERE),
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_done_after_each_event(case: str) -> None:
    timing = ClaimTiming(polling_interval=POLL, spread=lambda: 1.0)
    assert timing.next(0, 10) == EVERYWHERE
    timing.claim_began(0, None)
    timing.claim_ended(0, jobs=0, limit=10, from_start=True, is_alone=True)
    for number, step in enumerate(CASES[case]):
        step.event(timing)
        decision = timing.next(step.now, step.capacity)
        match decision, step.expected:
            case Wait(float() | int() as until), Wait(float() | int() as expected):
                assert until == pytest.approx(expected, abs=1e-6), number
            case _:
                assert decision == step.expected, number
