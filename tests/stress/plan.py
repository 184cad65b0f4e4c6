"""What happens in a wave, drawn at random."""

import random
from dataclasses import dataclass

# What deferrers and operators are told of a plan.
PLANNED = ("seconds", "nap", "latest", "held_back", "open_for", "pace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens in a wave.

    Attributes:
        kind: What it is called.
        seconds: For how long jobs come.
        jobs: How many.
        nap: Seconds that a job takes, at most.
        latest: Seconds that a job is for later, at most.
        held_back: How many jobs of some locks are not for before long, from 0 to 1, and hold their followers.
        open_for: Seconds that a transaction stays open, at most.
        pace: Seconds between two changes of an operator's thread, at most.
        linger: How many of the statements that change a job take longer, from 0 to 1.
        is_rough: Whether workers are killed, stopped and paused.
    """

    kind: str
    seconds: float
    jobs: float
    nap: float
    latest: float
    held_back: float
    open_for: float
    pace: float
    linger: float
    is_rough: bool


def draw_plan(rng: random.Random, scale: float) -> Plan:
    """A plan, with so many times the usual number of jobs.

    Many are short, or have few jobs: what is lost shows when nothing comes any more. The dense ones have as
    many changes as the machine can do, and so as many that meet.
    """
    kind = rng.choice(("sparse", "steady", "dense", "dense"))
    seconds = 1.5 * rng.choice((0.1, 0.3, 0.6, 1))
    is_dense = kind == "dense"
    return Plan(
        kind=kind,
        seconds=seconds,
        jobs=seconds * scale * {"sparse": 40, "steady": 150, "dense": 400}[kind],
        nap=0 if is_dense else 0.03,
        # While jobs for later wait, hardly anything else happens but what the operator does.
        latest=rng.choice((0.3, 0.3, 2)),
        held_back=0.01 if is_dense else 0.15,
        open_for=0.03 if is_dense else 0.3,
        pace=0.03 if is_dense else rng.choice((0.05, 0.5)),
        linger=rng.choice((0, 0.02, 0.2)),
        is_rough=rng.random() < 0.4,
    )
