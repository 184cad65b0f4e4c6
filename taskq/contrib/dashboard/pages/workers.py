"""The workers: which there are, and what each of them runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from starlette.responses import Response

from taskq.app import App
from taskq.contrib.dashboard.live import Board, stream
from taskq.contrib.dashboard.visit import Visit
from taskq.doctor import Thresholds
from taskq.job import Job, JobStatus
from taskq.queries.workers import WorkerState

_INTERVAL = 2.0
_MOST_JOBS = 500


@dataclass(frozen=True, slots=True)
class WorkersState:
    """The workers at one moment.

    Attributes:
        now: The server's time.
        workers: The workers.
        jobs: What each of them runs, by its id; of very many only some.
        is_cut: Whether there are more.
    """

    now: datetime
    workers: Sequence[WorkerState]
    jobs: Mapping[int, Sequence[Job]]
    is_cut: bool

    def is_alive(self, worker: WorkerState) -> bool:
        """Whether its last heartbeat is recent enough."""
        return worker.seconds_since_heartbeat < Thresholds().stalled


class Workers:
    """The page of the workers.

    Args:
        app: The app.
    """

    def __init__(self, app: App) -> None:
        self._board = Board(partial(_read, app), _INTERVAL)

    async def show(self, visit: Visit) -> Response:
        """The page."""
        state = (await self._board.latest()).get()
        return visit.render("workers.html", state=state, now=state.now)

    async def live(self, visit: Visit) -> Response:
        """The same, as it changes."""

        def render(state: WorkersState) -> Mapping[str, str]:
            return {"workers": visit.text("workers/workers.html", state=state, now=state.now)}

        return stream(self._board, render, key=(visit.root, visit.access))


async def _read(app: App) -> WorkersState:
    jobs = app.job_manager
    workers = await jobs.list_workers_async()
    running = await jobs.list_jobs_async(status=JobStatus.DOING, limit=_MOST_JOBS)
    by_worker: dict[int, list[Job]] = {worker.id: [] for worker in workers}
    for job in running:
        if job.worker_id in by_worker:
            by_worker[job.worker_id].append(job)
    return WorkersState(
        now=await jobs.get_server_time_async(),
        workers=workers,
        jobs=by_worker,
        is_cut=running.next_after is not None,
    )
