"""Notifier: notifications of a database, on one connection of the process, for any number of subscribers.

It listens in a thread of its own, which has an event loop of its own. Subscribers are in any event loop, in
several, or in none, as synchronous code is: loops end while others go on, and one that is blocked keeps no
other from being notified. One notifier for each loop would be a connection for each, and a thread for
synchronous code still. To hand a notification over to a loop takes 0.01 to 0.07 ms of the 3 from a job's
defer to its start, measured in one process beside a notifier in the loop.

It may miss notifications for a while. Its subscribers are told so, and are to poll as well.

A subscriber may run statements on the same connection. Listening is interrupted for each, which waits for no
timeout; what the server sends meanwhile is handed over right after it.
"""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from typing import Concatenate, Final, ParamSpec, TypeVar

import psycopg

from taskq.database.backoff import Backoff
from taskq.database.connection import DedicatedConnection
from taskq.database.notifications import Failed, Missed, Notification, parse
from taskq.escaping import get_logger
from taskq.exceptions import DatabaseUnavailable
from taskq.queries import session
from taskq.queries.connection import Connection

P = ParamSpec("P")
T = TypeVar("T")

logger: Final = get_logger("taskq.database.notifier")

# What fails on a connection that has listened for so long is another bad moment, and told again.
_STEADY_AFTER = 5.0  # seconds

# So many wait at most to be taken by an event loop.
_MOST_PENDING = 1000

# Where no subscriber says less.
_PING_INTERVAL = 5.0  # seconds
_BOUND = 15.0  # seconds

# How long to wait for a connection to be closed.
_CLOSED_WITHIN = 6.0  # seconds


class Subscription:
    """What ``Notifier.subscribe`` answers; ``close`` ends it."""

    def __init__(
        self,
        listener: "_Listener",
        end: Callable[["Subscription"], None],
        callback: Callable[[Notification], object],
        loop: asyncio.AbstractEventLoop | None,
        *,
        ping_interval: float,
        bound: float,
        kinds: tuple[type, ...] | None,
    ) -> None:
        self._listener = listener
        self._end = end
        self._kinds = kinds
        self._callback = callback
        self._loop = loop
        self.ping_interval = ping_interval
        self.bound = bound
        self._closed = False
        self._pending: list[Notification] = []
        self._taking = threading.Lock()

    def close(self) -> None:
        """Hand nothing over any more; with the last subscription the connection is closed, soon.

        It may be called in any thread, and twice.
        """
        self._closed = True
        self._end(self)

    @property
    def notifier_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the notifier's thread, which goes on until the last subscription is closed."""
        return self._listener.loop

    async def ask(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a short operation on the notifier's connection, in its event loop.

        It is run also while listening fails, or nothing is notified.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        return await self._listener.ask(operation, *args, **kwargs)

    def hand_over(self, notifications: Sequence[Notification]) -> None:
        """Have the callback called, with one after the other; in the notifier's thread."""
        if self._kinds is not None:
            notifications = [each for each in notifications if isinstance(each, self._kinds)]
            if not notifications:
                return
        if self._loop is None:
            for notification in notifications:
                self._call(notification)
            return
        with self._taking:
            is_first = not self._pending
            if len(self._pending) < _MOST_PENDING:
                self._pending += notifications
            else:
                self._pending = [Missed()]
        try:
            if is_first or self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._take)
        except RuntimeError:
            # It was closed without a word.
            self.close()

    def _take(self) -> None:
        with self._taking:
            pending, self._pending = self._pending, []
        for notification in pending:
            self._call(notification)

    def _call(self, notification: Notification) -> None:
        if self._closed:
            return
        try:
            self._callback(notification)
        except Exception:
            logger.exception(
                "a subscriber to notifications failed with %s",
                notification,
                extra={"action": "subscriber_failed"},
            )


class Notifier:
    """Listens from its first subscriber to its last.

    Args:
        make_connection: Makes a connection for it. Through a pooler that does not keep sessions nothing is
            notified, and subscribers may only run their statements.
    """

    def __init__(self, make_connection: Callable[[], DedicatedConnection]) -> None:
        self._make_connection = make_connection
        self.start_anew()

    def start_anew(self) -> None:
        """In a child process: leave thread, connection and subscribers to the parent."""
        self._lock = threading.Lock()
        self._listener: _Listener | None = None
        self._ending: set[Future[None]] = set()

    def subscribe(
        self,
        callback: Callable[[Notification], object],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        ping_interval: float = _PING_INTERVAL,
        bound: float = _BOUND,
        kinds: Sequence[type[Notification]] | None = None,
    ) -> Subscription:
        """Have a function called with each notification, and first with ``Missed`` once it listens.

        Each callback gets all of them: to wait for many things, subscribe once, and look up what each
        notification is about.

        Args:
            callback: A plain function that does not block.
            loop: The event loop to call it in; None: the notifier's thread.
            ping_interval: Seconds between two signs of life that the server is asked for. The lowest of
                all subscribers holds, from the next one on.
            bound: Seconds that the server has for an answer. The lowest holds, likewise.
            kinds: Which it is called with, beside ``Missed`` and ``Failed``; None: all. Others do not even
                reach its event loop.
        """
        wanted = None if kinds is None else (*kinds, Missed, Failed)
        with self._lock:
            if self._listener is None:
                self._listener = _Listener(self._make_connection())
            subscription = Subscription(
                self._listener,
                self._end,
                callback,
                loop,
                ping_interval=ping_interval,
                bound=bound,
                kinds=wanted,
            )
            self._listener.add(subscription)
        return subscription

    def wait_closed(self) -> None:
        """Wait until a connection that lost its last subscriber is closed, within a bound."""
        concurrent.futures.wait(list(self._ending), timeout=_CLOSED_WITHIN)

    async def wait_closed_async(self) -> None:
        """The async twin of ``wait_closed``."""
        ending = [asyncio.wrap_future(ended) for ended in list(self._ending)]
        if ending:
            await asyncio.wait(ending, timeout=_CLOSED_WITHIN)

    def _end(self, subscription: Subscription) -> None:
        with self._lock:
            listener = self._listener
            if listener is None or listener.remove(subscription):
                return  # it goes on, or was closed before
            self._listener = None
            self._ending.add(listener.ended)
        listener.ended.add_done_callback(self._ending.discard)
        listener.stop()


