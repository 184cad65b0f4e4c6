"""WaitChecker: checks what jobs have come to that are waited for, and tells those who wait.

The order is: subscribe, mark, check. A job that ends before the mark is seen by the check, and one that ends
after it is notified. What was notified before listening began, or while it was broken, is made up for by
another check. Where nothing is notified, it polls.

It runs in the notifier's thread, and on its connection.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from contextvars import Context
from typing import Final

from taskq.database.notifications import Ended, Failed, Missed, Notification
from taskq.database.notifier import Notifier
from taskq.database.waiter import Waiter
from taskq.escaping import get_logger
from taskq.messages import first_line
from taskq.queries.job_wait import CheckedJobs, check_jobs

logger: Final = get_logger("taskq.database.wait_checker")

# In seconds: between two checks where ends are notified, and where they are not.
_NOTIFIED_INTERVAL = 5.0
_POLLING_INTERVAL = 1.0

# Until a job is checked again whose row another transaction has; then twice as long, up to a poll.
_MARK_AGAIN = 0.005

# How long it stays, and the connection with it, when no caller waits, as the next one may come.
_LINGER = 10.0

# Jobs in one statement.
_LARGEST = 1000


class WaitChecker:
    """Checks jobs until nobody has waited for a while; it starts at once.

    Args:
        notifier: What notifies of ends, if anything does, and on whose connection they are checked.
        awaited: Who waits for some jobs.
        awaited_ids: What is waited for.
        leave: Asked before it goes; whether it may, as no caller waits.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        awaited: Callable[[Sequence[int]], Mapping[int, Sequence[Waiter]]],
        awaited_ids: Callable[[], Sequence[int]],
        leave: Callable[["WaitChecker"], bool],
    ) -> None:
        self._awaited = awaited
        self._awaited_ids = awaited_ids
        self._leave = leave
        self._wakeup = asyncio.Event()
        self._due: dict[int, None] = {}  # in the order in which they came
        # Jobs whose rows others had, and how long to wait before they are checked again.
        self._unmarked: dict[int, float] = {}
        self._mark_at = 0.0
        self._poll_at = time.monotonic() + _POLLING_INTERVAL
        self._is_notified = False
        self._may_mark = True
        self._is_stopping = False
        self._failing = False
        self._subscription = notifier.subscribe(self._notified, kinds=[Ended])
        self._loop = self._subscription.notifier_loop
        # In a context of its own, as it outlives that of the first waiter.
        self.stopped: Future[None] = Context().run(
            asyncio.run_coroutine_threadsafe, self._check_on(), self._loop
        )

    def check(self, ids: Sequence[int]) -> None:
        """Check these jobs soon; in any thread."""
        self._loop.call_soon_threadsafe(self._add, ids)

    def stop(self) -> None:
        """Go, if no caller waits."""
        with suppress(RuntimeError):  # it has gone by itself
            self._loop.call_soon_threadsafe(self._stop)

    # In the notifier's thread

    def _add(self, ids: Sequence[int]) -> None:
        self._due.update(dict.fromkeys(ids))
        self._wakeup.set()

    def _stop(self) -> None:
        self._is_stopping = True
        self._wakeup.set()

    def _notified(self, notification: Notification) -> None:
        match notification:
            case Ended(job_id):
                self._add([job_id])
            case Missed():
                self._is_notified = True
                self._poll_at = 0
                self._wakeup.set()
            case Failed():
                self._is_notified = False
                self._poll_at = time.monotonic() + _POLLING_INTERVAL
                self._wakeup.set()

    async def _check_on(self) -> None:
        with closing(self._subscription):
            while await self._wait_until_due():
                ids, self._due = list(self._due), {}
                for start in range(0, len(ids), _LARGEST):
                    await self._check(ids[start : start + _LARGEST])

    async def _wait_until_due(self) -> bool:
        """Whether there is something to check; False: to go."""
        idle_since = None
        while not self._due:
            now = time.monotonic()
            ids = self._awaited_ids()
            idle_since = None if ids else idle_since or now
            if idle_since and (self._is_stopping or now - idle_since >= _LINGER):
                if self._leave(self):
                    return False
            elif ids and now >= self._poll_at:
                self._poll_at = now + self._interval()
                self._add(ids)
            elif self._unmarked and now >= self._mark_at:
                self._add(list(self._unmarked))
            else:
                await self._wait_for_wakeup(idle_since)
        self._wakeup.clear()
        return True

    async def _wait_for_wakeup(self, idle_since: float | None) -> None:
        if idle_since is not None:
            until = idle_since + _LINGER
        elif self._unmarked:
            until = min(self._poll_at, self._mark_at)
        else:
            until = self._poll_at
        with suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                await self._wakeup.wait()
        self._wakeup.clear()

    def _interval(self) -> float:
        return _NOTIFIED_INTERVAL if self._is_notified else _POLLING_INTERVAL

    async def _check(self, ids: Sequence[int]) -> None:
        waiting = self._awaited(ids)
        for job_id in ids:
            if job_id not in waiting:
                self._unmarked.pop(job_id, None)
        if not waiting:
            return
        try:
            checked = await self._subscription.ask(
                check_jobs, list(waiting), may_mark=self._may_mark
            )
        except Exception as error:
            self._fail(waiting, error)
            return
        self._failing = False
        self._may_mark = checked.may_mark
        for waiter in _all(waiting):
            waiter.answer(checked)
        self._remember_unmarked(waiting, checked)

    def _remember_unmarked(self, waiting: Iterable[int], checked: CheckedJobs) -> None:
        for job_id in waiting:
            job = checked.awaited.get(job_id)
            if job is None or job.is_marked:
                self._unmarked.pop(job_id, None)
            else:
                self._unmarked[job_id] = min(
                    2 * self._unmarked.get(job_id, _MARK_AGAIN / 2), _POLLING_INTERVAL
                )
        if self._unmarked:
            self._mark_at = time.monotonic() + min(self._unmarked.values())

    def _fail(self, waiting: Mapping[int, Sequence[Waiter]], error: Exception) -> None:
        patient = False
        for waiter in _all(waiting):
            if waiter.is_patient(error):
                patient = True
            else:
                waiter.fail(error)
        self._poll_at = time.monotonic() + _POLLING_INTERVAL
        if patient and not self._failing:
            self._failing = True
            logger.warning(
                "jobs that are waited for cannot be checked, which is tried again: %s",
                first_line(error),
                extra={"action": "waiting_failed"},
            )


def _all(waiting: Mapping[int, Sequence[Waiter]]) -> Sequence[Waiter]:
    return [waiter for waiters in waiting.values() for waiter in waiters]
