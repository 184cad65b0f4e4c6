"""Completer: doing → succeeded, failed, aborted, or todo again.

Group commit: whatever ended while the last write was under way goes out with the next one, and an idle
worker writes at once. It acts to the very end of the worker, and never gives an outcome up: if the
database is away, outcomes wait for it. One that takes too long, as another session holds the row of its
job, waits behind the others. Those of a worker that has registered again since are written by its former
id, and refused if their jobs are not what they were.

What the transactions of tasks have ended is not written here; but the lock of such a job is opened here once
more, in turn with the other ends.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice, takewhile
from operator import attrgetter

import psycopg

from taskq import queries
from taskq.database.backoff import Backoff
from taskq.database.errors import is_refusal
from taskq.job import JobStatus
from taskq.messages import first_line
from taskq.outcome import Outcome
from taskq.telemetry import OutcomeRefused, OutcomesWritten, OutcomeUnwritable, Telemetry
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service, Wakeup

_LARGEST = 1000
_TRIES = 3


class Completer(Service):
    """Writes how attempts ended.

    Args:
        connection: A connection of its own.
        registration: Whose attempts.
        telemetry: Told of each write.
        written: Told what was written, after each write.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        telemetry: Telemetry,
        written: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._telemetry = telemetry
        self._written = written
        self._pending: list[Outcome] = []
        # What is next to be written; more than one only if some took too long.
        self._batches: deque[Sequence[Outcome]] = deque()
        self._failing_since: float | None = None
        self._writing: Sequence[Outcome] = ()
        self._wakeup = Wakeup()
        self._empty = asyncio.Event()
        self._empty.set()
        self._freed_locks: list[str] = []
        self._freed_limits: list[str] = []
        # What was written by transactions, and whose locks are still to be opened.
        self._committed: list[Outcome] = []
        self._waiting: dict[asyncio.Future[None], str] = {}

    def add(self, outcome: Outcome) -> None:
        """Have an outcome written, as soon as may be."""
        self._pending.append(outcome)
        self._empty.clear()
        self._wakeup.set()

    def announce(self, locks: Sequence[str], limits: Sequence[str]) -> None:
        """Tell other workers of locks and limits that have room for jobs which this one will not claim."""
        self._freed_locks.extend(locks)
        self._freed_limits.extend(limits)
        self._empty.clear()
        self._wakeup.set()

    def committed(self, outcome: Outcome) -> None:
        """A task's transaction has ended a job with a lock: open it, and tell that it is written."""
        self._committed.append(outcome)
        self._empty.clear()
        self._wakeup.set()

    async def lock_written(self, lock: str) -> None:
        """Wait until no end of a job with this lock waits to be written."""
        while any(outcome.held_lock == lock for outcome in self._unwritten()):
            written = asyncio.get_running_loop().create_future()
            self._waiting[written] = lock
            try:
                await written
            finally:
                self._waiting.pop(written, None)

    def holds(self, worker_id: int, job_id: int, claim: int) -> bool:
        """Whether the outcome of an attempt still waits to be written."""
        return any(
            (outcome.job_id, outcome.claim, outcome.worker_id) == (job_id, claim, worker_id)
            for outcome in self._unwritten()
        )

    @property
    def is_empty(self) -> bool:
        """Whether all outcomes are written."""
        return self._empty.is_set()

    @property
    def unwritten(self) -> int:
        """How many outcomes are not written yet."""
        return sum(map(len, (self._writing, self._pending, *self._batches)))

    @property
    def failing_for(self) -> float:
        """For how many seconds nothing could be written; may be asked in any thread."""
        since = self._failing_since
        return 0 if since is None else self._registration.now() - since

    async def flush(self) -> None:
        """Wait until all outcomes are written."""
        await self._empty.wait()

    def hurry(self, seconds: float) -> None:
        """Give the write under way no more than so many seconds; it is tried again on a new connection."""
        self._connection.hurry(seconds)

    async def loop(self) -> None:
        """Write what there is, and wait for more."""
        while True:
            if self._committed:
                await self._open_committed()
            elif self._pending or self._batches:
                if self._pending:
                    self._batches.append(self._next_batch())
                self._writing = batch = self._batches.popleft()
                written = await self._write(batch)
                self._writing = ()
                if written:
                    self._written(batch)
                for waiting in self._waiting:
                    if not waiting.done():
                        waiting.set_result(None)
            elif self._freed_locks or self._freed_limits:
                locks, self._freed_locks = self._freed_locks, []
                limits, self._freed_limits = self._freed_limits, []
                if locks:
                    await self._connection.retry(queries.job_schedule.announce_locks, locks)
                if limits:
                    await self._connection.retry(queries.job_schedule.announce_limits, limits)
                # Nothing more, and yet news: what kept the worker from ending is done.
                self._written(())
            else:
                self._empty.set()
                await self._wakeup.wait()

    def _unwritten(self) -> Iterable[Outcome]:
        return chain(self._writing, self._pending, *self._batches)

    async def _open_committed(self) -> None:
        committed, self._committed = self._committed, []
        by_worker: dict[int, list[str]] = {}
        for outcome in committed:
            locks = by_worker.setdefault(outcome.worker_id or self._registration.id, [])
            locks.extend([outcome.held_lock] if outcome.held_lock is not None else [])
        for worker_id, locks in by_worker.items():
            await self._connection.retry(
                queries.job_commit.open_locks_after_commit, worker_id, locks
            )
        self._written(committed)

    def _next_batch(self) -> list[Outcome]:
        # Of one worker: those of before it registered again have its former id.
        worker_id = self._pending[0].worker_id
        batch = list(
            takewhile(
                lambda outcome: outcome.worker_id == worker_id, islice(self._pending, _LARGEST)
            )
        )
        self._pending = self._pending[len(batch) :]
        # Their rows are locked in this order, and by a session that cancels several jobs in that of ids:
        # in another one each may wait for the other.
        batch.sort(key=attrgetter("job_id"))
        return batch

    async def _write(self, batch: Sequence[Outcome]) -> bool:
        """Returns False if the batch holds up others: each of it is written alone, behind them."""
        worker_id = batch[0].worker_id or self._registration.id
        backoff = Backoff()
        failed = False
        refusals = 0
        delays = 0
        while True:
            began = self._registration.now()
            try:
                ours = await self._connection.run(queries.job_finish.finish_jobs, worker_id, batch)
            except Exception as error:
                if not failed:
                    self._connection.report(error)
                failed = True
                # A server that gave the write up is there: that is no reason to let others have the jobs.
                if self._failing_since is None and not _gave_up(error):
                    self._failing_since = began
                refusals += is_refusal(error)
                delays += _gave_up(error) or isinstance(error.__cause__, TimeoutError)
                if refusals == _TRIES:
                    self._telemetry.emit(OutcomeUnwritable(outcome=batch[0], error=error))
                    batch = [_unwritable(batch[0], error)]
            else:
                self._failing_since = None
                seconds = self._registration.now() - began
                self._telemetry.emit(
                    OutcomesWritten(worker_id=worker_id, outcomes=batch, seconds=seconds)
                )
                # After a failure, what is missing may have been written all the same, and only the
                # answer was lost.
                if not failed:
                    self._report_refused(batch, ours)
                return True
            await backoff.wait()
            # Once may be chance, or one of them.
            if delays + refusals > 1 if len(batch) > 1 else delays:
                self._batches.extend([outcome] for outcome in batch)
                return False

    def _report_refused(self, batch: Sequence[Outcome], ours: Mapping[int, JobStatus]) -> None:
        if len(ours) == len(batch):
            return
        for outcome in batch:
            if outcome.job_id not in ours:
                self._telemetry.emit(OutcomeRefused(outcome=outcome))


def _gave_up(error: Exception) -> bool:
    """Whether the server gave a write up that took too long, as one does that waits for a lock."""
    return isinstance(error, psycopg.errors.QueryCanceled | psycopg.errors.LockNotAvailable)


def _unwritable(outcome: Outcome, error: Exception) -> Outcome:
    return replace(
        outcome,
        status=JobStatus.FAILED,
        result=None,
        error_type="taskq.exceptions.InvalidResult",
        error_message=f"its end ({outcome.status}) could not be written: {first_line(error)}",
        error_traceback="",
        retry_at=None,
        retry_in=None,
        given_back=None,
        progress=None,
        queue_name=None,
        held_queue=None,
        priority=None,
        lock=None,
    )
