"""The overview: what waits, runs and failed, how fast jobs end, who works, what is paused and endangered."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from starlette.responses import Response

from taskq.app import App
from taskq.contrib.dashboard.charts import RunTimes, Throughput, run_times_of, throughput_of
from taskq.contrib.dashboard.live import Board, stream
from taskq.contrib.dashboard.standing import QueueState, alive_of, pauses_of, serving
from taskq.contrib.dashboard.visit import Visit
from taskq.doctor import Finding, Thresholds, examine
from taskq.job import JobStatus
from taskq.manager import JobManager, Pause, PauseKind
from taskq.queries.job_summary import EndedJobs
from taskq.queries.workers import WorkerState

# Seconds; what takes longer to find is read less often.
_INTERVAL = 2.0
_ENDED_INTERVAL = 10.0
_FINDINGS_INTERVAL = 60.0

_WINDOW = timedelta(hours=1)

_PARTS = ("figures", "charts", "queues", "findings")

_COUNTED = (JobStatus.TODO, JobStatus.DOING, JobStatus.FAILED)


# What ended in the last hour: by minute, and by queue.
_Ended = tuple[Sequence[EndedJobs], Mapping[str, EndedJobs]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewState:
    """Everything that the page shows, at one moment.

    Attributes:
        now: The server's time.
        queues: The queues in which jobs wait, run or have failed, or that are paused.
        throughput: The chart of how many jobs ended in the last hour.
        run_times: The chart of for how long they ran.
        alive: The workers that are alive.
        dead: Those that are not, and have not been removed yet.
        paused_tasks: The tasks that are paused.
        findings: What the doctor found.
    """

    now: datetime
    queues: Sequence[QueueState]
    throughput: Throughput
    run_times: RunTimes
    alive: Sequence[WorkerState]
    dead: Sequence[WorkerState]
    paused_tasks: Sequence[Pause]
    findings: Sequence[Finding]

    def total(self, status: str) -> int:
        """How many jobs of all queues have a status."""
        return sum(queue.count(status) for queue in self.queues)

    def is_estimate(self, status: str) -> bool:
        """Whether that is an estimate."""
        return any(queue.is_estimate(status) for queue in self.queues)

    @property
    def longest_wait(self) -> float | None:
        """For how many seconds a job could have started, and has not."""
        waits = [queue.longest_wait for queue in self.queues]
        return max((wait for wait in waits if wait is not None), default=None)

    @property
    def slots(self) -> int:
        """How many jobs the workers run at once."""
        return sum(worker.concurrency for worker in self.alive)

    @property
    def paused(self) -> int:
        """How many queues and tasks are paused."""
        return len(self.paused_tasks) + sum(queue.pause is not None for queue in self.queues)


class Overview:
    """The page, which is read once for all who look at it.

    Args:
        app: The app.
    """

    def __init__(self, app: App) -> None:
        findings = Board(partial(_examine, app), _FINDINGS_INTERVAL)
        ended = Board(partial(_read_ended, app.job_manager), _ENDED_INTERVAL)
        self._board = Board(partial(_read, app, ended, findings), _INTERVAL)

    async def show(self, visit: Visit) -> Response:
        """The page."""
        overview = (await self._board.latest()).get()
        return visit.render("overview.html", overview=overview, now=overview.now)

    async def live(self, visit: Visit) -> Response:
        """Its parts, as they change."""
        return stream(
            self._board,
            partial(_render, visit),
            key=(visit.root, visit.access),
        )


def _render(visit: Visit, overview: OverviewState) -> Mapping[str, str]:
    return {
        part: visit.text(f"overview/{part}.html", overview=overview, now=overview.now)
        for part in _PARTS
    }


async def _read(
    app: App, ended: Board[_Ended], findings: Board[Sequence[Finding]]
) -> OverviewState:
    jobs = app.job_manager
    counts, workers, pauses, now, ended_reading, findings_reading = await asyncio.gather(
        jobs.list_queues_async(status=_COUNTED),
        jobs.list_workers_async(),
        jobs.list_pauses_async(),
        jobs.get_server_time_async(),
        ended.latest(),
        findings.latest(),
    )
    counted = {each.name: each for each in counts}
    by_time, by_queue = ended_reading.get()
    alive = alive_of(workers)
    paused = pauses_of(pauses, PauseKind.QUEUE)
    return OverviewState(
        now=now,
        queues=[
            QueueState(
                name=name,
                counts=counted.get(name),
                ended=by_queue.get(name),
                workers=serving(alive, name),
                pause=paused.get(name),
            )
            for name in sorted(counted.keys() | by_queue.keys() | paused.keys())
        ],
        throughput=throughput_of(by_time, now, _WINDOW),
        run_times=run_times_of(by_time, now, _WINDOW),
        alive=alive,
        dead=[worker for worker in workers if worker not in alive],
        paused_tasks=[*pauses_of(pauses, PauseKind.TASK).values()],
        findings=findings_reading.get(),
    )


async def _read_ended(jobs: JobManager) -> _Ended:
    by_time, by_queue = await asyncio.gather(
        jobs.summarize_ended_async("time", window=_WINDOW),
        jobs.summarize_ended_async("queue", window=_WINDOW),
    )
    return by_time, {each.name: each for each in by_queue}


async def _examine(app: App) -> Sequence[Finding]:
    tasks: Collection[str] | None = app.tasks.keys() or None
    return await asyncio.to_thread(examine, app.database, thresholds=Thresholds(), tasks=tasks)
