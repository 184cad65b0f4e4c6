"""The publishing part of the job manager: events, and who has subscribed to them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from taskq import queries
from taskq.database.errors import naming
from taskq.database.sync_async import async_method
from taskq.defer_middleware import (
    DeferMiddleware,
    PublishMiddleware,
    apply_defer_middleware,
    noted_by,
)
from taskq.job import NewJob, check_name
from taskq.manager.operations import JobOperations
from taskq.queries.connection import Connection
from taskq.queries.subscriptions import Publication, Subscription
from taskq.telemetry import Deferral, Telemetry


class Publishing(JobOperations):
    """What may be asked of events.

    Attributes:
        publish_middleware: What may note something about all jobs of an event before it is sent.
    """

    defer_middleware: Sequence[DeferMiddleware]
    publish_middleware: Sequence[PublishMiddleware] = ()
    telemetry: Telemetry

    def publish_event(self, publication: Publication) -> list[int]:
        """Defer a job for each subscriber of an event, all or none, in one statement; see ``App.publish``.

        Args:
            publication: The event, and the jobs of the subscribers that are known, before middleware.

        Returns:
            The ids, in the order of the tasks' names; without a job that was skipped, as one with its
            queueing lock waits already.
        """
        with Deferral(self.telemetry, publication.jobs, event=publication.event) as deferral:
            metadata = noted_by(self.publish_middleware, publication.event, publication.args)
            jobs = apply_defer_middleware(
                self.defer_middleware, [_with(metadata, job) for job in publication.jobs]
            )
            ids = self._publish(replace(publication, jobs=jobs, metadata=metadata))
            # In the order in which they were made; the others are jobs of other programs' tasks.
            known = sorted(jobs, key=lambda job: job.task_name)
            deferral.succeeded(known, [ids.get(job.task_name) for job in known])
        return list(ids.values())

    publish_event_async: Final = async_method(publish_event)

    def _publish(self, publication: Publication) -> dict[str, int]:
        def publish(on: Connection) -> dict[str, int]:
            with naming(publication.jobs):
                return queries.subscriptions.publish_event(
                    on, publication, own_transaction=self._is_apart
                )

        return self._run(publish)

    def list_subscriptions(self, event: str | None = None) -> list[Subscription]:
        """Read which tasks get a job for each event, by event and task.

        Args:
            event: One event; None: all.

        Raises:
            InvalidName: No event can have that name.
        """
        if event is not None:
            check_event(event)
        return self._run(queries.subscriptions.list_subscriptions, event)

    list_subscriptions_async: Final = async_method(list_subscriptions)

    def remove_subscription(self, event: str, task_name: str) -> bool:
        """End a subscription, of a task that was removed, or does not subscribe any more.

        A worker that starts writes it again if its app declares it, and an app that declares it publishes to
        it: take it out of the code first.

        Args:
            event: The event.
            task_name: The name of the task.

        Returns:
            False if there was none.

        Raises:
            InvalidName: No event, or no task, can have that name.
        """
        check_event(event)
        check_name(task_name, what="no task is called")
        return self._run(queries.subscriptions.remove_subscription, event, task_name)

    remove_subscription_async: Final = async_method(remove_subscription)


def _with(metadata: Mapping[str, JsonValue], job: NewJob) -> NewJob:
    """A job of an event with what was noted about that; what the subscriber has declared holds."""
    if not metadata:
        return job
    return job.model_copy(update={"metadata": {**metadata, **(job.metadata or {})}})


def check_event(event: object) -> None:
    """Refuse what cannot be the name of an event.

    Raises:
        InvalidName: It is no text, is empty or longer than 500 characters, or has a NUL character.
    """
    check_name(event, what="no event is called")
