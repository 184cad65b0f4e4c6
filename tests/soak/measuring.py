"""What is measured of a soak, and what of it has to stay as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

_MIB = 2**20

_SIZES = """
SELECT
    (SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'taskq_%'),
    (SELECT sum(pg_indexes_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'taskq_%'),
    (SELECT count(*) FROM taskq_jobs WHERE status IN ('todo', 'doing')),
    (SELECT count(*) FROM taskq_jobs)
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures at one moment.

    Attributes:
        at: Seconds since the beginning.
        ended: Jobs that had ended.
        alive: Jobs that waited or ran.
        rows: Jobs in the table.
        memory: Of the worker, in bytes.
        tables: Bytes of all tables.
        indexes: Bytes of all their indexes.
    """

    at: float
    ended: int
    alive: int
    rows: int
    memory: int
    tables: int
    indexes: int


def sample(connection: psycopg.Connection, at: float, deferred: int, worker: int) -> Sample:
    """Measure, with the process of the worker."""
    row = connection.execute(_SIZES).fetchone()
    assert row
    tables, indexes, alive, rows = map(int, row)
    return Sample(at, deferred - alive, alive, rows, _memory(worker), tables, indexes)


def _memory(process: int) -> int:
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {process} has no memory: it has ended")


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a soak, and how its figures went.

    Attributes:
        name: Which one.
        samples: What was measured in it, in order.
    """

    name: str
    samples: Sequence[Sample]

    @property
    def jobs(self) -> int:
        return self.samples[-1].ended - self.samples[0].ended

    @property
    def rate(self) -> float:
        """Jobs that ended in a second."""
        return self.jobs / (self.samples[-1].at - self.samples[0].at)

    @property
    def most_alive(self) -> int:
        return max(each.alive for each in self.samples)

    def growth(self, figure: str) -> float:
        """How many bytes a figure grew by for each job, from the first third of the phase to the last one.

        Medians: a vacuum and a garbage collection go in steps.
        """
        third = max(len(self.samples) // 3, 1)
        first, last = self.samples[:third], self.samples[-third:]

        def middle(of: Sequence[Sample], name: str) -> float:
            return float(median(int(getattr(each, name)) for each in of))

        grown = middle(last, figure) - middle(first, figure)
        return grown / max(middle(last, "ended") - middle(first, "ended"), 1)

    def __str__(self) -> str:
        last = self.samples[-1]
        grown = ", ".join(
            f"{name} {self.growth(name):+.1f}" for name in ("memory", "tables", "indexes")
        )
        return (
            f"{self.name:8} {self.samples[0].at:7.0f} to {last.at:7.0f} s: {self.rate:7.1f} jobs/s, "
            f"at most {self.most_alive:,} alive, {last.rows:,} rows, {last.memory / _MIB:.1f} MiB in memory, "
            f"{last.tables / _MIB:.1f} MiB of tables, {last.indexes / _MIB:.1f} MiB of indexes; "
            f"bytes a job: {grown}"
        )


def faults_of(
    phases: Sequence[Phase], rate: float, *, most_memory: float, most_size: float
) -> list[str]:
    """What did not stay as it was.

    Args:
        phases: All of them: each after the warm-up by its rate, and the last one by its slopes as well.
        rate: Jobs a second that were deferred.
        most_memory: Bytes that the worker may grow by for each job.
        most_size: Bytes that tables, and indexes, may grow by for each job.
    """
    faults = [
        f"{phase.name}: {phase.rate:.1f} jobs/s of {rate:.1f} that were deferred"
        for phase in phases[1:]
        if phase.rate < 0.9 * rate
    ]
    last = phases[-1]
    for figure, most in (("memory", most_memory), ("tables", most_size), ("indexes", most_size)):
        if (grown := last.growth(figure)) > most:
            faults.append(
                f"{last.name}: {figure} grew by {grown:.1f} bytes for each job; at most {most:.0f} may be"
            )
    return faults
