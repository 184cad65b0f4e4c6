"""Workers and deferrers at work, on which faults are made; what came of it, measured and checked."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from taskq import App
from tests.chaos.crew import Crew
from tests.chaos.deferring import LOCKS, Acknowledged, Deferring
from tests.chaos.program import PLAIN, WITH_EFFECT, limited, plain

# Far more than a fault takes to get over, on a loaded machine too.
PATIENCE = 60.0  # seconds

# So many jobs end before a fault is made.
_FLOWING = 20

Connect = Callable[[], psycopg.Connection[TupleRow]]


@dataclasses.dataclass
class Figures:
    """What a test of a fault found.

    Attributes:
        fault: Which one.
        times: How often it was made.
        acknowledged: How many jobs' defers have returned.
        ended: How many of these have succeeded.
        lost: How many of these have not, or have never run.
        repeated: How many ran more than once.
        doubled: How many effects are there more than once, or are missing.
        first: Seconds from the end of the fault to the first start of a job deferred after it, at most.
        all: Seconds until all that was acknowledged before the end of the fault had ended, at most.
    """

    fault: str
    times: int = 0
    acknowledged: int = 0
    ended: int = 0
    lost: int = 0
    repeated: int = 0
    doubled: int = 0
    first: float = 0.0
    all: float = 0.0


class Scene:
    """Workers and deferrers at work.

    Args:
        name: Of the fault, for the table.
        database: The name of the database.
        connect: Connects to it past whatever is disturbed.
        url: The same, as the workers reach it, for jobs that are deferred at the end.
        crew: The workers.
        deferring: The deferrers.
    """

    def __init__(
        self,
        name: str,
        database: str,
        *,
        connect: Connect,
        url: str,
        crew: Crew,
        deferring: Deferring,
    ) -> None:
        self.database = database
        self.figures = Figures(name)
        self.crew = crew
        self.deferring = deferring
        self._connect = connect
        self._url = url
        # Those of them that the database has lost with what it was restored to are not the queue's to keep.
        self.kept: Callable[[Acknowledged], bool] = lambda _: True

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Make a fault while jobs flow; it is over at the end. Then wait until that is got over."""
        if not self.figures.times:
            # A worker insists on a database when it starts.
            self._await_registered()
        self.flow()
        yield
        over = time.monotonic()
        self.figures.times += 1
        before = [one for one in self.deferring.acknowledged if one.at < over]
        self.until(lambda: self._started_after(over), "no job starts that was deferred after")
        first = min(at for at in self._started_after(over)) - over
        self.until(lambda: not self._unfinished(before), "jobs from before do not end")
        self.figures.first = max(self.figures.first, first)
        self.figures.all = max(self.figures.all, time.monotonic() - over)

    def flow(self) -> None:
        """Wait until jobs are deferred, started and ended."""
        deferred, ended = self.deferring.count(), self._ended()
        self.until(
            lambda: (
                self.deferring.count() > deferred + _FLOWING and self._ended() > ended + _FLOWING
            ),
            "jobs do not flow",
        )

    def settle(self) -> Figures:
        """Defer no more, wait until all is done, and find out what has become of it."""
        self.deferring.end()
        left = "SELECT count(*) FROM taskq_jobs WHERE finished_at IS NULL"
        self.until(lambda: self.read(left) == [(0,)], "jobs are left")
        self._probe()
        self._count()
        assert self.crew.ended() == [], f"workers ended by themselves: see {self.crew.log}"
        self._await_registered()
        assert self.crew.stop() == [0] * len(self.crew.workers)
        assert self.read("SELECT count(*) FROM taskq_workers") == [(0,)]
        assert (self.figures.lost, self.figures.doubled) == (0, 0), self.figures
        return self.figures

    def read(self, query: str) -> list[TupleRow]:
        """The rows of a query."""
        with self._connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def execute(self, *statements: str) -> None:
        """Run statements, each by itself."""
        with self._connect() as connection:
            connection.autocommit = True
            for statement in statements:
                connection.execute(statement.encode())

    def app(self) -> App:
        """An app on the database, to be closed."""
        return App(self._url)

    def until(self, condition: Callable[[], Any], otherwise: str) -> None:
        """Wait for something, for as long as the database cannot be asked as well."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if condition():
                    return
            except psycopg.OperationalError:
                pass
            assert time.monotonic() < deadline, f"{otherwise}: {self._state()}"
            time.sleep(0.02)

    def starts(self) -> list[tuple[int, int, int, float]]:
        """What the workers have noted of attempts: number, job, claim, and when it began."""
        lines = (line.split() for line in self.crew.notes.read_text().splitlines())
        return [
            (int(number), int(job), int(claim), float(at)) for number, job, claim, at, _ in lines
        ]

    def _started_after(self, moment: float) -> list[float]:
        later = {one.number for one in self.deferring.acknowledged if one.asked > moment}
        return [at for number, *_, at in self.starts() if number in later]

    def _unfinished(self, jobs: list[Acknowledged]) -> bool:
        ids = {one.job_id for one in jobs if self.kept(one)}
        read = self.read("SELECT id FROM taskq_jobs WHERE finished_at IS NULL")
        return not ids.isdisjoint(job_id for (job_id,) in read)

    def _ended(self) -> int:
        [(ended,)] = self.read("SELECT count(*) FROM taskq_jobs WHERE status = 'succeeded'")
        return int(ended)

    def _probe(self) -> None:
        """Locks and limits are free: a job of each starts at once."""
        began = time.monotonic()
        jobs = [plain.configure(lock=lock).prepare(number=0, seconds=0) for lock in LOCKS]
        jobs += [limited.configure().prepare(number=0, seconds=0) for _ in range(4)]
        with self.app() as app:
            ids = app.job_manager.defer_jobs(jobs)
        listed = ", ".join(map(str, ids))
        left = f"SELECT count(*) FROM taskq_jobs WHERE finished_at IS NULL AND id IN ({listed})"
        self.until(lambda: self.read(left) == [(0,)], "a lock or a limit is not free")
        took = time.monotonic() - began
        assert took < PATIENCE / 2, f"the last jobs took {took:.1f} s"

    def _count(self) -> None:
        figures = self.figures
        kept = [one for one in self.deferring.acknowledged if self.kept(one)]
        jobs = {
            job_id: (task, status, int(number))
            for job_id, task, status, number in self.read(
                "SELECT id, task_name, status::text, args ->> 'number' FROM taskq_jobs"
            )
        }
        # Without those of the end.
        ran = Counter(number for number, *_ in self.starts() if number)
        effects = Counter(job_id for (job_id,) in self.read("SELECT job_id FROM effects"))
        ended = [
            one
            for one in kept
            if jobs.get(one.job_id, ("", "", 0))[1:] == ("succeeded", one.number)
        ]
        with_effect = {task.name for task in WITH_EFFECT}
        wanted = {job_id for job_id, (task, _, _) in jobs.items() if task in with_effect}
        figures.acknowledged = len(kept)
        figures.ended = len(ended)
        figures.lost = len(kept) - sum(ran[one.number] > 0 for one in ended)
        figures.repeated = sum(number > 1 for number in ran.values())
        figures.doubled = sum(effects[job_id] != 1 for job_id in wanted | effects.keys())
        assert {task for task, _, _ in jobs.values()} <= {
            *with_effect,
            *(task.name for task in PLAIN),
            "hog",
        }
        ends = Counter(status for _, status, _ in jobs.values())
        assert ends.keys() <= {"succeeded"}, f"jobs have ended otherwise: {ends}"

    def _await_registered(self) -> None:
        """Those that died have gone, and those that live are there."""
        names = "SELECT name FROM taskq_workers ORDER BY name"
        self.until(
            lambda: [name for (name,) in self.read(names)] == self.crew.names(),
            "the workers are not those that live",
        )

    def _state(self) -> str:
        try:
            stuck = self.read(
                "SELECT id, task_name, status::text, lock, claim, worker_id FROM taskq_jobs "
                "WHERE finished_at IS NULL ORDER BY id LIMIT 20"
            )
            workers = self.read(
                "SELECT id, name, clock_timestamp() - last_heartbeat FROM taskq_workers"
            )
        except psycopg.Error as error:
            return f"the database does not answer: {error}"
        return (
            f"jobs {stuck}; workers {workers}, ended {self.crew.ended()}; refused defers "
            f"{dict(self.deferring.refused)}; log: {self.crew.log.read_text()[-3000:]}"
        )
