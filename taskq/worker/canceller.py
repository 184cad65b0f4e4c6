"""Canceller: what runs here and is to be aborted, or is not this worker's any more.

It moves nothing itself: it asks attempts to abort, and gives back what the database thinks this worker
has, and it has not. It may act as long as anything runs.
"""

from taskq import queries
from taskq.context import AbortReason
from taskq.job import JobStatus
from taskq.outcome import Outcome
from taskq.telemetry import JobTaken, Telemetry
from taskq.worker.completer import Completer
from taskq.worker.connection import WorkerConnection
from taskq.worker.executor_pool import ExecutorPool
from taskq.worker.producer import Producer
from taskq.worker.registration import Registration
from taskq.worker.service import Service, Wakeup

# A job that is to be aborted before its claim has been answered is here after this time.
_ON_ITS_WAY = 0.05  # seconds


class Canceller(Service):
    """Compares what the database says of this worker's jobs with what it has in hand.

    Args:
        connection: A connection, which may be shared.
        registration: Whose jobs.
        polling_interval: Seconds between two checks, unless it is notified.
        producer: Whose claims may be under way.
        executor_pool: What is in hand.
        completer: Where ended attempts wait to be written.
        telemetry: Told of jobs that are not its own any more.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        polling_interval: float,
        producer: Producer,
        executor_pool: ExecutorPool,
        completer: Completer,
        telemetry: Telemetry,
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._polling_interval = polling_interval
        self._producer = producer
        self._executor_pool = executor_pool
        self._completer = completer
        self._telemetry = telemetry
        self._wakeup = Wakeup()
        # How many claims there had been when each was first seen.
        self._strays: dict[tuple[int, int], int] = {}
        self._too_early = False

    def wake(self) -> None:
        """Check now."""
        self._wakeup.set()

    async def loop(self) -> None:
        """Check, and wait until it is time to check again."""
        while True:
            await self._wakeup.wait(
                min(_ON_ITS_WAY, self._polling_interval)
                if self._too_early
                else self._polling_interval
            )
            await self._check()

    async def _check(self) -> None:
        worker_id = self._registration.id
        before = self._executor_pool.held(worker_id)
        in_flight, claims = self._producer.in_flight, self._producer.runs
        doing = await self._connection.retry(queries.job_finish.list_doing_jobs, worker_id)
        claims_by_now = self._producer.runs
        if worker_id != self._registration.id:
            # The worker has registered again, and let those jobs go.
            self._strays = {}
            return
        held = self._executor_pool.held(worker_id)
        for key, attempt in held.items():
            if key in doing and doing[key].abort_requested:
                attempt.abort(AbortReason.USER_REQUEST)
            # Its own transaction may have ended it in between.
            elif key in before and key not in doing and not attempt.is_ending:
                self._telemetry.emit(JobTaken(job=attempt.job))
                self._executor_pool.lose(attempt)
        strays = {
            key for key in doing if key not in held and not self._completer.holds(worker_id, *key)
        }
        quiet = not in_flight and not self._producer.in_flight
        for key in strays & self._strays.keys():
            # Seen twice, and no claim can bring it any more: the answer of one was lost with its connection.
            if quiet or claims > self._strays[key]:
                job_id, claim = key
                self._completer.add(
                    Outcome(
                        job_id=job_id,
                        claim=claim,
                        worker_id=worker_id,
                        status=JobStatus.TODO,
                        held_lock=doing[key].lock,
                        keeps_attempt=True,
                        unstarted=True,
                    )
                )
        self._strays = {key: self._strays.get(key, claims_by_now) for key in strays}
        self._too_early = any(doing[key].abort_requested for key in strays)
