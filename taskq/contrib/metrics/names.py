"""Names as labels: a bounded number of them, whatever queues and tasks jobs name."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from taskq.exceptions import InvalidOption
from taskq.manager.bounds import check_count
from taskq.task import Task

# In place of every name beyond the bound.
OTHER: Final = "(other)"

_MOST = 10_000

# Of the pairs of a queue and a task that are told apart, for each name that is.
_PAIRS_PER_NAME = 10


class Names:
    """Which queues and tasks are told apart.

    Those of the app's own tasks always are. Of others, such as a queue for each customer, or a task that the
    app does not know, the first that come.

    Args:
        tasks: The app's tasks by name and by alias, which may become more.
        most: How many other queues, and how many other tasks.

    Raises:
        InvalidOption: ``most`` is no number from 1 to 10,000.
    """

    def __init__(self, tasks: Mapping[str, Task[..., Any]], most: int) -> None:
        check_count("max_names", most, _MOST, InvalidOption)
        self._tasks = tasks
        self._most = most
        self._queues: set[str] = set()
        self._unknown_tasks: set[str] = set()
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}

    def pair(self, queue: str, task_name: str) -> tuple[str, str]:
        """The labels of a queue and a task."""
        # What is said once of a pair holds: nearly all jobs end here.
        if (said := self._pairs.get((queue, task_name))) is not None:
            return said
        labels = self.queue(queue), self._task(task_name)
        if len(self._pairs) < _PAIRS_PER_NAME * (self._most + len(self._tasks)):
            self._pairs[queue, task_name] = labels
            return labels
        return OTHER, labels[1]

    def queue(self, queue: str) -> str:
        """The label of a queue."""
        if queue in self._queues or queue in self.own_queues:
            return queue
        return self._first(queue, self._queues)

    @property
    def own_queues(self) -> Collection[str]:
        """Those of the app's own tasks."""
        return {task.queue for task in self._tasks.values()}

    def _task(self, name: str) -> str:
        task = self._tasks.get(name)
        return self._first(name, self._unknown_tasks) if task is None else task.name

    def _first(self, name: str, taken: set[str]) -> str:
        if name not in taken and len(taken) >= self._most:
            return OTHER
        # Two threads may exceed the bound by one.
        taken.add(name)
        return name
