"""The services of a worker: made in one place, with what each calls when something happens to it."""

import asyncio
from collections.abc import Callable, Sequence

from taskq import queries
from taskq.database.database import Database
from taskq.job import Job, JobStatus
from taskq.outcome import Outcome
from taskq.queries.connection import Connection
from taskq.queries.job_progress import progress_json
from taskq.retention import kept_for
from taskq.telemetry import OutcomesWritten, WorkerOnlyPolls
from taskq.worker.attempt_environment import AttemptEnvironment
from taskq.worker.canceller import Canceller
from taskq.worker.completer import Completer
from taskq.worker.connections import WorkerConnections
from taskq.worker.executor_pool import ExecutorPool
from taskq.worker.heartbeat import Heartbeat
from taskq.worker.limit_declarer import LimitDeclarer
from taskq.worker.loop_monitor import LoopMonitor
from taskq.worker.periodic_enqueuer import PeriodicEnqueuer
from taskq.worker.producer import Producer
from taskq.worker.progress_reporter import ProgressReporter
from taskq.worker.pruner import Pruner
from taskq.worker.registration import Registration
from taskq.worker.rescuer import Rescuer
from taskq.worker.scheduler import Scheduler
from taskq.worker.service import Service
from taskq.worker.silence_monitor import SilenceMonitor
from taskq.worker.subscriber import Subscriber
from taskq.worker.unknown_names import UnknownNames

# At most so often the server is asked whether its notifications still arrive.
_PING_EVERY = 1.0  # seconds


class _NotRegisteredError(Exception):
    """The worker is not registered where a connection leads to."""


