"""Blueprints: tasks that are declared before, or apart from, the app that they will belong to."""

from collections.abc import Callable
from datetime import tzinfo
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from taskq.context import JobContext
from taskq.events import EventSubscriber, subscriber_of
from taskq.exceptions import (
    InvalidOption,
    InvalidPeriodic,
    InvalidSubscription,
    TaskAlreadyRegistered,
)
from taskq.job import check_name
from taskq.job_options import JobDefaults, JobOptions
from taskq.messages import short_repr
from taskq.periodic import Periodic, periodic_of
from taskq.task import Task
from taskq.task_options import TaskOptions

P = ParamSpec("P")
R = TypeVar("R")


class Blueprint:
    """A collection of tasks, for a library or a part of a program; an app takes them in.

    Until ``app.add_tasks_from(blueprint, namespace=…)`` its tasks can be called and not deferred.

    Attributes:
        tasks: The tasks by name and by alias.
        periodics: The periods of the periodic tasks.
        subscribers: The tasks that subscribe to events.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, Task[..., Any]] = {}
        self.periodics: list[Periodic] = []
        self.subscribers: list[EventSubscriber] = []

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        *,
        pass_context: Literal[True],
        transaction: bool = False,
        **options: Unpack[TaskOptions],
    ) -> Callable[[Callable[Concatenate[JobContext[Any, Any, Any], P], R]], Task[P, R]]: ...

    @overload
    def task(
        self,
        *,
        pass_context: Literal[False] = False,
        **options: Unpack[TaskOptions],
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        pass_context: bool = False,
        transaction: bool = False,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Declare a task: ``@app.task``, or ``@app.task(queue="mail")``.

        Args:
            function: The function, sync or async.
            pass_context: Pass a ``JobContext`` as the first argument.
            transaction: Make of each attempt one ``context.transaction()``, with its connection as
                ``context.connection``; a stored result is committed with it.
            **options: See ``TaskOptions``.

        Raises:
            TaskAlreadyRegistered: The name or an alias is another task's.
            InvalidSignature: It is no function, or a parameter, or a result that is to be stored, could
                not be; or ``transaction`` without ``pass_context``.
            InvalidJob: An option that no job can have.
            InvalidRetryStrategy: ``retry`` is none.
            MiddlewareKindMismatch: Middleware is not of the function's kind.
        """

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            task: Task[..., Any] = Task(
                function, pass_context=pass_context, transaction=transaction, **options
            )
            self._register(task)
            return task

        return declare if function is None else declare(function)

    def periodic(
        self,
        *,
        cron: str,
        periodic_id: str = "",
        timezone: str | tzinfo = "UTC",
        **options: Unpack[JobOptions],
    ) -> Callable[[Task[Concatenate[int, P], R]], Task[P, R]]:
        """Have the workers defer a task at certain times: written above ``@app.task``.

        Every running worker tries, and the database lets one do it. The task gets the time
        of the tick as ``timestamp``, in seconds since 1970, which for a type checker is its first
        parameter (after a context). Deferred by hand it gets the time at which it is deferred, unless
        ``task_kwargs`` say another. A tick that finds a job with its queueing lock waiting is skipped.

        Args:
            cron: Five fields (minute, hour, day, month, weekday), or six with the seconds at the end;
                or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``.
            periodic_id: Tells the periods of one task apart, if it has several.
            timezone: The time zone that ``cron`` is meant in.
            **options: As for ``Task.configure``.

        Raises:
            InvalidPeriodic: The expression or the time zone is none, the task takes no ``timestamp``,
                is not one of these, or has a period of this id already.
        """

        def declare(task: Task[Concatenate[int, P], R]) -> Task[P, R]:
            period = periodic_of(
                task, cron=cron, periodic_id=periodic_id, timezone=timezone, options=options
            )
            if any(
                known.task is task and known.periodic_id == periodic_id for known in self.periodics
            ):
                raise InvalidPeriodic(
                    f"task {task.name!r} has a period with periodic_id={periodic_id!r} already: "
                    "give each of them an id of its own"
                )
            if self.tasks.get(task.name) is not task:
                raise InvalidPeriodic(
                    f"task {task.name!r} is declared elsewhere: its workers would not know the jobs "
                    "that these workers defer, so declare the period there, with the task"
                )
            self._add_period(period)
            # The same task, seen as one that needs no timestamp.
            return cast("Task[P, R]", task)

        return declare

    def on(self, event: str, **options: Unpack[JobDefaults]) -> Callable[[Task[P, R]], Task[P, R]]:
        """Have a task get a job whenever an event is published: written above ``@app.task``.

        Several tasks may subscribe to an event, and a task to several. Its workers write who subscribes into
        the database when they start. A namespace is put in front of names of tasks, and not of events.

        Args:
            event: The name of the event, of 1 to 500 characters.
            **options: What these jobs have otherwise than others of the task; their metadata have the name of
                the event as ``event``.

        Raises:
            InvalidName: No event can have that name.
            InvalidSubscription: It is no task of these, subscribes to the event already, or needs an
                argument ``connection``.
            InvalidJob: An option no job can have.
        """

        def declare(task: Task[P, R]) -> Task[P, R]:
            subscriber = subscriber_of(task, event=event, options=options)
            if any(known.task is task and known.event == event for known in self.subscribers):
                raise InvalidSubscription(
                    f"task {task.name!r} subscribes to {event!r} twice: it gets one job for each event"
                )
            if self.tasks.get(task.name) is not task:
                raise InvalidSubscription(
                    f"task {task.name!r} is declared elsewhere: its workers would not know the jobs that "
                    "these events make, so have it subscribe there, with the task"
                )
            self._subscribe(subscriber)
            return task

        return declare

    def add_task_alias(self, task: Task[..., Any], alias: str) -> None:
        """Give a task another name that jobs may call it by, such as an earlier one.

        Raises:
            TaskAlreadyRegistered: The alias is another task's name.
            InvalidJob: No task can have such a name.
        """
        self._claim_name(alias, of=task)
        task.aliases = (*task.aliases, alias)
        self.tasks[alias] = task

    def add_tasks_from(self, blueprint: "Blueprint", *, namespace: str) -> None:
        """Take in the tasks of a blueprint, as they are now.

        Args:
            blueprint: The blueprint; another app cannot take it in as well.
            namespace: Put in front of the names of its tasks, with a colon.

        Raises:
            TaskAlreadyRegistered: A name is another task's, or the tasks are another app's.
            InvalidJob: The namespace is none, or makes a name too long.
            InvalidOption: It is no blueprint.
        """
        if not isinstance(blueprint, Blueprint):
            raise InvalidOption(
                f"{short_repr(blueprint)} is no blueprint whose tasks could be added"
            )
        check_name(namespace, what="a blueprint cannot be added with namespace")
        tasks = list(dict.fromkeys(blueprint.tasks.values()))
        for task in tasks:
            if task.manager is not None:
                raise TaskAlreadyRegistered(
                    f"{task!r} belongs to an app already: make the blueprint in a function, and "
                    "call that for each app"
                )
            for name in (task.name, *task.aliases):
                self._claim_name(f"{namespace}:{name}", of=task)
        for task in tasks:
            task.rename(f"{namespace}:{{}}".format)
            self._register(task)
        for period in blueprint.periodics:
            self._add_period(period)
        for subscriber in blueprint.subscribers:
            self._subscribe(subscriber)

    def _register(self, task: Task[..., Any]) -> None:
        names = (task.name, *task.aliases)
        if len(set(names)) < len(names):
            raise TaskAlreadyRegistered(f"{task!r} has one of its names twice: {', '.join(names)}")
        for name in names:
            self._claim_name(name, of=task)
        for name in names:
            self.tasks[name] = task

    def _subscribe(self, subscriber: EventSubscriber) -> None:
        self.subscribers.append(subscriber)

    def _add_period(self, period: Periodic) -> None:
        self.periodics.append(period)

    def _claim_name(self, name: str, *, of: Task[..., Any]) -> None:
        check_name(name, what=f"task {of.name!r} cannot have the name or alias")
        if name in self.tasks:
            raise TaskAlreadyRegistered(
                f"{name!r} is the name of {self.tasks[name]!r} already: give one of them another name"
            )
