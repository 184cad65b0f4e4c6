"""The queues and the limits: how full they are, pausing and resuming, and what limits allow."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from taskq.contrib.dashboard.standing import QueueState, alive_of, pauses_of, serving
from taskq.contrib.dashboard.visit import Visit
from taskq.exceptions import InvalidFilter, InvalidLimit
from taskq.manager import PauseKind
from taskq.messages import short_repr
from taskq.times import duration_of

_MOST_LIMITS = 200


class Queues:
    """The page of the queues and limits."""

    async def show(self, visit: Visit) -> Response:
        """The page."""
        jobs = visit.jobs
        counted = {each.name: each for each in await jobs.list_queues_async()}
        ended = {each.name: each for each in await jobs.summarize_ended_async("queue")}
        alive = alive_of(await jobs.list_workers_async())
        pauses = pauses_of(await jobs.list_pauses_async(), PauseKind.QUEUE)
        limits = await jobs.list_limits_async(max_limits=_MOST_LIMITS)
        served = {name for worker in alive for name in worker.queues or ()}
        own = {task.queue for task in visit.app.tasks.values()}
        return visit.render(
            "queues.html",
            now=await jobs.get_server_time_async(),
            queues=[
                QueueState(
                    name=name,
                    counts=counted.get(name),
                    ended=ended.get(name),
                    workers=serving(alive, name),
                    pause=pauses.get(name),
                    limits=tuple(limit.name for limit in limits if name in limit.queues),
                )
                for name in sorted(counted.keys() | ended.keys() | pauses.keys() | served | own)
            ],
            limits=limits,
            is_cut=len(limits) == _MOST_LIMITS,
        )

    async def pause(self, visit: Visit) -> Response:
        """Pause a queue or resume it."""
        form = await visit.form()
        name, do = form.get("name", ""), form.get("do", "")
        if do == "pause":
            reason = form.get("reason", "").strip() or None
            await visit.jobs.pause_queue_async(name, by=visit.who, reason=reason)
        elif do == "resume":
            await visit.jobs.resume_queue_async(name)
        else:
            raise InvalidFilter(f"do={short_repr(do)}: a queue is paused or resumed")
        visit.log(f"{do} queue", queue=name)
        return visit.redirect("/queues", done=do, what=name)

    async def limit(self, visit: Visit) -> Response:
        """Say what a limit allows, or take that back."""
        form = await visit.form()
        name, do = form.get("name", ""), form.get("do", "")
        key = form.get("key") or None
        if do == "set":
            figures = _figures(form)
            await visit.jobs.set_limit_async(name, key=key, by=visit.who, **figures)
        elif do == "unset":
            figures = {}
            await visit.jobs.unset_limit_async(name, key=key)
        else:
            raise InvalidFilter(f"do={short_repr(do)}: a limit is set or unset")
        visit.log(f"{do} limit", limit=name, key=key, **{n: str(v) for n, v in figures.items()})
        return visit.redirect("/queues", done=f"{do}-limit", what=name)


def _figures(form: Mapping[str, str]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in ("concurrency", "rate", "burst"):
        if typed := form.get(name, "").strip():
            try:
                figures[name] = int(typed)
            except ValueError:
                raise InvalidLimit(f"{name}={short_repr(typed)} is no number") from None
    if typed := form.get("per", "").strip():
        try:
            figures["per"] = duration_of(typed)
        except ValueError as error:
            raise InvalidLimit(f"per: {error}") from None
    return figures