class Services:
    """What a registered worker consists of.

    Jobs go from ``producer`` to ``executor_pool``, and how they ended to ``completer``. The other services
    find more to do, or keep the worker and its jobs going until the last outcome is written.

    Args:
        environment: What the attempts share; with the app and the options of the worker.
        connections: Those of the worker.
        registration: Who the worker is.
        stopping: Set when the worker is to stop. It is set here with ``wait=False``, once no job is left, and
            with ``max_jobs``, once so many have ended.
    """

    def __init__(
        self,
        environment: AttemptEnvironment,
        connections: WorkerConnections,
        registration: Registration,
        stopping: asyncio.Event,
    ) -> None:
        app, options = environment.app, environment.options
        self._app = app
        self._telemetry = telemetry = app.telemetry
        self._connections = connections
        self._options = options
        self._progress = environment.progress
        self.registration = registration
        self._stopping = stopping
        self.executor_pool: ExecutorPool = ExecutorPool(
            environment,
            worker_id=lambda: registration.id,
            ended=self._on_ended,
            committed=self._on_committed,
            freed=self._on_freed,
            overdue=lambda: self.heartbeat.is_overdue,
            unwritten=lambda: self.completer.unwritten,
            claim_in_flight=lambda: self.producer.in_flight,
        )
        self.completer: Completer = Completer(
            connections.completions, registration, telemetry=telemetry, written=self._on_written
        )
        self.producer: Producer = Producer(
            connections.claims,
            registration,
            polling_interval=options.fetch_job_polling_interval,
            telemetry=telemetry,
            capacity=self.executor_pool.capacity,
            run_length=self.executor_pool.run_length,
            deliver=self._on_claimed,
        )
        self._monitor = LoopMonitor(
            registration, telemetry=telemetry, jobs_of=self.executor_pool.jobs_of
        )
        self.heartbeat: Heartbeat = Heartbeat(
            connections.heartbeat,
            registration,
            telemetry=telemetry,
            concurrency=options.concurrency,
            interval=options.update_heartbeat_interval,
            overdue_after=options.overdue_after,
            monitor=self._monitor,
            obstacle=self._obstacle,
            overdue=self._on_overdue,
            registered=registration.register,
        )
        rescuer = Rescuer(
            connections.shared,
            registration,
            telemetry=telemetry,
            interval=options.update_heartbeat_interval,
            stalled_after=options.stalled_worker_timeout,
            max_crashes=options.max_crashes,
            overdue=lambda: self.heartbeat.is_overdue,
        )
        self._canceller = Canceller(
            connections.shared,
            registration,
            polling_interval=options.abort_job_polling_interval,
            producer=self.producer,
            executor_pool=self.executor_pool,
            completer=self.completer,
            telemetry=telemetry,
        )
        unknown_names = UnknownNames(
            connections.shared,
            telemetry=telemetry,
            queues=options.queues,
            task_queues={task.queue for task in app.tasks.values()},
        )
        self._limit_declarer = LimitDeclarer(
            connections.shared,
            registration,
            telemetry=telemetry,
            interval=options.update_heartbeat_interval,
            limits=app.limits,
            queue_limits=app.queue_limits,
        )
        periodic_enqueuer = PeriodicEnqueuer(
            connections.shared,
            registration,
            telemetry=telemetry,
            periodics=app.periodics,
            max_delay=app.max_delay,
            defer_middleware=app.defer_middleware,
        )
        pruner = Pruner(
            connections.pruning, registration, telemetry=telemetry, kept=kept_for(options.retention)
        )
        self.scheduler: Scheduler = Scheduler(
            connections.shared,
            registration,
            polling_interval=options.fetch_job_polling_interval,
            due=self.producer.wake,
        )
        listening: list[Service] = []
        if options.listen_notify and self._can_listen(app.database):
            listening.append(
                Subscriber(
                    connections.listening.notifier,
                    registration,
                    telemetry=telemetry,
                    ping_interval=max(
                        min(options.fetch_job_polling_interval, options.server_bound), _PING_EVERY
                    ),
                    bound=options.statement_bound,
                    producer=self.producer,
                    scheduler=self.scheduler,
                    canceller=self._canceller,
                    paused_queue=self.executor_pool.pause_queue,
                    paused_task=self.executor_pool.pause_task,
                    connection=connections.shared,
                )
            )
        # In the order in which they start, and after them the producer. They stop in reverse.
        self._until_written: Sequence[Service] = (
            self.heartbeat,
            rescuer,
            self.completer,
            ProgressReporter(connections.shared, environment.progress),
            SilenceMonitor(
                connections.shared, environment.transactions, bound=options.statement_bound
            ),
            self._canceller,
        )
        self._until_stopping: Sequence[Service] = (
            unknown_names,
            self._limit_declarer,
            periodic_enqueuer,
            pruner,
            self.scheduler,
            *listening,
        )

    async def start(self, broken: Callable[[BaseException], None]) -> None:
        """Start all services, one after the other.

        Args:
            broken: Called with the error if one of them ends with one.
        """
        if self._stopping.is_set():
            # It was asked before it had them.
            self.executor_pool.stop()
        await self._limit_declarer.declare()
        await self._declare_subscriptions()
        for service in (*self._until_written, *self._until_stopping):
            service.start(broken)
        if not self._options.wait:
            # A claim that finds nothing may end the worker, so what is due has to be ready before.
            await self.scheduler.catch_up()
        self.producer.start(broken)

    async def stop_finding_work(self) -> None:
        """Stop what is of no use once the worker stops, except the producer, whose claim may be under way."""
        await _stop(self._until_stopping)

    async def stop(self) -> None:
        """Stop all that still runs: the heartbeat last, as the worker is unregistered with it."""
        heartbeat, *others = (*self._until_written, *self._until_stopping, self.producer)
        await _stop(others)
        await self.executor_pool.close()
        await heartbeat.stop()

    def tell_of_stop(self) -> None:
        """Begin no more jobs, and have others know that this worker stops."""
        self.heartbeat.tell_of_stop()
        # Now, and not when the loop comes round to it: what runs could end before, and another job begin.
        self.executor_pool.stop()

    def check_registration(self, connection: Connection) -> None:
        """Raise an error if the worker is not registered, as a connection sees it, and have it registered.

        Else the worker would claim as one that is not there; or, in an earlier state of the database, what it
        has claimed before and runs.
        """
        if not queries.workers.is_registered(connection, self.registration.row):
            self.heartbeat.beat_soon()
            raise _NotRegisteredError("this worker is not registered any more")

    async def _declare_subscriptions(self) -> None:
        # Once: what an operator removes while the worker runs stays removed.
        declared = [subscriber.declared for subscriber in self._app.subscribers]
        if declared:
            await self._connections.shared.retry(
                queries.subscriptions.declare_subscriptions,
                declared,
                declared_by=self.registration.name,
            )

    # What one service calls for another

    def _on_claimed(self, jobs: Sequence[Job]) -> None:
        self.executor_pool.deliver(jobs)
        if not jobs:
            self._stop_if_dry()

    def _on_ended(self, outcome: Outcome) -> None:
        progress = self._progress.take(outcome.job_id, outcome.claim)
        if progress is not None:
            outcome.progress = progress_json(progress)
        self.completer.add(outcome)

    def _on_committed(self, outcome: Outcome, seconds: float) -> None:
        # It went with the end.
        self._progress.take(outcome.job_id, outcome.claim)
        worker_id = outcome.worker_id or self.registration.id
        self._telemetry.emit(
            OutcomesWritten(worker_id=worker_id, outcomes=[outcome], seconds=seconds)
        )
        if outcome.held_lock is not None:
            self.completer.committed(outcome)
        else:
            self._on_written([outcome])

    def _on_freed(self) -> None:
        if self.executor_pool.is_done:
            self._stopping.set()
            return
        self.producer.more_capacity()
        if not self._options.wait and self.executor_pool.is_empty and self.completer.is_empty:
            # Nothing will be written that would have it look whether this was all.
            self.producer.wake()

    def _on_written(self, outcomes: Sequence[Outcome]) -> None:
        self.executor_pool.written(outcomes)
        locks = [
            outcome.held_lock
            for outcome in outcomes
            if outcome.held_lock is not None and not self.executor_pool.runs_lock(outcome.held_lock)
        ]
        limits = [outcome.held_limit for outcome in outcomes if outcome.held_limit is not None]
        if (locks or limits) and (
            self._stopping.is_set()
            or self._options.queues is not None
            or not self.executor_pool.capacity()
        ):
            self.completer.announce(locks, limits)
        if locks or limits or any(outcome.status is JobStatus.TODO for outcome in outcomes):
            self.producer.wake()
        if not self._options.wait:
            self.producer.wake()

    def _stop_if_dry(self) -> None:
        if (
            not self._options.wait
            and self.executor_pool.is_empty
            and self.completer.is_empty
            and not self.producer.is_pending
        ):
            self._stopping.set()

    def _on_overdue(self, overdue: bool) -> None:
        if overdue:
            self.executor_pool.let_go()
        else:
            self._canceller.wake()
            self.producer.wake()

    @property
    def stalled(self) -> str | None:
        """Why the worker will not go on by itself; None: it does. May be asked in any thread."""
        if self._monitor.blocked_for > self._options.blocked_loop_timeout:
            return (
                "its event loop has not turned for longer than "
                f"blocked_loop_timeout={self._options.blocked_loop_timeout:g} s"
            )
        return None

    def _obstacle(self) -> str | None:
        options = self._options
        if (stalled := self.stalled) is not None:
            return stalled
        if self.completer.failing_for > options.stalled_worker_timeout:
            return (
                "it has not been able to write how jobs ended for longer than "
                f"stalled_worker_timeout={options.stalled_worker_timeout:g} s"
            )
        return None

    def _can_listen(self, database: Database) -> bool:
        if not database.pooler or self._options.listen_database:
            return True
        interval = self._options.fetch_job_polling_interval
        self._telemetry.emit(WorkerOnlyPolls(worker_id=self.registration.id, interval=interval))
        return False


async def _stop(services: Sequence[Service]) -> None:
    await asyncio.gather(*(service.stop() for service in reversed(services)))
