"""Which jobs were deferred with some arguments, and what is different about the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from taskq.exceptions import EncryptionFailed, InvalidArguments
from taskq.job import Job
from taskq.messages import counted, short_repr
from taskq.task import Task

# How many jobs a message shows.
_SHOWN = 5
_MISSING = object()


class Wanted:
    """A job that a test asks for: of a task, with some of its arguments.

    Args:
        task: The task; or the name of one that the app does not know, whose arguments are compared as JSON.
        task_kwargs: Some of its arguments.

    Raises:
        InvalidArguments: The task takes no argument of such a name.
    """

    def __init__(self, task: Task[..., Any] | str, task_kwargs: Mapping[str, Any]) -> None:
        self._task = task if isinstance(task, Task) else None
        self.names: Sequence[str] = [task.name, *task.aliases] if isinstance(task, Task) else [task]
        self._kwargs = task_kwargs
        self._stored: dict[str, Any] = {}
        for name, value in task_kwargs.items():
            if self._task is not None and self._task.arguments.takes(name):
                # A value that only compares, such as unittest.mock.ANY, cannot be stored.
                try:
                    self._stored[name] = self._task.arguments.dump_one(name, value)
                except InvalidArguments:
                    self._stored[name] = _MISSING
            elif self._task is not None:
                self._task.arguments.dump_one(name, value)  # says which it takes
            else:
                self._stored[name] = value

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={short_repr(value)}" for name, value in self._kwargs.items())
        return f"{self.names[0]}({shown or '…'})"

    def differences(self, job: Job) -> dict[str, Any]:
        """What is different about a job of the task: the arguments, with the values that it has."""
        stored, loaded = self._arguments_of(job)
        return {
            name: loaded.get(name, stored.get(name, _MISSING))
            for name, value in self._kwargs.items()
            if not (
                (name in loaded and bool(loaded[name] == value))
                or (name in stored and bool(stored[name] == self._stored[name]))
            )
        }

    def _arguments_of(self, job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of a job as JSON has them, and as the task gets them, as far as they can be read."""
        task = self._task
        if task is None:
            return dict(job.task_kwargs), {}
        stored: dict[str, Any] = {}
        try:
            stored = dict(task.stored_arguments(job))
            for name in self._kwargs.keys() - stored.keys():
                # What a job is deferred without is the default of the task.
                stored[name] = task.arguments.default_of(name)
        except (EncryptionFailed, InvalidArguments):
            pass
        try:
            return stored, task.arguments.load(stored)
        except InvalidArguments:
            return stored, {}

    def not_deferred(self, jobs: Sequence[Job], others: Mapping[str, int]) -> str:
        """What to say if none of the jobs of the task fits.

        Args:
            jobs: Those of the task.
            others: How many there are of other tasks.
        """
        lines = [f"no job {self} was deferred"]
        if jobs:
            lines[0] += f"; of the task {counted(len(jobs), 'job')}:"
            nearest = sorted(jobs, key=lambda job: len(self.differences(job)))
            lines.extend(f"  {self._near_miss(job)}" for job in nearest[:_SHOWN])
            if len(jobs) > _SHOWN:
                lines.append(f"  and {len(jobs) - _SHOWN:,} more")
        elif others:
            shown = ", ".join(f"{name} ({number})" for name, number in others.items())
            lines[0] += f", and none of that task; of others: {shown}"
        else:
            lines[0] += ", nor any other"
        return "\n".join(lines)

    def deferred_after_all(self, jobs: Sequence[Job]) -> str:
        """What to say if jobs fit that should not."""
        lines = [f"{counted(len(jobs), 'job')} {self} deferred, and none should be:"]
        lines.extend(
            f"  {_shown(job)} {short_repr(dict(job.task_kwargs))}" for job in jobs[:_SHOWN]
        )
        return "\n".join(lines)

    def _near_miss(self, job: Job) -> str:
        differ = [
            f"{name}={'nothing' if value is _MISSING else short_repr(value)} and not "
            f"{short_repr(self._kwargs[name])}"
            for name, value in self.differences(job).items()
        ]
        return f"{_shown(job)} {', '.join(differ)}"


def _shown(job: Job) -> str:
    return f"job {job.id} ({job.status}, queue {job.queue}):"
