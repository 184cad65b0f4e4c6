"""Counting: what telemetry tells becomes figures of this process."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from taskq.contrib.metrics import figures
from taskq.contrib.metrics.figures import Figure
from taskq.contrib.metrics.names import Names
from taskq.telemetry import (
    DatabaseFailed,
    JobEnded,
    JobRescued,
    JobsClaimed,
    JobsDeferred,
    JobStarted,
    OutcomesWritten,
    Telemetry,
    WorkerRegisteredAgain,
    WorkerStarted,
    WorkerStopped,
)


class Recorder(Protocol):
    """Where figures are kept; called in any thread."""

    def add(self, figure: Figure, amount: float, labels: tuple[str, ...] = ()) -> None:
        """A counter grows, or a gauge goes up or down."""
        ...

    def observe(self, figure: Figure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        """Something took so long."""
        ...


class Counting:
    """Subscribes to telemetry, and records what it tells.

    Args:
        telemetry: The app's.
        recorder: Where the figures are kept.
        names: Which queues and tasks are told apart.
    """

    def __init__(self, telemetry: Telemetry, recorder: Recorder, names: Names) -> None:
        self._recorder = recorder
        self._names = names
        # What has started since this began to count: an end without it is not subtracted.
        self._running: set[tuple[int, int]] = set()
        self._slots: dict[int, int] = {}
        self._lock = threading.Lock()
        self._unsubscribe: list[Callable[[], None]] = [
            telemetry.subscribe(JobsDeferred, self._deferred),
            telemetry.subscribe(JobStarted, self._started),
            telemetry.subscribe(JobEnded, self._ended),
            telemetry.subscribe(JobRescued, self._rescued),
            telemetry.subscribe(JobsClaimed, self._claimed),
            telemetry.subscribe(OutcomesWritten, self._written),
            telemetry.subscribe(DatabaseFailed, self._database_failed),
            telemetry.subscribe(WorkerStarted, self._worker_started),
            telemetry.subscribe(WorkerRegisteredAgain, self._worker_registered_again),
            telemetry.subscribe(WorkerStopped, self._worker_stopped),
        ]

    def close(self) -> None:
        """Count no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def _deferred(self, event: JobsDeferred) -> None:
        deferred = Counter(
            self._names.pair(job.queue_name, job.task_name)
            for job, job_id in zip(event.jobs, event.ids, strict=True)
            if job_id is not None
        )
        for labels, jobs in deferred.items():
            self._recorder.add(figures.DEFERRED, jobs, labels)

    def _started(self, event: JobStarted) -> None:
        job = event.job
        labels = self._names.pair(job.queue, job.task_name)
        self._recorder.add(figures.STARTED, 1, labels)
        self._recorder.observe(figures.WAIT_TIME, event.waited, labels)
        self._running.add((job.id, job.claim))
        self._recorder.add(figures.RUNNING_HERE, 1)

    def _ended(self, event: JobEnded) -> None:
        job = event.job
        labels = self._names.pair(job.queue, job.task_name)
        self._recorder.add(figures.ENDED, 1, (*labels, event.ending.value))
        self._recorder.observe(figures.RUN_TIME, event.seconds, labels)
        if (job.id, job.claim) in self._running:
            self._running.discard((job.id, job.claim))
            self._recorder.add(figures.RUNNING_HERE, -1)

    def _rescued(self, event: JobRescued) -> None:
        self._recorder.add(figures.RESCUED, 1, self._names.pair(event.queue, event.task_name))

    def _claimed(self, event: JobsClaimed) -> None:
        self._recorder.observe(figures.CLAIM_TIME, event.seconds)

    def _written(self, event: OutcomesWritten) -> None:
        self._recorder.observe(figures.WRITE_TIME, event.seconds)

    def _database_failed(self, event: DatabaseFailed) -> None:
        self._recorder.add(figures.DATABASE_FAILURES, 1, (event.purpose,))

    def _worker_started(self, event: WorkerStarted) -> None:
        with self._lock:
            self._slots[event.worker_id] = event.concurrency
        self._recorder.add(figures.SLOTS_HERE, event.concurrency)

    def _worker_registered_again(self, event: WorkerRegisteredAgain) -> None:
        with self._lock:
            if (slots := self._slots.pop(event.former_worker_id, None)) is not None:
                self._slots[event.worker_id] = slots

    def _worker_stopped(self, event: WorkerStopped) -> None:
        with self._lock:
            slots = self._slots.pop(event.worker_id, 0)
        self._recorder.add(figures.SLOTS_HERE, -slots)
