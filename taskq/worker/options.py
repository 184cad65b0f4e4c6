"""The options of a worker: what they are called, what they mean, and where they come from."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taskq.exceptions import InvalidOption
from taskq.job import Name
from taskq.messages import closest, short_repr, validation_summary
from taskq.middleware import (
    Several,
    TaskMiddleware,
    WorkerMiddleware,
    check_worker_middleware,
    several,
)
from taskq.retention import FinalStatus, Retention, retention_of
from taskq.worker.http.address import HttpAddress, read_address

ENVIRONMENT_PREFIX = "TASKQ_WORKER_"

# What no environment variable can say.
_IN_CODE_ONLY = {"additional_context", "task_middleware", "worker_middleware"}

Seconds = Annotated[float, Field(gt=0, le=86400)]

Kept = Annotated[timedelta, Field(ge=timedelta(0))]


def _split(value: object) -> object:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


class WorkerArguments(TypedDict, total=False):
    """What ``run_worker`` takes, for type checkers; ``WorkerOptions`` says what each means."""

    queues: Sequence[str] | str | None
    name: str
    concurrency: int
    wait: bool
    fetch_job_polling_interval: float
    abort_job_polling_interval: float
    shutdown_graceful_timeout: float | None
    listen_notify: bool
    listen_database: str | None
    delete_jobs: Literal["never", "successful", "always"]
    additional_context: Mapping[str, Any] | None
    install_signal_handlers: bool
    update_heartbeat_interval: float
    stalled_worker_timeout: float
    blocked_loop_timeout: float
    unknown_job_timeout: float
    max_crashes: int
    max_transactions: int
    max_jobs: int | None
    max_seconds: float | None
    max_task_processes: int | None
    loop: Literal["auto", "asyncio", "uvloop"]
    http: int | str | None
    prefetch: Literal["auto"] | int
    retention: Retention | None
    task_middleware: Several[TaskMiddleware]
    worker_middleware: Several[WorkerMiddleware]


class WorkerOptions(BaseModel):
    """What a worker does, and how.

    Attributes:
        queues: The queues that it serves; None: all. In the environment separated by commas.
        name: What it is called in logs and lists; several may share a name.
        concurrency: How many jobs it runs side by side.
        wait: Whether it waits for more when no job is left; otherwise it ends then.
        fetch_job_polling_interval: Seconds after which an idle worker claims without having
            been notified: the safety net, and the bound without ``listen_notify``.
        abort_job_polling_interval: Seconds after which it checks for requests to abort what it runs.
        shutdown_graceful_timeout: Seconds that running jobs have to finish once the worker is asked
            to stop; None: as long as they take.
        listen_notify: Whether to listen for notifications, which takes a connection.
        listen_database: A URL to listen on, for those whose database URL leads to a pooler that
            does not keep sessions.
        delete_jobs: Which jobs are deleted rather than kept when they are final.
        additional_context: What tasks find as ``context.additional_context``.
        install_signal_handlers: Whether SIGINT and SIGTERM stop it.
        update_heartbeat_interval: Seconds between two heartbeats, and between two checks for dead workers.
        stalled_worker_timeout: Seconds without a heartbeat after which a worker is dead.
        blocked_loop_timeout: Seconds for which a task may block the event loop; after that the worker sends
            no more heartbeats, and ``stalled_worker_timeout`` later others take over its jobs.
        unknown_job_timeout: Seconds for which a job goes back into the queue whose task, or the name of an
            argument, this worker does not know: another worker may. After that it fails; 0: at once.
        max_crashes: The how-manieth death of its worker ends a job as failed, if it ran alone there;
            before the last one it is run alone.
        max_transactions: How many transactions of tasks are open at once, of sync and of async tasks each;
            others wait. Each takes a connection of the app's engine, of whose 15 tasks may need some besides.
        max_jobs: How many jobs it runs at most: it claims no more than these, and ends when the last of them
            has; None: any number. What goes back before it has begun does not count.
        max_seconds: After how many seconds it stops, as if it were asked to; None: never.
        max_task_processes: How many processes it keeps for tasks with ``executor="process"``, of which each
            runs one job at a time; None: one for each core, and no more than ``concurrency``.
        loop: Which event loop the worker runs on where taskq makes one, as the command and ``run_worker`` do;
            "auto": uvloop's if it is installed.
        http: Where it answers ``/livez``, ``/readyz`` and ``/metrics`` by HTTP: a port of this machine alone,
            or a host and a port as in ``0.0.0.0:9090``; port 0 is any that is free, and None: nowhere.
        prefetch: How many jobs to claim beyond those that can start at once; "auto": what will start
            within some tens of milliseconds, by the recent pace of jobs.
        retention: How long jobs are kept once they are final, by status; see ``Retention``. One of
            the workers deletes what is older. In the environment as in ``succeeded=1d,failed=4w``.
        task_middleware: What wraps each attempt of the tasks of its colour: one, or several with the
            outermost first.
        worker_middleware: What wraps each attempt of any task, outside of ``task_middleware``: one, or
            several with the outermost first; async.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True
    )

    queues: Annotated[
        Annotated[list[Name], Field(min_length=1)] | None, BeforeValidator(_split)
    ] = None
    name: Name = "worker"
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 1
    wait: bool = True
    fetch_job_polling_interval: Seconds = 5.0
    abort_job_polling_interval: Seconds = 5.0
    shutdown_graceful_timeout: Annotated[
        Annotated[float, Field(ge=0)] | None, BeforeValidator(_none_if_empty)
    ] = None
    listen_notify: bool = True
    listen_database: str | None = None
    delete_jobs: Literal["never", "successful", "always"] = "never"
    additional_context: Mapping[str, Any] | None = None
    install_signal_handlers: bool = True
    update_heartbeat_interval: Seconds = 10.0
    stalled_worker_timeout: Seconds = 30.0
    blocked_loop_timeout: Seconds = 300.0
    unknown_job_timeout: Annotated[float, Field(ge=0, le=86400)] = 300.0
    max_crashes: Annotated[int, Field(ge=1)] = 3
    max_transactions: Annotated[int, Field(ge=1, le=1000)] = 10
    max_jobs: Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_none_if_empty)] = None
    max_seconds: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, BeforeValidator(_none_if_empty)
    ] = None
    max_task_processes: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None, BeforeValidator(_none_if_empty)
    ] = None
    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    http: Annotated[HttpAddress | None, BeforeValidator(read_address)] = None
    prefetch: Literal["auto"] | Annotated[int, Field(ge=0, le=1000)] = "auto"
    retention: Annotated[
        Mapping[FinalStatus, Kept | None] | None,
        BeforeValidator(retention_of),
    ] = None
    # What pydantic cannot check, the types in WorkerArguments say; which kind they are is asked below.
    task_middleware: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None
    worker_middleware: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None

    @classmethod
    def of(
        cls,
        given: Mapping[str, Any],
        *,
        defaults: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """Put the options together.

        Args:
            given: What the call says; wins.
            defaults: What the app says; the environment wins over it.
            environ: The environment, with ``TASKQ_WORKER_CONCURRENCY`` and so on. A variable that is
                set counts, also if it says false or 0.

        Raises:
            InvalidOption: An option is unknown or has a value that makes no sense.
            MiddlewareKindMismatch: One of ``worker_middleware`` is not async.
        """
        variables = {
            name: environ[variable]
            for variable, name in _variables().items()
            if variable in environ
        }
        values = {**(defaults or {}), **variables, **given}
        try:
            options = cls(**values)
        except ValidationError as error:
            raise _invalid(error, values, variables.keys() - given.keys()) from None
        if options.update_heartbeat_interval >= options.stalled_worker_timeout:
            raise InvalidOption(
                f"update_heartbeat_interval={options.update_heartbeat_interval} must be less than "
                f"stalled_worker_timeout={options.stalled_worker_timeout}: the worker would be taken "
                "for dead between two heartbeats"
            )
        for middleware in options.worker_middlewares:
            check_worker_middleware(middleware)
        return options

    @property
    def overdue_after(self) -> float:
        """Seconds after a heartbeat after which the next one is overdue.

        What is left until others may take the worker for dead is for tasks to take note of being aborted.
        """
        left = self.stalled_worker_timeout - self.update_heartbeat_interval
        return self.stalled_worker_timeout - left / 4

    @property
    def heartbeat_bound(self) -> float:
        """Seconds that a heartbeat may take: then there is time for another one before it is overdue.

        If there is little time, a late one is better than none.
        """
        return max((self.overdue_after - self.update_heartbeat_interval) / 2, 0.5)

    @property
    def server_bound(self) -> float:
        """Seconds after which the server gives up a statement of the worker."""
        return max(self.stalled_worker_timeout / 3, 1.0)

    @property
    def statement_bound(self) -> float:
        """Seconds after which the worker gives up a connection whose server has not answered."""
        return self.server_bound * 1.5

    @property
    def task_middlewares(self) -> Sequence[TaskMiddleware]:
        """The task middleware as a sequence, the outermost first."""
        return several(self.task_middleware)

    @property
    def worker_middlewares(self) -> Sequence[WorkerMiddleware]:
        """The worker middleware as a sequence, the outermost first."""
        return several(self.worker_middleware)


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """The variables of the environment that look like an option and are none, with the one they may mean."""
    known = _variables()
    return {
        variable: closest(variable, known)
        for variable in environ
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known
    }


def _variables() -> dict[str, str]:
    return {
        ENVIRONMENT_PREFIX + name.upper(): name
        for name in WorkerOptions.model_fields
        if name not in _IN_CODE_ONLY
    }


def _invalid(
    error: ValidationError, values: Mapping[str, Any], from_environment: set[str]
) -> InvalidOption:
    fault = error.errors(include_url=False)[0]
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(WorkerOptions.model_fields)
        return InvalidOption(f"a worker has no option {name!r}; it has {known}")
    shown_name = f"{ENVIRONMENT_PREFIX}{name.upper()}" if name in from_environment else name
    return InvalidOption(
        f"a worker's option {shown_name}={short_repr(values[name])} makes no sense: "
        f"{validation_summary(error, skip=1)}"
    )
