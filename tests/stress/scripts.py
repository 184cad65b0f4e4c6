"""What the jobs of the stress test are to do: drawn at random, and carried by each job as its arguments."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import TypedDict

QUEUES = ("a", "b", "c", "d")
PRIORITIES = (0, 0, 0, 0, 1, 2, 3, 4, 5, -1)

# No time at which a job of the stress test runs: an operator has to do something about it first.
LONG = timedelta(hours=1)

# What a task does in the end, at one claim of it; and the job's status then.
STEPS = {
    "succeed": "succeeded",
    "fail": "failed",
    "retry": "todo",  # at once
    "retry_later": "todo",
    "snooze": "todo",
    "demote": "todo",  # at once, with a lower priority
    "move": "todo",  # to another queue
    "relock": "todo",  # with another lock
}

# How often each comes, where a job does something before its end.
_BEFORE_THE_END = {"retry": 4, "retry_later": 3, "snooze": 3, "demote": 1, "move": 1, "relock": 1}

_SHARE_WITHOUT_LOCK = 0.35

# How many locks there are of a kind, and how many jobs have one of them. Hot ones always have jobs that wait;
# warm ones have a few now and then, so that a new one often is the first; cold ones hardly ever have two.
_LOCKS = {"hot": (5, 0.35), "warm": (25, 0.4), "cold": (300, 0.25)}
_KEYS = 4


class Arguments(TypedDict):
    """The arguments of a job.

    Attributes:
        script: Its steps: at the first claim, at the second …; at later ones the last.
        nap: Seconds that it takes.
        wait: Seconds until it is run again, where a step says later.
        key: The key of its limit, if it has one by that.
        queue: Where it moves.
        lock: What its lock becomes.
    """

    script: list[str]
    nap: float
    wait: float
    key: str | None
    queue: str
    lock: str


class Options(TypedDict):
    """How a job is deferred."""

    queue: str
    priority: int
    lock: str | None
    schedule_in: timedelta | None
    expire_in: timedelta | None
    limit: str | None


def step_of(script: Sequence[str], claim: int) -> str:
    """What a job is to do at a claim, from 1."""
    return script[min(claim, len(script)) - 1]


def has_effect(job_id: int) -> bool:
    """Whether a job has an effect, in a transaction with its end: one in three."""
    return job_id % 3 == 0


def status_after(step: str) -> str:
    """What a job becomes by a step."""
    return STEPS[step]


def draw_arguments(rng: random.Random, *, nap: float) -> Arguments:
    """The arguments of a job that takes so many seconds at most."""
    steps, weights = zip(*_BEFORE_THE_END.items(), strict=True)
    before = rng.choices(steps, weights, k=rng.choice((0, 0, 0, 1, 1, 2)))
    return {
        "script": [*before, "fail" if rng.random() < 0.05 else "succeed"],
        "nap": rng.choice((0, 0, rng.uniform(0, nap))),
        "wait": rng.choice((0.0, rng.uniform(0, 0.3))),
        "key": f"key-{rng.randrange(_KEYS)}" if rng.random() < 0.3 else None,
        "queue": rng.choice(QUEUES),
        "lock": draw_lock(rng) or "hot-0",
    }


def draw_options(rng: random.Random, *, latest: float, held_back: float) -> Options:
    """How a job is deferred.

    Args:
        rng: What is drawn at random comes from it.
        latest: If for later, for how many seconds later at most.
        held_back: How many of those with a warm lock are for ``LONG`` later, from 0 to 1.
    """
    lock = draw_lock(rng)
    later = timedelta(seconds=rng.uniform(0, latest)) if rng.random() < 0.2 else None
    if lock is not None and lock.startswith("warm") and rng.random() < held_back:
        later = LONG
    return {
        "queue": rng.choice(QUEUES),
        "priority": rng.choice(PRIORITIES),
        "lock": lock,
        "schedule_in": later,
        "expire_in": draw_expiry(rng, later),
        "limit": rng.choices((None, "key", "paced"), (70, 25, 5))[0],
    }


def draw_expiry(rng: random.Random, later: timedelta | None) -> timedelta | None:
    """By when a job is to begin, if it matters: long after it may, or so soon that not all of them do.

    One for later whose time comes and is over in the same moment is not made due, and lets its followers in.
    """
    soon = timedelta(seconds=rng.uniform(0.0001, rng.choice((0.0005, 0.0005, 0.05, 1))))
    after = rng.choices((None, soon, LONG), (50, 45, 5) if later else (80, 15, 5))[0]
    return after and (later or timedelta(0)) + after


def draw_lock(rng: random.Random) -> str | None:
    """A lock, or none."""
    if rng.random() < _SHARE_WITHOUT_LOCK:
        return None
    shares = [share for _, share in _LOCKS.values()]
    [(kind, (number, _))] = rng.choices(list(_LOCKS.items()), shares)
    return f"{kind}-{rng.randrange(number)}"