class _Listener:
    """A thread with a connection that listens, which is replaced when it is lost. It starts at once.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: DedicatedConnection) -> None:
        self.ended: Future[None] = Future()
        self.ended.set_running_or_notify_cancel()  # to give up waiting for it does not cancel it
        self._connection = connection
        # Replaced, and never changed: the thread goes through them meanwhile.
        self._subscriptions: tuple[Subscription, ...] = ()
        self._listening_since: float | None = None
        # What listening is interrupted by, as long as it waits, and how many want it to be.
        self._receiving: asyncio.Timeout | None = None
        self._asking = 0
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        # In a context of its own, as it outlives that of the first subscriber.
        self._task = Context().run(self.loop.create_task, self._listen_and_close())
        threading.Thread(target=self._run, name="taskq Notifier", daemon=True).start()

    def add(self, subscription: Subscription) -> None:
        """Hand notifications over to another one from now on."""
        self._subscriptions = (*self._subscriptions, subscription)
        self.loop.call_soon_threadsafe(self._welcome, subscription)

    def remove(self, subscription: Subscription) -> bool:
        """Hand no more over to one; returns whether others are left."""
        self._subscriptions = tuple(
            other for other in self._subscriptions if other is not subscription
        )
        return bool(self._subscriptions)

    def stop(self) -> None:
        """Close the connection, and then end the thread."""
        # It may have ended by itself.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._task.cancel)

    # In the thread

    async def ask(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation on the connection, between two notifications."""
        self._asking += 1
        try:
            if self._receiving is not None and not self._receiving.expired():
                self._receiving.reschedule(0)
            async with self._connection.connected() as connection:
                return await self._connection.ask(connection, operation, *args, **kwargs)
        finally:
            self._asking -= 1

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                self.loop.run_until_complete(self._task)
        finally:
            self.ended.set_result(None)
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            # Where names of hosts were looked up.
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def _welcome(self, subscription: Subscription) -> None:
        if self._listening_since is not None:
            subscription.hand_over([Missed()])

    async def _listen_and_close(self) -> None:
        try:
            await self._listen_on()
        finally:
            # It is open still if the server has just refused to listen.
            await self._connection.close()

    async def _listen_on(self) -> None:
        """Listen until cancelled, and connect again when the connection is lost."""
        if self._connection.pooler:
            await asyncio.Event().wait()  # nothing is notified
        backoff = Backoff()
        failed = False
        while True:
            try:
                await self._listen()
            except Exception as error:
                since, self._listening_since = self._listening_since, None
                # One that was lost at once is the same bad moment still.
                if since is not None and time.monotonic() - since >= _STEADY_AFTER:
                    backoff, failed = Backoff(), False
                if not failed:
                    self._hand_over([Failed(error)])
                failed = True
                await backoff.wait()

    async def _listen(self) -> None:
        listening = None
        while True:
            self._connection.bound = self._bound()
            async with self._connection.connected() as connection:
                if listening is None:
                    await self._connection.ask(connection, session.listen)
                    self._listening_since = time.monotonic()
                    self._hand_over([Missed()])
                    listening = connection
                elif connection is not listening:
                    break
                if await self._receive(connection):
                    # Subscribers may have come meanwhile, the first one also before it began.
                    self._connection.bound = self._bound()
                    await self._connection.ask(connection, session.ping)
        # The new one is kept.
        raise DatabaseUnavailable("the connection was lost with a statement of a subscriber")

    async def _receive(self, connection: psycopg.AsyncConnection) -> bool:
        """Hand over what comes, until a subscriber has a statement to run.

        Returns:
            Whether it ended as nothing has come for a ping interval.
        """
        while True:
            # Then it takes what is there, and leaves: statements that follow one another keep none away.
            is_asked = self._asking > 0
            # What comes at once, as from one transaction, is handed over at once: of jobs in several queues
            # the one of the highest priority is to be claimed first.
            try:
                async with asyncio.timeout(None) as interruption:
                    self._receiving = None if is_asked else interruption
                    received = [
                        notify
                        async for notify in connection.notifies(
                            timeout=0 if is_asked else self._ping_interval(), stop_after=1
                        )
                    ]
            except TimeoutError:
                return False
            finally:
                self._receiving = None
            if received:
                parsed = (parse(notify.payload) for notify in received)
                self._hand_over([known for known in parsed if known is not None])
            if is_asked or not received:
                return not is_asked

    def _hand_over(self, notifications: Sequence[Notification]) -> None:
        for subscription in self._subscriptions:
            subscription.hand_over(notifications)

    def _ping_interval(self) -> float:
        return min((each.ping_interval for each in self._subscriptions), default=_PING_INTERVAL)

    def _bound(self) -> float:
        return min((each.bound for each in self._subscriptions), default=_BOUND)
