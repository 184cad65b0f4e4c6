"""A wave: all defer, work and operate for a few seconds; then all that was deferred must get done.

At the end it shows whether a wake-up was lost: nothing comes any more that would wake a worker by chance.
"""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.stress import recording
from tests.stress.checks import violations_of
from tests.stress.children import Child
from tests.stress.crew import STALLED_AFTER, Crew
from tests.stress.expiry import expired
from tests.stress.log import Violation
from tests.stress.plan import PLANNED, draw_plan
from tests.stress.running import most_at_once
from tests.stress.tables import Tables
from tests.stress.tasks import LIMITS, app
from tests.stress.waiting import left

# For so long nothing may happen while a job waits; scheduled ones and retries wait for less. Workers poll
# once in an hour.
_PATIENCE = 8.0  # seconds
_LONGEST_DRAIN = 120.0  # seconds

# After this time no worker makes sure any more that nothing was left for it.
_QUIET = 0.4  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened in a wave."""

    number: int
    kind: str
    jobs: int
    claims: int
    runs: int
    signals: int
    late: int
    most_of_a_key: int
    expired: int
    drained_in: float
    violations: Sequence[Violation]

    def __str__(self) -> str:
        return (
            f"wave {self.number}, {self.kind}: {self.jobs} jobs, {self.claims} claims, {self.runs} runs, "
            f"{self.signals} signals, {self.late} late heartbeats, {self.most_of_a_key} of a key at most, "
            f"{self.expired} expired, "
            f"drained in {self.drained_in:.2f} s: "
            + (f"{len(self.violations)} VIOLATIONS" if self.violations else "ok")
        )


class Stage:
    """The processes of the stress test, and the database.

    Args:
        url: The database, for SQLAlchemy.
        connection: To the same, in autocommit.
        crew: The workers.
        deferrers: Who defers.
        operators: Who changes jobs.
        seed: What all that is drawn at random follows from.
        scale: How many jobs there are, as a multiple of the usual.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        crew: Crew,
        deferrers: Sequence[Child],
        operators: Sequence[Child],
        *,
        seed: int,
        scale: float,
    ) -> None:
        self._connection = connection
        self._tables = Tables(connection)
        self._crew = crew
        self._deferrers = deferrers
        self._operators = operators
        self._seed = seed
        self._scale = scale

    def wait_until_ready(self, *, workers: int) -> None:
        """Wait until all processes are there."""
        ready = [
            child.ask(seed="", after=0, jobs=0, **dict.fromkeys(PLANNED, 0))
            for child in (*self._deferrers, *self._operators)
        ]
        for future in ready:
            future.result(_LONGEST_DRAIN)
        deadline = time.monotonic() + _LONGEST_DRAIN
        while self._tables.workers() < workers:
            assert time.monotonic() < deadline, "the workers do not start: see their logs"
            time.sleep(0.02)

    def run(self, number: int, folder: Path) -> Report:
        """Run a wave.

        Args:
            number: Which one; with the seed, what is drawn.
            folder: Where what was recorded is kept, if there is a violation.
        """
        connection = self._connection
        since = time.time()
        after = self._tables.last_job()
        rng = random.Random(f"{self._seed} wave {number}")
        plan = draw_plan(rng, self._scale)
        recording.linger(connection, plan.linger)
        commands = [
            child.ask(
                seed=f"{self._seed} wave {number} {child.name}",
                after=after,
                jobs=math.ceil(plan.jobs / len(self._deferrers)),
                **{name: getattr(plan, name) for name in PLANNED},
            )
            for child in (*self._deferrers, *self._operators)
        ]
        disturbed = self._crew.disturb(rng, plan.seconds) if plan.is_rough else lambda: None
        disturbed()
        for command in commands:
            command.result(_LONGEST_DRAIN)

        patience = _PATIENCE + (2 * STALLED_AFTER if plan.is_rough else 0)
        began = time.monotonic()
        while self._settle(after, patience):
            time.sleep(rng.choice((0, _QUIET)))
            if not self._release_one(number, after):
                break
        drained_in = time.monotonic() - began
        is_drained = self._tables.alive(after) == 0
        log = recording.read(connection, self._crew.signals(), after=after)
        violations = [
            *violations_of(log, LIMITS, app.queue_limits),
            *self._crew.check(),
            *self._held_locks(),
        ]
        if not is_drained:
            violations = [*left(log, time.time()), *violations]
        if violations:
            recording.save(connection, folder)
        recording.clear(connection)
        self._crew.forget()
        return Report(
            number=number,
            kind=plan.kind,
            jobs=len(log.histories),
            claims=len(log.tenures),
            runs=len(log.runs),
            signals=sum(s.kind != "starve" and s.at >= since for s in log.signals),
            late=sum(s.kind == "starve" and s.until >= since for s in log.signals),
            most_of_a_key=most_at_once(log, lambda run: run.key),
            expired=len(expired(log)),
            drained_in=drained_in,
            violations=violations,
        )

    def _settle(self, after: int, patience: float) -> bool:
        """Wait until nothing is under way; False if nothing happens any more although something is."""
        began = since = time.monotonic()
        last = None
        while self._tables.under_way(after):
            changes, now = self._tables.changes(), time.monotonic()
            if changes != last:
                last, since = changes, now
            if now - since > patience or now - began > _LONGEST_DRAIN:
                return False
            time.sleep(0.01)
        return True

    def _release_one(self, number: int, after: int) -> bool:
        """Have an operator let the followers go of a job that was not to run for long; False: there is none.

        Nothing else happens meanwhile: if a worker is not told of a follower, nothing else tells it.
        """
        operator, seed = self._operators[0], f"{self._seed} wave {number} release {time.time()}"
        changes: int = operator.ask(release=True, after=after, seed=seed).result()["changes"]
        return changes > 0

    def _held_locks(self) -> list[Violation]:
        """Locks that are held though no job runs."""
        deadline = time.monotonic() + _PATIENCE
        while held := self._tables.held_locks():
            if time.monotonic() > deadline:
                return [Violation("lock", f"it is held, and nothing runs: {row}") for row in held]
            time.sleep(0.02)
        return []
