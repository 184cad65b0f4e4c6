"""Waiters: any number of callers that wait for jobs to end, in whatever thread or event loop.

One checks for all of them, many jobs in one statement, when their ends are notified: in the notifier's
thread and on its connection, as the engine's pool may be in use by tasks that themselves wait here. It goes
when no caller has waited for a while.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Sequence

from taskq.database.notifier import Notifier
from taskq.database.wait_checker import WaitChecker
from taskq.database.waiter import Waiter
from taskq.exceptions import WaitTimeout
from taskq.job import Job
from taskq.queries.job_wait import AwaitedJob

# In seconds.
_CLOSED_WITHIN = 6.0


class Waiters:
    """All that wait in this process for jobs of one database.

    Args:
        notifier: Notifies of their ends, and has the connection on which they are checked.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self.start_anew()

    def start_anew(self) -> None:
        """In a child process: leave what checks, and who waits, to the parent."""
        self._lock = threading.Lock()
        self._by_job: dict[int, list[Waiter]] = {}
        self._checker: WaitChecker | None = None

    def wait(
        self,
        job_id: int,
        accept: Callable[[AwaitedJob], None],
        timeout: float | None,
        *,
        exists: bool = False,
    ) -> Job:
        """Wait until a job has ended.

        Args:
            job_id: The job.
            accept: Called with the job if it has not ended, and not in this thread; what it raises is raised.
            timeout: In seconds; None: for ever.
            exists: Whether the job is known to be there, or to have been.

        Raises:
            JobNotFound: There is none with that id, or it was deleted before its end was seen.
            WaitTimeout: It has not ended within the timeout.
            DatabaseUnavailable: The database does not answer, and the job may not be there.
        """
        waiter = self._add(job_id, accept, exists=exists)
        try:
            return waiter.ended.result(timeout)
        except TimeoutError:
            raise _timed_out(job_id, timeout) from None
        finally:
            self._remove(waiter)

    async def wait_async(
        self,
        job_id: int,
        accept: Callable[[AwaitedJob], None],
        timeout: float | None,
        *,
        exists: bool = False,
    ) -> Job:
        """The async twin of ``wait``."""
        waiter = self._add(job_id, accept, exists=exists)
        ended = asyncio.wrap_future(waiter.ended)
        try:
            await asyncio.wait([ended], timeout=timeout)
            if not ended.done():
                raise _timed_out(job_id, timeout)
            return ended.result()
        finally:
            # If it has an error that is not raised, asyncio would report it.
            if not ended.cancel() and not ended.cancelled():
                ended.exception()
            self._remove(waiter)

    def close(self) -> None:
        """Let go of the connection, unless a caller waits."""
        with self._lock:
            checker = self._checker
            if checker is None or self._by_job:
                return
            self._checker = None
        checker.stop()
        concurrent.futures.wait([checker.stopped], _CLOSED_WITHIN)

    def _add(self, job_id: int, accept: Callable[[AwaitedJob], None], *, exists: bool) -> Waiter:
        waiter = Waiter(job_id, accept, exists=exists)
        with self._lock:
            if self._checker is None:
                self._checker = WaitChecker(
                    self._notifier,
                    awaited=self.awaited,
                    awaited_ids=self.awaited_ids,
                    leave=self._leave,
                )
            self._by_job.setdefault(job_id, []).append(waiter)
            self._checker.check([job_id])
        return waiter

    def _remove(self, waiter: Waiter) -> None:
        waiter.ended.cancel()
        with self._lock:
            waiting = self._by_job[waiter.job_id]
            waiting.remove(waiter)
            if not waiting:
                del self._by_job[waiter.job_id]

    # For the checker, in its thread

    def awaited(self, ids: Sequence[int]) -> dict[int, list[Waiter]]:
        """Who waits for these jobs now."""
        with self._lock:
            return {job_id: list(self._by_job[job_id]) for job_id in ids if job_id in self._by_job}

    def awaited_ids(self) -> list[int]:
        """What is waited for now."""
        with self._lock:
            return list(self._by_job)

    def _leave(self, checker: WaitChecker) -> bool:
        """Whether a checker may go, as no caller waits: the next one that does makes another."""
        with self._lock:
            if self._checker is checker:
                if self._by_job:
                    return False
                self._checker = None
            return True


def _timed_out(job_id: int, timeout: float | None) -> WaitTimeout:
    return WaitTimeout(
        job_id,
        f"job {job_id} has not ended within {timeout:g} s, and goes on: wait for it again, or see "
        f"app.job_manager.explain_job({job_id}) for why it has not",
    )
