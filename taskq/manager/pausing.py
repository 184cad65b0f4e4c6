"""The pausing part of the job manager: what takes no part in claims for a while."""

from typing import Final

from taskq import queries
from taskq.database.sync_async import async_method
from taskq.manager.operations import JobOperations
from taskq.queries.pauses import NewPause, Pause, PauseKind


class Pausing(JobOperations):
    """What may be paused."""

    def pause_queue(self, name: str, *, by: str | None = None, reason: str | None = None) -> bool:
        """Pause a queue: no claim that begins after this takes a job of it, until it is resumed.

        Jobs that run finish. What workers have claimed of it and not begun goes back, once they are notified.
        Jobs are still deferred, and become due. A job that is the first of its lock holds those that follow,
        wherever they are.

        Args:
            name: The queue; there need not be jobs in it yet.
            by: Who pauses it, for others to read; at most 500 characters.
            reason: Why, likewise.

        Returns:
            False if it was paused already: then who paused it, when and why stay as they are.

        Raises:
            InvalidName: No queue can have that name, or one of the texts is empty or too long.
        """
        wanted = NewPause.of(PauseKind.QUEUE, name=name, by=by, reason=reason)
        return self._run(queries.pauses.pause, PauseKind.QUEUE, wanted)

    pause_queue_async: Final = async_method(pause_queue)

    def resume_queue(self, name: str) -> bool:
        """Resume a queue: its jobs are claimed again, from now on.

        Args:
            name: The queue.

        Returns:
            False if it was not paused.

        Raises:
            InvalidName: No queue can have that name.
        """
        wanted = NewPause.of(PauseKind.QUEUE, name=name)
        return self._run(queries.pauses.resume_queue, wanted.name)

    resume_queue_async: Final = async_method(resume_queue)

    def pause_task(self, name: str, *, by: str | None = None, reason: str | None = None) -> bool:
        """Pause a task: no claim that begins after this takes a job of it, until it is resumed.

        Otherwise as ``pause_queue``. Jobs go by the name that they were deferred with: a task with aliases is
        paused by each of them.

        Args:
            name: The name of the task; there need not be jobs of it yet.
            by: Who pauses it, for others to read; at most 500 characters.
            reason: Why, likewise.

        Returns:
            False if it was paused already: then who paused it, when and why stay as they are.

        Raises:
            InvalidName: No task can have that name, or one of the texts is empty or too long.
        """
        wanted = NewPause.of(PauseKind.TASK, name=name, by=by, reason=reason)
        return self._run(queries.pauses.pause, PauseKind.TASK, wanted)

    pause_task_async: Final = async_method(pause_task)

    def resume_task(self, name: str) -> bool:
        """Resume a task: its jobs are claimed again, from now on.

        Args:
            name: The name of the task.

        Returns:
            False if it was not paused.

        Raises:
            InvalidName: No task can have that name.
        """
        wanted = NewPause.of(PauseKind.TASK, name=name)
        return self._run(queries.pauses.resume_task, wanted.name)

    resume_task_async: Final = async_method(resume_task)

    def list_pauses(self) -> list[Pause]:
        """Read what is paused: since when, by whom and why."""
        return self._run(queries.pauses.list_pauses)

    list_pauses_async: Final = async_method(list_pauses)
