"""ExecutorPool: what was claimed goes to the slots, and their outcomes go on to be completed.

It writes nothing itself: doing jobs come in, and outcomes go out. It may start nothing once the worker
stops, nor while the heartbeat is overdue, since others then take this worker for dead. What it holds is
ready (claimed and not begun), behind another job of its lock, or in the hands of a slot. A job that may
have killed a worker it runs alone.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence

from taskq.context import AbortReason
from taskq.job import Job, JobStatus
from taskq.outcome import Outcome
from taskq.telemetry import JobSuspected
from taskq.telemetry.jobs import JOB_ENDED
from taskq.worker.attempt import Attempt
from taskq.worker.attempt_environment import AttemptEnvironment
from taskq.worker.lock_runs import LockRuns
from taskq.worker.outcomes import Decision, released
from taskq.worker.prefetch import Prefetch
from taskq.worker.slot import Slot
from taskq.worker.suspicion import LONGEST_WAIT, Suspicion

# A claimed job that has not begun after this long goes back, for another worker to have.
_PATIENCE = 0.15  # seconds


class ExecutorPool:
    """The slots, and the jobs that wait for one.

    Args:
        environment: What the attempts share; with the options of the worker.
        worker_id: Says which id the worker has now.
        ended: Told of each outcome that is to be written.
        committed: Told of each that a task's transaction wrote, and the seconds that it took.
        freed: Told that there is more capacity.
        overdue: Says whether the heartbeat is overdue.
        unwritten: Says how many outcomes are not written yet.
        claim_in_flight: Says whether a claim is under way.
    """

    def __init__(
        self,
        environment: AttemptEnvironment,
        *,
        worker_id: Callable[[], int],
        ended: Callable[[Outcome], None],
        committed: Callable[[Outcome, float], None],
        freed: Callable[[], None],
        overdue: Callable[[], bool],
        unwritten: Callable[[], int],
        claim_in_flight: Callable[[], bool],
    ) -> None:
        options = environment.options
        self._environment = environment
        self._worker_id = worker_id
        self._ended = ended
        self._on_committed = committed
        self._on_freed = freed
        self._is_overdue = overdue
        self._claim_in_flight = claim_in_flight
        # While a claim was under way, which may not have seen it.
        self._paused_meanwhile: list[Callable[[Job], bool]] = []
        self._max_jobs = options.max_jobs
        self._prefetch = Prefetch(options.concurrency, options.prefetch)
        self._suspicion = Suspicion(
            concurrency=options.concurrency,
            max_crashes=options.max_crashes,
            unwritten=unwritten,
            claim_in_flight=claim_in_flight,
        )
        self._idle = [Slot(self.ended, self.committed) for _ in range(options.concurrency)]
        self._busy: set[Slot] = set()
        self._ready: deque[Attempt] = deque()
        self._runs = LockRuns()
        # Whose results are to be written before what follows them begins.
        self._results: dict[tuple[int, int], Job] = {}
        self._impatient: asyncio.TimerHandle | None = None
        self._started = 0
        self._empty_since = 0.0
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is ready or running."""
        return not self._busy and not self._ready and not len(self._runs)

    @property
    def is_done(self) -> bool:
        """Whether it has run as many jobs as it may."""
        return self._max_jobs is not None and self._started >= self._max_jobs and self.is_empty

    def capacity(self) -> int:
        """How many jobs may be claimed now.

        With slots busy and more than two thirds of the prefetch still there it is none, so that
        claims bring batches and not single jobs, and yet the next one is back before the rest has run.
        """
        if self._stopping or self._is_overdue() or self._suspicion.suspect is not None:
            return 0
        prefetch = self._prefetch.size
        if not self._idle and len(self._ready) > 2 * prefetch // 3:
            return 0
        not_begun = len(self._ready) + len(self._runs)
        capacity = len(self._idle) + prefetch - not_begun
        if self._max_jobs is not None:
            capacity = min(capacity, self._max_jobs - self._started - not_begun)
        return max(0, capacity)

    def run_length(self) -> int:
        """How many jobs of one lock may be claimed at once."""
        return self._prefetch.run_length

    def runs_lock(self, lock: str) -> bool:
        """Whether a job of the lock is ready or running here."""
        return self._runs.holds(lock, self._worker_id())

    def deliver(self, jobs: Sequence[Job]) -> None:
        """Take jobs that were claimed, or none: each begins when a slot is free."""
        if self._paused_meanwhile:
            jobs = self._without_paused(jobs)
        if jobs and jobs[0].worker_id != self._worker_id():
            # Claimed before this worker registered again.
            for job in jobs:
                self._ended(released(job, started=False))
            return
        was_empty = self.is_empty
        now = _now()
        variables = contextvars.copy_context()
        for job in jobs:
            attempt = Attempt(self._environment, job, now, variables)
            if not self._runs.follows(attempt, now):
                self._ready.append(attempt)
            if job.crashes:
                self._suspect(job)
        if self._ready:
            self._empty.clear()
            if was_empty:
                self._prefetch.rested(now - self._empty_since)
        self._hand_out()

    def pause_queue(self, queue: str) -> None:
        """A queue is paused: give back what has not begun of it, and what follows that in a lock."""
        self._pause(lambda job: job.queue == queue)

    def pause_task(self, task_name: str) -> None:
        """Likewise a task."""
        self._pause(lambda job: job.task_name == task_name)

    def _pause(self, is_paused: Callable[[Job], bool]) -> None:
        if self._claim_in_flight():
            self._paused_meanwhile.append(is_paused)
        ready, self._ready = self._ready, deque()
        for attempt in ready:
            if is_paused(attempt.job):
                self._release([attempt, *self._runs.end(attempt.job)])
            else:
                self._ready.append(attempt)
        self._release(self._runs.behind(is_paused))
        if len(self._ready) < len(ready):
            self._check_empty()
            self._hand_out()
            self._on_freed()

    def written(self, outcomes: Sequence[Outcome]) -> None:
        """Outcomes were written, which may be what jobs waited for to begin."""
        if self._results:
            for outcome in outcomes:
                job = self._results.pop((outcome.job_id, outcome.claim), None)
                if job is not None:
                    self._follow(job, _now())
        if self._ready:
            self._hand_out()

    def committed(self, attempt: Attempt, outcome: Outcome, seconds: float) -> None:
        """A job's own transaction wrote its end: what follows it in its lock need not wait for the rest."""
        if attempt.job.lock is not None:
            self._follow(attempt.job, _now())
        self._on_committed(outcome, seconds)
        self._hand_out()

    def ended(self, slot: Slot, attempt: Attempt, decision: Decision) -> None:
        """Take a slot back that has done its job."""
        now = _now()
        self._busy.discard(slot)
        self._idle.append(slot)
        self._prefetch.ended(now - attempt.started_at, now)
        self._end(attempt, decision, now)
        self._suspicion.forget(attempt.job)
        if attempt.job.lock is not None and not decision.written:
            self._go_on(attempt.job, decision.outcome, now)
        self._hand_out()
        self._on_freed()
        if self.is_empty:
            self._empty_since = now
            self._empty.set()

    def held(self, worker_id: int) -> dict[tuple[int, int], Attempt]:
        """What is ready or running and was claimed by a worker, by job and claim.

        Args:
            worker_id: This worker's id; attempts by a former id of it may be under way still.
        """
        return {
            (attempt.job.id, attempt.job.claim): attempt
            for attempt in (*self._under_way(), *self._ready, *self._runs)
            if attempt.job.worker_id == worker_id
        }

    def jobs_of(self, task: "asyncio.Task[object] | None") -> list[Job]:
        """The job whose attempt is a task of the event loop; or all that it may belong to, as its child.

        May be called in any thread.
        """
        attempts = self._under_way()
        own = [attempt for attempt in attempts if attempt.is_in(task)]
        return [attempt.job for attempt in own or attempts]

    def lose(self, attempt: Attempt) -> None:
        """Give up a job that is another worker's by now."""
        if attempt in self._ready:
            self._ready.remove(attempt)
            self._suspicion.forget(attempt.job)
            self._release(self._runs.end(attempt.job))
            self._check_empty()
        elif not self._runs.remove(attempt):
            attempt.abort(AbortReason.LOST)

    def let_go(self) -> None:
        """Others are about to have these jobs: give back what has not begun, and abort what runs."""
        self._give_back()
        self.abort(AbortReason.OVERDUE)

    # Stopping

    def stop(self) -> None:
        """Start nothing more, and give back what has not begun."""
        self._stopping = True
        self._give_back()

    def abort(self, reason: AbortReason) -> None:
        """Ask everything that runs to abort."""
        for attempt in (*self._under_way(), *self._ready, *self._runs):
            attempt.abort(reason)

    async def drain(self) -> None:
        """Wait until nothing is ready or running."""
        await self._empty.wait()

    def give_up(self) -> None:
        """Leave what runs behind: its jobs go back into the queue, whatever it does from now on."""
        for slot in self._busy:
            if (attempt := slot.clear()) is not None:
                self._end(attempt, attempt.release(), _now())
                attempt.abort(AbortReason.SHUTDOWN)
        self._busy.clear()
        self._empty.set()

    async def close(self) -> None:
        """End the processes, and let go of the threads; those that still run a task end with it."""
        if self._impatient is not None:
            self._impatient.cancel()
        await self._environment.processes.close_async()
        self._environment.thread_pool.shutdown(wait=False)

    # Inside

    def _end(self, attempt: Attempt, decision: Decision, now: float) -> None:
        if decision.outcome is not None and not decision.written:
            self._ended(decision.outcome)
        telemetry, kind = self._environment.app.telemetry, JOB_ENDED[decision.ending]
        if telemetry.wants(kind):
            telemetry.emit(
                kind(
                    worker_name=self._environment.options.name,
                    job=attempt.job,
                    outcome=decision.outcome,
                    error=decision.error,
                    seconds=now - attempt.started_at,
                )
            )

    def _without_paused(self, jobs: Sequence[Job]) -> list[Job]:
        paused, self._paused_meanwhile = self._paused_meanwhile, []
        kept: list[Job] = []
        # One of a lock that goes back is before those that come next in it.
        locks: set[str] = set()
        for job in jobs:
            if job.lock in locks or any(is_paused(job) for is_paused in paused):
                locks.update([job.lock] if job.lock is not None else [])
                self._ended(released(job, started=False))
            else:
                kept.append(job)
        return kept

    def _under_way(self) -> list[Attempt]:
        # A copy, as another thread may ask.
        attempts = [slot.attempt for slot in tuple(self._busy)]
        return [attempt for attempt in attempts if attempt is not None]

    def _hand_out(self) -> None:
        if self._stopping or self._is_overdue():
            self._give_back()
            return
        suspicion = self._suspicion
        if suspicion.suspect is not None:
            # The others may run elsewhere meanwhile.
            self._give_back(all_but=suspicion.suspect)
            if self._ready and suspicion.may_suspect_begin(len(self._busy), _now()):
                self._begin_next()
            return
        while self._idle and self._ready:
            if suspicion.is_careful and not suspicion.may_begin(len(self._busy), _now()):
                return
            self._begin_next()
        if (
            (self._ready or len(self._runs))
            and self._impatient is None
            and self._prefetch.fixed is None
        ):
            self._lose_patience_after(self._started)

    def _suspect(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        if self._suspicion.see(job, loop.time()):
            self._environment.app.telemetry.emit(JobSuspected(job=job))
            loop.call_later(LONGEST_WAIT, lambda: self.written(()))

    def _begin_next(self) -> None:
        slot = self._idle.pop()
        self._busy.add(slot)
        slot.run(self._ready.popleft())
        self._started += 1

    def _go_on(self, job: Job, outcome: Outcome | None, now: float) -> None:
        """Begin with what follows a job in its lock; if that is to run again, give it back."""
        if outcome is None or outcome.status is JobStatus.TODO:
            self._release(self._runs.end(job))
        elif outcome.result is not None and self._runs.has_next(job):
            # For the next one to read.
            self._results[job.id, job.claim] = job
        else:
            self._follow(job, now)

    def _follow(self, job: Job, now: float) -> None:
        if (attempt := self._runs.next(job, now)) is not None:
            self._ready.appendleft(attempt)

    def _lose_patience_after(self, started: int) -> None:
        # Only if not one of the ready has begun meanwhile; else the queue moves, and they will too.
        def check() -> None:
            self._impatient = None
            if self._suspicion.suspect is not None:
                return
            if self._ready and self._started == started:
                self._prefetch.misjudged()
                self._give_back()
            else:
                self._release(self._runs.waiting_since(_now() - _PATIENCE))
                self._check_empty()
            if self._ready or len(self._runs):
                self._lose_patience_after(self._started)

        self._impatient = asyncio.get_running_loop().call_later(_PATIENCE, check)

    def _give_back(self, *, all_but: Job | None = None) -> None:
        self._release(self._runs.waiting_since(_now()))
        ready, self._ready = self._ready, deque()
        for attempt in ready:
            if attempt.job is all_but:
                self._ready.append(attempt)
            else:
                self._runs.end(attempt.job)
                self._release([attempt])
        self._check_empty()

    def _release(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._suspicion.forget(attempt.job)
            self._ended(released(attempt.job, started=False))

    def _check_empty(self) -> None:
        if self.is_empty:
            self._empty.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
