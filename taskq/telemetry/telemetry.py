"""Who subscribes to which events, and how these are passed on."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar

from taskq.escaping import get_logger
from taskq.exceptions import InvalidOption
from taskq.messages import short_repr

logger: Final = get_logger("taskq.telemetry")


class Event:
    """Something that happened; each kind is a class of its own."""

    __slots__ = ()


E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True, eq=False)
class _Subscription:
    kind: type[Event]
    subscriber: Callable[[Any], None]
    only_if: Callable[[], bool]
    # The classes of events with which it has failed.
    failed: set[type[Event]] = field(default_factory=set)


class Telemetry:
    """Passes events on to who subscribed to them; an app has one, for all of its workers.

    All of it may be called in any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: tuple[_Subscription, ...] = ()
        # Those to the class of an event, found when there is one. Another dictionary after each change:
        # what a thread still writes into the one before is of no use to anyone.
        self._by_class: dict[type[Event], tuple[_Subscription, ...]] = {}

    def subscribe(
        self,
        kind: type[E],
        subscriber: Callable[[E], None],
        *,
        only_if: Callable[[], bool] = lambda: True,
    ) -> Callable[[], None]:
        """Have a function called with each event of a kind; returns what ends that.

        Args:
            kind: A class of events, or the base of several: ``JobEnded``, or ``Event`` for all.
            subscriber: Called in the midst of the worker's work, which waits for it. What it raises is logged
                once for each class of events, and goes no further.
            only_if: Asked before each event whether it is wanted. One that every job has is not even
                made if none wants it.

        Raises:
            InvalidOption: ``kind`` is no class of events, or ``subscriber`` no function, or an async one.
        """
        _check(kind, subscriber)
        subscription = _Subscription(kind, subscriber, only_if)
        with self._lock:
            self._subscriptions = (*self._subscriptions, subscription)
            self._by_class = {}

        def unsubscribe() -> None:
            with self._lock:
                self._subscriptions = tuple(
                    other for other in self._subscriptions if other is not subscription
                )
                self._by_class = {}

        return unsubscribe

    def wants(self, kind: type[Event]) -> bool:
        """Whether an event of a class would be told to anyone."""
        # Each job asks twice: a call less is a third of what that takes.
        by_class = self._by_class
        for subscription in by_class[kind] if kind in by_class else self._subscribed_to(kind):
            try:
                if subscription.only_if():
                    return True
            except BaseException:
                return True  # emitting it will report that
        return False

    def emit(self, event: Event) -> None:
        """Tell who subscribed, one after the other."""
        for subscription in self._subscribed_to(type(event)):
            try:
                if subscription.only_if():
                    subscription.subscriber(event)
            # Let through, a CancelledError would pass for the cancellation of the service that emits, and
            # sys.exit() would leave its work half done.
            except BaseException as error:
                # The log may be what fails.
                with suppress(BaseException):
                    _report(subscription, type(event), error)

    def _subscribed_to(self, kind: type[Event]) -> tuple[_Subscription, ...]:
        by_class = self._by_class
        if kind not in by_class:
            by_class[kind] = tuple(
                subscription
                for subscription in self._subscriptions
                if issubclass(kind, subscription.kind)
            )
        return by_class[kind]


def _check(kind: object, subscriber: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Event)):
        raise InvalidOption(
            f"{short_repr(kind)} is no kind of event to subscribe to: name a class of taskq.telemetry, "
            "such as JobEnded"
        )
    if not callable(subscriber) or iscoroutinefunction(subscriber):
        raise InvalidOption(
            f"{short_repr(subscriber)} cannot subscribe to {kind.__name__}: give a plain function, as "
            "nothing awaits an async one; it may put events into a queue for a task that does"
        )


def _report(subscription: _Subscription, kind: type[Event], error: BaseException) -> None:
    if kind in subscription.failed:
        return
    subscription.failed.add(kind)
    logger.error(
        "the subscriber %s of telemetry raised an error for a %s, which is logged only once: have it catch "
        "what it may raise",
        short_repr(subscription.subscriber),
        kind.__name__,
        exc_info=error,
        extra={"action": "subscriber_failed", "event": kind.__name__},
    )
