"""What a worker needs of its app, whose module is above the worker's."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from taskq.database.database import Database
from taskq.defer_middleware import DeferMiddleware
from taskq.events import EventSubscriber
from taskq.exceptions import TaskNotFound
from taskq.limits import KnownLimits, Limit
from taskq.periodic import Periodic
from taskq.schema import SchemaManager
from taskq.task import Task
from taskq.telemetry import Telemetry


class WorkerApp(Protocol):
    """An app, as its worker sees it.

    Attributes:
        database: Where its jobs are.
        schema_manager: Says whether the schema is applied.
        telemetry: Told what happens in its workers.
        tasks: Its tasks by name and by alias.
        periodics: The periods of its periodic tasks.
        subscribers: Its tasks that subscribe to events.
        max_delay: Seconds by which a tick may be late and is still deferred.
        limits: The limits that it knows.
        queue_limits: Those in which all jobs of a queue count.
        defer_middleware: What may change each job before it is sent.
    """

    @property
    def database(self) -> Database: ...
    @property
    def schema_manager(self) -> SchemaManager: ...
    @property
    def telemetry(self) -> Telemetry: ...
    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]: ...
    @property
    def periodics(self) -> Sequence[Periodic]: ...
    @property
    def subscribers(self) -> Sequence[EventSubscriber]: ...
    @property
    def max_delay(self) -> float: ...
    @property
    def limits(self) -> KnownLimits: ...
    @property
    def queue_limits(self) -> Mapping[str, Limit]: ...
    @property
    def defer_middleware(self) -> Sequence[DeferMiddleware]: ...

    def not_found(self, name: str) -> TaskNotFound:
        """What to raise for a task that is not registered."""
        ...


AppT = TypeVar("AppT", bound=WorkerApp)
