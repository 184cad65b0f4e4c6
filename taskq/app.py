"""The app: the entry point, which knows all the tasks."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal, Self, Unpack, overload

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from taskq.blueprint import Blueprint
from taskq.database.database import Database, LazyDatabase, check_pooler
from taskq.defer_middleware import (
    DeferMiddleware,
    PublishMiddleware,
    check_defer_middleware,
    check_publish_middleware,
)
from taskq.deferrer import Deferrer, arguments_of_unknown
from taskq.embedded import project_name
from taskq.encryption import EncryptionKeys, Keyring
from taskq.events import EventPublisher, EventSubscriber
from taskq.exceptions import InvalidOption, TaskNotFound
from taskq.import_path import import_app, import_modules
from taskq.job import check_name
from taskq.job_options import JobOptions
from taskq.limits import KnownLimits, Limit, check_queue_limit
from taskq.manager import JobManager
from taskq.messages import closest, short_repr
from taskq.opening import OpenedApp, ReplacedDatabase
from taskq.periodic import Periodic, PeriodicDefaults, max_delay_of
from taskq.queries.job_insert import OnConflict
from taskq.retention import Retention
from taskq.schema import SchemaManager
from taskq.task import Task
from taskq.telemetry import Telemetry
from taskq.worker import Worker
from taskq.worker.event_loop import run_to_end
from taskq.worker.log import subscribe_log
from taskq.worker.options import WorkerArguments, WorkerOptions

AnyDatabase = str | URL | Engine | AsyncEngine | None


class App(Blueprint, EventPublisher):
    """The entry point: knows all the tasks, and through the job manager launches and runs jobs.

    Args:
        database: A URL such as ``postgresql://user@host/name``, a SQLAlchemy ``Engine`` or
            ``AsyncEngine``, or None: then the one that ``TASKQ_DATABASE_URL`` or libpq's own
            variables name when it is first needed, or else the project's embedded server if it is
            installed.
        pooler: Whether a pooler that does not keep sessions stands before the database, such as
            PgBouncer in transaction mode; None: what the URL says, as in ``?pooler=true``.
        import_paths: Modules with tasks, imported when a worker starts or a job is deferred by name.
        worker_defaults: Options for every worker of this app; see ``run_worker``.
        retention: How long jobs are kept once they are final, as in
            ``{"succeeded": timedelta(days=1)}``; a worker's own ``retention`` goes before it. Nothing
            is deleted if nothing is said.
        periodic_defaults: What holds for all periodic tasks: ``max_delay``, the seconds by which a
            tick may be late and is still deferred (600; from 1).
        queue_limits: The limits in which all jobs of a queue count, however they were deferred, by the name
            of the queue, as in ``{"payments": Limit("stripe", concurrency=20)}``.
        defer_middleware: What sees each job before it is sent, and may change it: one or several functions of
            a ``JobDraft``, called in this order. What one raises, the call of ``defer`` raises.
        publish_middleware: What sees each event before it is published, and may note something about all of
            its jobs: one or several functions of an ``EventDraft``, likewise.
        encryption_keys: The keys of tasks with ``encrypted=True``, as ``taskq keys generate`` prints them:
            the first encrypts, all decrypt. Or what answers them, called when they are first needed; None:
            what ``TASKQ_ENCRYPTION_KEYS`` has, with commas between them.

    Attributes:
        tasks: The tasks by name and by alias.
        import_paths: As given; so are ``worker_defaults``, ``periodic_defaults`` and ``queue_limits``.
        job_manager: Operates on jobs in the database.
        schema_manager: Applies the schema.
        telemetry: Tells subscribers what happens in the app's workers, and what it defers; see
            ``taskq.telemetry``.

    Raises:
        InvalidDatabase: ``database`` is not one that taskq can use.
        InvalidOption: ``import_paths``, ``retention``, or one of ``worker_defaults`` or
            ``periodic_defaults``, makes no sense.
        MiddlewareKindMismatch: A ``worker_middleware`` among the defaults is not async, or one of
            ``defer_middleware`` or ``publish_middleware`` is.
        InvalidLimit: One of ``queue_limits`` is none, or is by an argument.
        InvalidEncryptionKey: One of ``encryption_keys`` is none.
    """

    # An integration may run operations elsewhere than on engines, as Django's does.
    _job_manager_class: ClassVar[type[JobManager]] = JobManager

    def __init__(
        self,
        database: AnyDatabase = None,
        *,
        pooler: bool | None = None,
        import_paths: Sequence[str] = (),
        worker_defaults: WorkerArguments | None = None,
        retention: Retention | None = None,
        periodic_defaults: PeriodicDefaults | None = None,
        queue_limits: Mapping[str, Limit] | None = None,
        defer_middleware: DeferMiddleware | Sequence[DeferMiddleware] | None = None,
        publish_middleware: PublishMiddleware | Sequence[PublishMiddleware] | None = None,
        encryption_keys: EncryptionKeys | None = None,
    ) -> None:
        check_pooler(pooler)
        self._database = LazyDatabase(
            # The project is that of the code that makes the app, and not of what first needs a database.
            partial(Database.resolve, pooler=pooler, embedded_name=project_name())
            if database is None
            else Database.resolve(database, pooler=pooler)
        )
        if isinstance(import_paths, str) or not isinstance(import_paths, Iterable):
            raise InvalidOption(f"import_paths={short_repr(import_paths)}: give a list of modules")
        for name, options in (
            ("worker_defaults", worker_defaults),
            ("periodic_defaults", periodic_defaults),
            ("queue_limits", queue_limits),
        ):
            if not isinstance(options, Mapping | None):
                raise InvalidOption(
                    f"{name}={short_repr(options)}: give a dictionary of options by name"
                )
        self.import_paths: tuple[str, ...] = tuple(import_paths)
        self.worker_defaults: WorkerArguments = worker_defaults or {}
        self._retention = retention
        self.periodic_defaults: PeriodicDefaults = periodic_defaults or {}
        self.max_delay: float = max_delay_of(self.periodic_defaults)
        WorkerOptions.of(self._all_worker_defaults())
        super().__init__()
        self.telemetry: Telemetry = Telemetry()
        self.job_manager: JobManager = self._job_manager_class(
            lambda: self.database, keyring=Keyring(encryption_keys), telemetry=self.telemetry
        )
        self.job_manager.defer_middleware = check_defer_middleware(defer_middleware)
        self.job_manager.publish_middleware = check_publish_middleware(publish_middleware)
        self.schema_manager: SchemaManager = SchemaManager(lambda: self.database)
        self.queue_limits: Mapping[str, Limit] = dict(queue_limits or {})
        for queue, limit in self.queue_limits.items():
            check_name(queue, what="queue_limits cannot have the queue")
            self.job_manager.limits.add(check_queue_limit(queue, limit))
        subscribe_log(self.telemetry)

    def __repr__(self) -> str:
        found = self._database.found
        where = "a database that is not looked up yet," if found is None else repr(found)
        return f"<App on {where} with {len(set(self.tasks.values()))} tasks>"

    @property
    def database(self) -> Database:
        """The database; without one given it is looked up here, the first time.

        Raises:
            DatabaseNotConfigured: No database is named, and there is no embedded server.
            InvalidDatabase: ``TASKQ_DATABASE_URL`` is not one that taskq can use.
        """
        return self._database.get()

    @property
    def limits(self) -> KnownLimits:
        """The limits that the app knows: those of its tasks and queues, and of what it has deferred."""
        return self.job_manager.limits

    @property
    def defer_middleware(self) -> Sequence[DeferMiddleware]:
        """What may change each job before it is sent."""
        return self.job_manager.defer_middleware

    @property
    def publish_middleware(self) -> Sequence[PublishMiddleware]:
        """What may note something about all jobs of an event before it is published."""
        return self.job_manager.publish_middleware

    @classmethod
    def from_path(cls, path: str) -> Self:
        """Import the app that a path names.

        Args:
            path: ``module.path:attribute``, or dots alone as in ``module.path.attribute``; or a module
                with one app in it, as in ``module.path``.

        Raises:
            LoadFromPathError: The path leads to nothing, to something else, or to several apps.
        """
        return import_app(path, cls)

    # Opening and closing

    def open(self) -> Self:
        """Open the app: as a call, or as a context manager that closes it again.

        It is open already: engines are made when they are first needed. It is here so that code
        which opens what it uses can, and so that ``with`` closes it.
        """
        return self

    def open_async(self) -> OpenedApp[Self]:
        """The async twin of ``open``: ``async with app.open_async():``, or ``await app.open_async()``."""
        return OpenedApp(self)

    def check_connection(self) -> bool:
        """Whether the database has taskq's schema.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        return self.schema_manager.is_applied()

    async def check_connection_async(self) -> bool:
        """The async twin of ``check_connection``."""
        return await self.schema_manager.is_applied_async()

    def close(self) -> None:
        """Close what the app opened. An engine that was given to it stays its owner's."""
        if self._database.found is not None:
            self._database.found.close()

    async def close_async(self) -> None:
        """The async twin of ``close``."""
        if self._database.found is not None:
            await self._database.found.close_async()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close_async()

    def replace_database(
        self, database: AnyDatabase, *, pooler: bool | None = None
    ) -> ReplacedDatabase[Self]:
        """Put the app, with all its tasks, on another database for the time of a block, as tests do.

        ``with app.replace_database(url):``, or ``async with`` where an event loop runs. At the end what
        was opened there is closed, and the app is where it was.

        Args:
            database: As for the app.
            pooler: As for the app.

        Raises:
            DatabaseNotConfigured: No database is named, and there is no embedded server.
            InvalidDatabase: ``database`` is not one that taskq can use.
        """
        return ReplacedDatabase(self, Database.resolve(database, pooler=pooler))

    def move(self, database: Database | LazyDatabase) -> LazyDatabase:
        """Put the app on another database, and leave it there; returns the one that it was on."""
        moved = database if isinstance(database, LazyDatabase) else LazyDatabase(database)
        left, self._database = self._database, moved
        return left

    # Tasks

    @overload
    def configure_task(
        self,
        name: str,
        *,
        allow_unknown: bool = True,
        on_conflict: Literal["skip"],
        **options: Unpack[JobOptions],
    ) -> Deferrer[..., int | None]: ...
    @overload
    def configure_task(
        self,
        name: str,
        *,
        allow_unknown: bool = True,
        on_conflict: Literal["raise", "replace"] = "raise",
        **options: Unpack[JobOptions],
    ) -> Deferrer[..., int]: ...
    def configure_task(
        self,
        name: str,
        *,
        allow_unknown: bool = True,
        on_conflict: OnConflict = "raise",
        **options: Unpack[JobOptions],
    ) -> Any:
        """Make a deferrer for a task by its name, such as one of another program.

        Args:
            name: The task's name or alias.
            allow_unknown: Whether a name that is not registered here is taken as it is; its
                arguments are checked by the worker alone then.
            on_conflict: As for ``Task.configure``.
            **options: As for ``Task.configure``.

        Raises:
            TaskNotFound: It is not registered, and ``allow_unknown`` is False.
            InvalidJob: An option no job can have.
        """
        check_name(name, what="a task cannot be found by name")
        self.perform_import_paths()
        if name in self.tasks:
            return self.tasks[name].configure(on_conflict=on_conflict, **options)
        if not allow_unknown:
            raise self.not_found(name)
        unknown: Deferrer[..., int] = Deferrer(
            arguments=arguments_of_unknown(name), get_manager=lambda: self.job_manager
        )
        return unknown.configure(on_conflict=on_conflict, **options)

    def perform_import_paths(self) -> None:
        """Import the modules of ``import_paths``, so that their tasks are registered.

        Raises:
            LoadFromPathError: One of them cannot be imported.
        """
        import_modules(self.import_paths)

    def not_found(self, name: str) -> TaskNotFound:
        """What to raise for a task that is not registered."""
        close = closest(name, self.tasks)
        hint = f"did you mean {close!r}? " if close else ""
        return TaskNotFound(
            f"task {short_repr(name)} is not registered with this app: {hint}import its module, name that in "
            "import_paths, or give the task this name as an alias"
        )

    def _register(self, task: Task[..., Any]) -> None:
        self._know_limit(task.limit)
        super()._register(task)
        task.manager = self.job_manager

    def _subscribe(self, subscriber: EventSubscriber) -> None:
        self._know_limit(subscriber.deferrer.limit)
        super()._subscribe(subscriber)

    def _add_period(self, period: Periodic) -> None:
        self._know_limit(period.options.get("limit"))
        super()._add_period(period)

    def _know_limit(self, limit: Limit | None) -> None:
        if limit is not None:
            self.limits.add(limit)

    # Workers

    def run_worker(self, **options: Unpack[WorkerArguments]) -> None:
        """Run a worker until it is stopped; the sync twin of ``run_worker_async``.

        Raises:
            RuntimeError: An event loop runs in this thread already.
        """
        if asyncio._get_running_loop() is not None:
            raise RuntimeError(
                "run_worker() makes an event loop, and one runs here already: "
                "await app.run_worker_async(…) instead"
            )

        worker = self.worker(**options)
        database = self.database

        async def run() -> None:
            try:
                await worker.run()
            finally:
                # Its connections belong to the event loop that ends here.
                await database.dispose_async()

        run_to_end(worker, run())

    async def run_worker_async(self, **options: Unpack[WorkerArguments]) -> None:
        """Run a worker until it is stopped, or with ``wait=False`` until no job is left for it.

        Args:
            **options: See ``taskq.worker.options.WorkerOptions``; they win over the environment
                (``TASKQ_WORKER_…``), and that over ``worker_defaults``.

        Raises:
            InvalidOption: An option is unknown or has a value that makes no sense.
            SchemaNotApplied: The database does not have taskq's schema.
        """
        await self.worker(**options).run()

    def worker(self, **options: Unpack[WorkerArguments]) -> Worker["App"]:
        """Make a worker, to run it with ``await worker.run()`` and stop it with ``worker.stop()``."""
        self.perform_import_paths()
        return Worker(self, WorkerOptions.of(options, defaults=self._all_worker_defaults()))

    def _all_worker_defaults(self) -> WorkerArguments:
        return {"retention": self._retention, **self.worker_defaults}
