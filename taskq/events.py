"""Events: a task subscribes to one by its name, and gets a job whenever it is published."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from taskq.arguments.arguments import Arguments
from taskq.arguments.codec import Codec, Unserializable
from taskq.database.executor import AnyConnection
from taskq.deferrer import Deferrer
from taskq.exceptions import InvalidArguments, InvalidDatabase, InvalidSubscription
from taskq.job import NAME_LENGTH, NewJob
from taskq.job_options import JobDefaults, refuse_unknown
from taskq.limits import key_text
from taskq.manager import JobManager
from taskq.manager.publishing import check_event
from taskq.messages import short_repr
from taskq.queries.subscriptions import NewSubscription, Publication
from taskq.task import Task

# What the metadata of a job call the event that it comes of.
EVENT = "event"

_CONNECTION = "connection"

_ANYTHING: Codec[Any] = Codec(Any)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSubscriber:
    """A task that gets a job whenever an event is published.

    Attributes:
        event: The name of the event.
        task: The task.
        deferrer: Makes its jobs.
    """

    event: str
    task: Task[..., Any]
    deferrer: Deferrer[..., int] = field(repr=False)

    def job(self, arguments: Mapping[str, Any]) -> NewJob:
        """The job for one event.

        Raises:
            InvalidArguments: The arguments do not fit the task, or JSON cannot carry them.
        """
        return self.deferrer.prepare(**arguments)

    @property
    def declared(self) -> NewSubscription:
        """What is written of it, for those who publish and do not know the task."""
        limit = self.deferrer.limit
        return NewSubscription(
            event=self.event,
            job=self.deferrer.prepare_without_arguments(),
            aliases=self.task.aliases,
            limit_by={
                name: _default_text(self.task.arguments, name)
                for name in (() if limit is None else limit.arguments)
            },
        )


def subscriber_of(task: Task[..., Any], *, event: str, options: JobDefaults) -> EventSubscriber:
    """Subscribe a task to an event.

    Raises:
        InvalidSubscription: It is no task, is encrypted, or needs an argument that no event has.
        InvalidName: No event can have that name.
        InvalidJob: An option that no job of a subscriber can have.
    """
    check_event(event)
    declared: object = task
    if not isinstance(declared, Task):
        raise InvalidSubscription(
            f"{short_repr(declared)} is no task: write @app.on({short_repr(event)}) above @app.task, so that "
            "it gets one"
        )
    if task.arguments.requires(_CONNECTION):
        raise InvalidSubscription(
            f"task {task.name!r} needs an argument 'connection', which no event has: publish(…, "
            "connection=…) says in whose transaction it is published; call the argument something else"
        )
    if task.encrypted:
        raise InvalidSubscription(
            f"task {task.name!r} is encrypted, and an event's jobs may come from a program that has no key: "
            "subscribe a task that is not, and have that defer this one"
        )
    refuse_unknown(
        options, JobDefaults, f"task {task.name!r} cannot subscribe to {short_repr(event)} with"
    )
    metadata = options.get("metadata", task.metadata)
    configured = task.configure(**options)
    return EventSubscriber(
        event=event,
        task=task,
        deferrer=configured.configure(metadata={**(metadata or {}), EVENT: event}),
    )


class EventPublisher:
    """What publishes events: a part of the app.

    Attributes:
        subscribers: The tasks that subscribe to events, as far as the app knows them.
        job_manager: Operates on jobs in the database.
    """

    subscribers: list[EventSubscriber]
    job_manager: JobManager

    def perform_import_paths(self) -> None:
        """Import the modules that have more subscribers."""
        raise NotImplementedError

    def publish(
        self, event: str, /, *, connection: AnyConnection | None = None, **arguments: Any
    ) -> list[int]:
        """Publish an event: defer a job for each task that subscribes to it, all or none, in one statement.

        These are the tasks that the app knows as subscribers, and those that workers have declared in the
        database, each once. One whose queueing lock a job has that waits gets none.

        Args:
            event: The name of the event.
            connection: In whose transaction it is published, as for ``Task.configure``; None: in one of its
                own. An argument of an event cannot have this name.
            **arguments: What the tasks are called with. Those that the app knows check them now, others when
                their workers run them.

        Returns:
            The ids of the jobs, in the order of the tasks' names; none if no task subscribes.

        Raises:
            InvalidName: No event can have that name.
            InvalidArguments: They do not fit a subscriber, or JSON cannot carry them.
            InvalidDatabase: The connection is none.
        """
        publication = self._publication(event, arguments)
        return self._manager(event, connection).publish_event(publication)

    async def publish_async(
        self, event: str, /, *, connection: AnyConnection | None = None, **arguments: Any
    ) -> list[int]:
        """The async twin of ``publish``."""
        publication = self._publication(event, arguments)
        return await self._manager(event, connection).publish_event_async(publication)

    def _publication(self, event: str, arguments: Mapping[str, Any]) -> Publication:
        check_event(event)
        self.perform_import_paths()
        subscribers = [each for each in self.subscribers if each.event == event]
        jobs = [_told(event, each, arguments) for each in subscribers]
        args = _carried(event, arguments, jobs)
        return Publication(
            event=event,
            jobs=jobs,
            known_names=[name for each in subscribers for name in _names(each.task)],
            args=args,
            # One character more than a key may have, so that the database refuses what is longer.
            key_texts={name: key_text(value)[: NAME_LENGTH + 1] for name, value in args.items()},
        )

    def _manager(self, event: str, connection: AnyConnection | None) -> JobManager:
        if connection is None:
            return self.job_manager
        try:
            return self.job_manager.on(connection)
        except InvalidDatabase as error:
            if hasattr(connection, "execute"):
                raise
            raise InvalidDatabase(
                f"event {event!r} cannot be published with connection={short_repr(connection)}, in whose "
                f"transaction it is to be: {error}. An argument of an event has another name"
            ) from error


def _told(event: str, subscriber: EventSubscriber, arguments: Mapping[str, Any]) -> NewJob:
    try:
        return subscriber.job(arguments)
    except InvalidArguments as error:
        raise InvalidArguments(
            f"event {event!r} does not fit a task that subscribes to it: {error}"
        ) from error


def _carried(
    event: str, arguments: Mapping[str, Any], known: Iterable[NewJob]
) -> dict[str, JsonValue]:
    """The arguments for tasks that are not known here: as one that is known writes them, or as JSON does."""
    written: dict[str, JsonValue] = {}
    for job in known:
        written = {**job.args, **written}
    return {
        name: written[name] if name in written else _carried_as_it_is(event, name, value)
        for name, value in arguments.items()
    }


def _carried_as_it_is(event: str, name: str, value: object) -> JsonValue:
    try:
        _ANYTHING.dump(name)
    except Unserializable as unfit:
        raise InvalidArguments(f"event {event!r} has the name of an argument {unfit}") from None
    try:
        return _ANYTHING.dump(value)
    except Unserializable as unfit:
        raise InvalidArguments(
            f"event {event!r}: argument {short_repr(name)} got {unfit}; no task that is known here takes it, "
            "so that it has to be what JSON carries"
        ) from None


def _names(task: Task[..., Any]) -> Sequence[str]:
    return (task.name, *task.aliases)


def _default_text(arguments: Arguments[...], name: str) -> str | None:
    try:
        return key_text(arguments.default_of(name))
    except InvalidArguments:
        return None
