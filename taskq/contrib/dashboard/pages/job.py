"""A job: everything that is known of it, why it does not run, and what may be done to it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from taskq.app import App
from taskq.contrib.dashboard.live import Board, Boards, stream
from taskq.contrib.dashboard.tree import Node, tree_of
from taskq.contrib.dashboard.visit import Visit
from taskq.encryption import is_encrypted
from taskq.exceptions import InvalidLimit, InvalidTransition
from taskq.job import FailedAttempt, Job, JobStatus, copied_metadata
from taskq.limits import LimitState, split_key
from taskq.manager import Explanation
from taskq.messages import short_repr
from taskq.queries.filters import ALIVE, UNSUCCESSFUL
from taskq.unreadable import Unreadable

_INTERVAL = 1.0

_PARTS = ("head", "facts", "attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job, and what is to be said of it.

    Attributes:
        now: The server's time.
        job: The job.
        why: Why it does not run, or that it does.
        attempts: Its attempts that failed, the latest first.
        limits: What its limit allows, and how full it is.
    """

    now: datetime
    job: Job
    why: Explanation
    attempts: Sequence[FailedAttempt]
    limits: Sequence[LimitState]

    @property
    def arguments(self) -> Node:
        """Its arguments."""
        return tree_of(self.job.task_kwargs)

    @property
    def result(self) -> Node:
        """What it returned."""
        return tree_of(self.job.result)

    @property
    def metadata(self) -> Node:
        """What was noted about it."""
        return tree_of(self.job.metadata)

    @property
    def ran(self) -> float | None:
        """For how many seconds its latest attempt has run."""
        started, finished = self.job.started_at, self.job.finished_at
        if started is None or self.job.status is JobStatus.TODO:
            return None
        if isinstance(started, Unreadable) or isinstance(finished, Unreadable):
            return None
        return max(((finished or self.now) - started).total_seconds(), 0)

    @property
    def waited(self) -> float | None:
        """For how many seconds it waited from when it could have started, or was deferred."""
        since = self.job.scheduled_at or self.job.deferred_at
        started = self.job.started_at
        if started is None or isinstance(since, Unreadable) or isinstance(started, Unreadable):
            return None
        wait = (started - since).total_seconds()
        return wait if wait >= 0 else None

    @property
    def can_be(self) -> frozenset[str]:
        """What may be done to it."""
        status = self.job.status
        can = {"again"}
        if is_encrypted(self.job.task_kwargs) or self.job.unreadable:
            can.clear()
        if status in UNSUCCESSFUL:
            can.add("retry")
        if status is JobStatus.TODO:
            can |= {"cancel", "reschedule"}
        if status is JobStatus.DOING and not self.job.abort_requested:
            can.add("abort")
        if status is not JobStatus.DOING:
            can.add("delete")
        return frozenset(can)


class JobPage:
    """The page of a job.

    Args:
        app: The app.
    """

    def __init__(self, app: App) -> None:
        self._boards = Boards(lambda job_id: Board(partial(_read, app, job_id), _INTERVAL))

    async def show(self, visit: Visit) -> Response:
        """The page."""
        state = await _read(visit.app, _id(visit))
        return visit.render(
            "job.html",
            state=state,
            job=state.job,
            now=state.now,
            is_live=state.job.status in ALIVE,
        )

    async def live(self, visit: Visit) -> Response:
        """Its parts, as they change."""
        return stream(
            self._boards[_id(visit)],
            partial(_render, visit),
            key=(visit.root, visit.access),
            is_over=lambda state: state.job.status not in ALIVE,
        )

    async def again(self, visit: Visit) -> Response:
        """Defer another one like it."""
        job = await visit.jobs.get_job_async(_id(visit))
        if is_encrypted(job.task_kwargs) or job.unreadable:
            raise InvalidTransition(
                job.id,
                job.status,
                "its arguments cannot be read here: defer one by the task's page",
            )
        deferrer = visit.app.configure_task(job.task_name, **options_of(job))
        deferred = await deferrer.defer_async(**job.task_kwargs)
        visit.log("defer", job_id=deferred, task=job.task_name, like=job.id)
        return visit.redirect(f"/jobs/{deferred}", done="defer")


def options_of(job: Job) -> Any:
    """What another job like one is deferred with."""
    options: dict[str, Any] = {
        "queue": job.queue,
        "priority": job.priority,
        "lock": job.lock,
        "queueing_lock": job.queueing_lock,
        "tags": list(job.tags) or None,
        "metadata": copied_metadata(job.metadata),
    }
    return options


async def _read(app: App, job_id: int) -> JobState:
    jobs = app.job_manager
    job = await jobs.get_job_async(job_id)
    limits: list[LimitState] = []
    if job.limit_key is not None and job.status in ALIVE:
        name, key = split_key(job.limit_key)
        # The key of a row that was written by hand may begin with no name of a limit.
        with suppress(InvalidLimit):
            limits = [each for each in await jobs.list_limits_async(name) if each.key == key]
    return JobState(
        now=await jobs.get_server_time_async(),
        job=job,
        why=await jobs.explain_job_async(job_id),
        attempts=(await jobs.list_failed_attempts_async(job_id))[::-1],
        limits=limits,
    )


def _render(visit: Visit, state: JobState) -> Mapping[str, str]:
    return {
        part: visit.text(f"job/{part}.html", state=state, job=state.job, now=state.now)
        for part in _PARTS
    }


def _id(visit: Visit) -> int:
    given = visit.request.path_params["job_id"]
    try:
        return int(given)
    except ValueError:
        raise HTTPException(404, f"{short_repr(given)} is no id of a job: it is a number") from None
