"""A wave: all defer, work and operate for a few seconds; then all that was deferred must get done.

At the end it shows whether a wake-up was lost: nothing comes any more that would wake a worker by chance.
"""

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
from tests.stress.log import Violation
from tests.stress.running import most_at_once
from tests.stress.waiting import left

# For so long nothing may happen while a job waits; scheduled ones and retries wait for less. Workers poll
# once in an hour.
_PATIENCE = 8.0  # seconds
_LONGEST_DRAIN = 120.0  # seconds

_SHARE_OF_ROUGH_WAVES = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much happens: for how long jobs come in a wave, at most, and how many in each second."""

    seconds: float = 1.5
    jobs: int = 150

    def draw(self, rng: random.Random) -> "Plan":
        """What happens in a wave. Many are short: what is lost shows when nothing comes any more."""
        return Plan(
            seconds=self.seconds * rng.choice((0.1, 0.3, 0.6, 1)),
            # While jobs for later wait, hardly anything else happens but what the operator does.
            latest=rng.choice((0.3, 0.3, 2)),
            linger=rng.choice((0, 0.02, 0.2)),
            pace=rng.choice((0.05, 0.5)),
            is_rough=rng.random() < _SHARE_OF_ROUGH_WAVES,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens in a wave.

    Attributes:
        seconds: For how long jobs come.
        latest: For how much later they are, at most.
        linger: How many of the statements that change a job take longer, from 0 to 1.
        pace: Seconds between two changes of an operator's thread, at most.
        is_rough: Whether workers are killed, stopped and paused.
    """

    seconds: float
    latest: float
    linger: float
    pace: float
    is_rough: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened in a wave."""

    number: int
    jobs: int
    claims: int
    runs: int
    signals: int
    late: int
    most_of_a_key: int
    drained_in: float
    violations: Sequence[Violation]

    def __str__(self) -> str:
        return (
            f"wave {self.number}: {self.jobs} jobs, {self.claims} claims, {self.runs} runs, "
            f"{self.signals} signals, {self.late} late heartbeats, {self.most_of_a_key} of a key at most, "
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
        size: How much happens in a wave.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        crew: Crew,
        deferrers: Sequence[Child],
        operators: Sequence[Child],
        *,
        seed: int,
        size: Size,
    ) -> None:
        self._connection = connection
        self._crew = crew
        self._deferrers = deferrers
        self._operators = operators
        self._seed = seed
        self._size = size

    def run(self, number: int, folder: Path) -> Report:
        """Run a wave.

        Args:
            number: Which one; with the seed, what is drawn.
            folder: Where what was recorded is kept, if there is a violation.
        """
        connection, size = self._connection, self._size
        since = time.time()
        after = self._one("SELECT coalesce(max(id), 0) FROM taskq_jobs")
        rng = random.Random(f"{self._seed} wave {number}")
        plan = size.draw(rng)
        recording.linger(connection, plan.linger)
        commands = [
            child.ask(
                seed=f"{self._seed} wave {number} {child.name}",
                seconds=plan.seconds,
                latest=plan.latest,
                jobs=max(round(size.jobs * plan.seconds / len(self._deferrers)), 4),
            )
            for child in self._deferrers
        ] + [
            child.ask(
                seed=f"{self._seed} wave {number} {child.name}",
                after=after,
                pace=plan.pace,
                seconds=plan.seconds + plan.latest,
            )
            for child in self._operators
        ]
        disturbed = self._crew.disturb(rng, plan.seconds) if plan.is_rough else lambda: None
        disturbed()
        for command in commands:
            command.result(60)

        began = time.monotonic()
        is_drained = self._drain(after, _PATIENCE + (2 * STALLED_AFTER if plan.is_rough else 0))
        drained_in = time.monotonic() - began
        log = recording.read(connection, self._crew.signals(), after=after)
        violations = [*violations_of(log), *self._crew.check()]
        if not is_drained:
            violations = [*left(log, time.time()), *violations]
        violations += self._held_locks()
        if violations:
            recording.save(connection, folder)
        recording.clear(connection)
        self._crew.forget()
        return Report(
            number=number,
            jobs=len(log.histories),
            claims=len(log.tenures),
            runs=len(log.runs),
            signals=sum(s.kind != "starve" and s.at >= since for s in log.signals),
            late=sum(s.kind == "starve" and s.until >= since for s in log.signals),
            most_of_a_key=most_at_once(log, lambda run: run.key),
            drained_in=drained_in,
            violations=violations,
        )

    def _drain(self, after: int, patience: float) -> bool:
        """Wait until no job waits or runs; False if nothing happens any more although one does."""
        began = since = time.monotonic()
        last = None
        while self._one(
            f"SELECT count(*) FROM taskq_jobs WHERE id > {after} AND status IN ('todo', 'doing')"
        ):
            written = self._one("SELECT last_value FROM stress_versions_seq_seq")
            now = time.monotonic()
            if written != last:
                last, since = written, now
            if now - since > patience or now - began > _LONGEST_DRAIN:
                return False
            time.sleep(0.02)
        return True

    def _held_locks(self) -> list[Violation]:
        """Locks that are held though no job runs, in whatever table a lock is held."""
        deadline = time.monotonic() + _PATIENCE
        while rows := self._rows("taskq_locks"):
            if time.monotonic() > deadline:
                return [Violation("lock", f"it is held, and nothing runs: {row}") for row in rows]
            time.sleep(0.02)
        return []

    def _rows(self, table: str) -> list[str]:
        if self._one(f"SELECT to_regclass('{table}')") is None:
            return []
        rows = self._connection.execute(f"SELECT to_jsonb({table}) FROM {table}".encode())
        return [str(row[0]) for row in rows]

    def _one(self, query: str) -> int:
        row = self._connection.execute(query.encode()).fetchone()
        assert row is not None
        value: int = row[0]
        return value
