"""The periodic tasks: when they are due next, what became of the last tick, and running one now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import Response

from taskq.contrib.dashboard.standing import pauses_of
from taskq.contrib.dashboard.visit import Visit
from taskq.exceptions import AlreadyEnqueued, TaskNotFound
from taskq.manager import Pause, PauseKind
from taskq.messages import short_repr
from taskq.periodic import Periodic
from taskq.queries.job_summary import LatestJob

_SHOWN_TICKS = 3


@dataclass(frozen=True, slots=True)
class PeriodState:
    """A period of a task.

    Attributes:
        declared: The period.
        next_at: Its next ticks.
        last_at: The tick that was deferred last; None: none was.
        latest: The newest job of its task; None: there is none among the newest jobs.
        pause: The pause of its task; None: it is not paused.
    """

    declared: Periodic
    next_at: Sequence[datetime]
    last_at: datetime | None
    latest: LatestJob | None
    pause: Pause | None


class PeriodicTasks:
    """The page of the periodic tasks."""

    async def show(self, visit: Visit) -> Response:
        """The page."""
        jobs = visit.jobs
        now = await jobs.get_server_time_async()
        ticks = await jobs.list_ticks_async()
        periods = list(visit.app.periodics)
        latest = await jobs.list_latest_jobs_async(sorted({each.task.name for each in periods}))
        pauses = pauses_of(await jobs.list_pauses_async(), PauseKind.TASK)
        return visit.render(
            "periodic.html",
            now=now,
            periods=[
                PeriodState(
                    declared=each,
                    next_at=_next_ticks(each, now),
                    last_at=ticks.get((each.task.name, each.periodic_id)),
                    latest=latest.get(each.task.name),
                    pause=pauses.get(each.task.name),
                )
                for each in periods
            ],
        )

    async def run(self, visit: Visit) -> Response:
        """Defer a job as a tick of now would."""
        form = await visit.form()
        name, periodic_id = form.get("task", ""), form.get("periodic_id", "")
        for each in visit.app.periodics:
            if (each.task.name, each.periodic_id) == (name, periodic_id):
                break
        else:
            raise TaskNotFound(
                f"the app has no periodic task {short_repr(name)} with the periodic id "
                f"{short_repr(periodic_id)}"
            )
        now = await visit.jobs.get_server_time_async()
        job = each.job(int(now.timestamp()))
        [job_id] = await visit.jobs.defer_jobs_async([job], on_conflict="skip")
        if job_id is None:
            raise AlreadyEnqueued(job.queueing_lock or "", None)
        visit.log("run periodic task", job_id=job_id, task=name, periodic_id=periodic_id)
        return visit.redirect(f"/jobs/{job_id}", done="defer")


def _next_ticks(period: Periodic, now: datetime) -> list[datetime]:
    ticks, time = [], now.timestamp()
    for _ in range(_SHOWN_TICKS):
        try:
            time = period.next_after(time)
        except StopIteration:  # the last one there is
            break
        ticks.append(datetime.fromtimestamp(time, UTC))
    return ticks
