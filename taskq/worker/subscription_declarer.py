"""SubscriptionDeclarer: who of the app subscribes to events is in the database before the worker claims.

It writes once, when the worker starts: what an operator removes while it runs stays removed.
"""

from collections.abc import Sequence

from taskq import queries
from taskq.events import EventSubscriber
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration


class SubscriptionDeclarer:
    """Declares subscriptions.

    Args:
        connection: A connection, which may be shared.
        registration: Whose app.
        subscribers: Who subscribes.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        subscribers: Sequence[EventSubscriber],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._subscribers = subscribers

    async def declare(self) -> None:
        """Write those that are not there, or not like this."""
        if self._subscribers:
            declared = [subscriber.declared for subscriber in self._subscribers]
            await self._connection.retry(
                lambda connection: queries.subscriptions.declare_subscriptions(
                    connection, declared, declared_by=self._registration.name
                )
            )
