"""The tasks: their signatures, how many jobs of them there are, and how these ran lately."""

from datetime import timedelta

from starlette.responses import Response

from taskq.contrib.dashboard.standing import TaskState, pauses_of
from taskq.contrib.dashboard.visit import Visit
from taskq.exceptions import InvalidFilter
from taskq.manager import PauseKind
from taskq.messages import short_repr

_WINDOW = timedelta(days=1)


class Tasks:
    """The page of the tasks."""

    async def show(self, visit: Visit) -> Response:
        """The page."""
        jobs = visit.jobs
        counted = {each.name: each for each in await jobs.list_tasks_async()}
        ended = {
            each.name: each for each in await jobs.summarize_ended_async("task", window=_WINDOW)
        }
        pauses = pauses_of(await jobs.list_pauses_async(), PauseKind.TASK)
        own = {task.name: task for task in visit.app.tasks.values()}
        return visit.render(
            "tasks.html",
            now=await jobs.get_server_time_async(),
            tasks=[
                TaskState(
                    name=name,
                    task=visit.app.tasks.get(name),
                    counts=counted.get(name),
                    ended=ended.get(name),
                    pause=pauses.get(name),
                )
                for name in sorted(own.keys() | counted.keys() | ended.keys() | pauses.keys())
            ],
        )

    async def pause(self, visit: Visit) -> Response:
        """Pause a task or resume it, by each of its names."""
        form = await visit.form()
        name, do = form.get("name", ""), form.get("do", "")
        task = visit.app.tasks.get(name)
        for each in [name] if task is None else [task.name, *task.aliases]:
            if do == "pause":
                reason = form.get("reason", "").strip() or None
                await visit.jobs.pause_task_async(each, by=visit.who, reason=reason)
            elif do == "resume":
                await visit.jobs.resume_task_async(each)
            else:
                raise InvalidFilter(f"do={short_repr(do)}: a task is paused or resumed")
        visit.log(f"{do} task", task=name)
        back = "/periodic" if form.get("back") == "periodic" else "/tasks"
        return visit.redirect(back, done=do, what=name)
