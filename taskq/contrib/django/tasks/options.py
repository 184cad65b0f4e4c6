"""What taskq's jobs have and Django's tasks have no words for, as options of ``@task`` and ``using``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from taskq.limits import Limit
from taskq.retry import RetryValue

T = TypeVar("T")

# What a task declares, for all of its jobs; and what each job may have otherwise.
OF_TASKS: Final = ("retry", "timeout")
OF_JOBS: Final = ("lock", "queueing_lock", "limit", "metadata", "tags", "expire_in")


def with_options(task_class: type[Any]) -> type[Any]:
    """A class of Django's tasks with taskq's options: ``@task(retry=3, lock="stock")``.

    Args:
        task_class: Django's own.
    """

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Task(task_class):
        """A task of Django's with what taskq can do beside: see ``taskq.App.task`` for each."""

        retry: RetryValue = False
        timeout: float | None = None
        lock: str | None = None
        queueing_lock: str | None = None
        limit: Limit | None = None
        metadata: Mapping[str, Any] | None = None
        tags: Sequence[str] | None = None
        expire_in: timedelta | None = None

        def using(self, **changes: Any) -> Any:
            """A task that differs from this one; taskq's options of jobs are taken as well."""
            own = {name: changes.pop(name) for name in OF_JOBS if name in changes}
            changed = task_class.using(self, **changes)
            return replace(changed, **own) if own else changed

    return Task
