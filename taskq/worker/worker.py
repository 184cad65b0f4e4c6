"""The worker itself: starts its services, and stops them in the right order."""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Generic

from sqlalchemy import Connection

from taskq import queries
from taskq.context import AbortReason
from taskq.escaping import get_logger
from taskq.job import FailedAttempt, Job, JobStatus
from taskq.outcome import Outcome
from taskq.queries.workers import RegisteredWorker
from taskq.retention import kept_for
from taskq.worker.app import AppT
from taskq.worker.attempt import AttemptEnvironment
from taskq.worker.canceller import Canceller
from taskq.worker.completer import Completer
from taskq.worker.connections import WorkerConnections
from taskq.worker.executor_pool import ExecutorPool, locks_of
from taskq.worker.heartbeat import Heartbeat
from taskq.worker.loop_monitor import LoopMonitor
from taskq.worker.notifier import Notifier
from taskq.worker.options import WorkerOptions
from taskq.worker.periodic_enqueuer import PeriodicEnqueuer
from taskq.worker.producer import Producer
from taskq.worker.pruner import Pruner
from taskq.worker.registration import Registration
from taskq.worker.rescuer import Rescuer
from taskq.worker.scheduler import Scheduler
from taskq.worker.service import Service
from taskq.worker.thread_pool import DaemonThreadPool
from taskq.worker.unknown_names import UnknownNames

logger: Final = get_logger("taskq.worker")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# How long a worker that stops tries to write what became of its jobs, and one that is told twice. Of that,
# for how long it goes on with a statement under way: a new connection may have more luck.
_LAST_WORDS = 10.0  # seconds
_LAST_WORDS_IN_A_HURRY = 3.0  # seconds
_LAST_STATEMENT = 3.0  # seconds

# At most so often a server is asked whether what it would tell still comes through.
_PING_EVERY = 1.0  # seconds


class _NotRegisteredError(Exception):
    """The worker is not registered where a connection leads to."""


class Worker(Generic[AppT]):
    """A process that serves queues: takes jobs, runs them, waits for more.

    ``App.worker`` makes it, ``await run()`` runs it, once.

    Args:
        app: Whose tasks and database.
        options: What it does, and how.
    """

    def __init__(self, app: AppT, options: WorkerOptions) -> None:
        self.app = app
        self.options = options
        self.id: int = 0  # until it is registered
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._leaving = asyncio.Event()
        self._broken: BaseException | None = None
        self._heartbeat: Heartbeat | None = None
        environment = AttemptEnvironment(
            app=app,
            worker=self,
            options=options,
            thread_pool=DaemonThreadPool(options.concurrency),
            task_middlewares=options.task_middlewares,
            worker_middlewares=options.worker_middlewares,
            failed_attempts=self.failed_attempts,
        )
        self._executor_pool = ExecutorPool(
            environment,
            worker_id=lambda: self.id,
            ended=self._on_ended,
            freed=self._on_freed,
            overdue=self._is_overdue,
            unwritten=lambda: self._completer.unwritten,
            claim_in_flight=lambda: self._producer.in_flight,
        )

    @property
    def has_left(self) -> bool:
        """Whether it was told twice to stop: threads may still run tasks that it left behind."""
        return self._leaving.is_set()

    @property
    def running_jobs(self) -> Sequence[Job]:
        """The jobs that it runs at this moment; may be asked in any thread."""
        return self._executor_pool.jobs_of(None)

    def stop(self) -> None:
        """Ask the worker to stop, from any thread, task or middleware.

        It claims nothing more, gives back what has not begun, and finishes what runs. Asked again, it
        leaves at once: what runs goes back into the queue, and is run again by another worker.
        """
        if self._loop is None:
            self._stop()
        else:
            # The event loop may be closed: then nothing is left to stop.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop)

    async def failed_attempts(self, job: Job) -> Sequence[FailedAttempt]:
        """Read why earlier attempts of a job failed, the first one first; waits for the database."""
        return await self._connections.shared.retry(queries.job_list.list_failed_attempts, job.id)

    async def run(self) -> None:
        """Run until stopped, or with ``wait=False`` until no job is left for it.

        Cancelling the task that runs this stops the worker as ``stop`` does.

        Raises:
            SchemaNotApplied: The database has not the schema that this version of taskq needs.
            SchemaTooNew: A newer version of taskq has taken away what this one needs.
            MigrationEdited: The schema is not the one that this version of taskq knows.
            DatabaseUnavailable: The database does not answer when the worker starts. Later that is
                only a bad moment.
        """
        self._loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._run())
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                if task.done():
                    break
                cancelled = error
                self._stop()
            except BaseException:
                break
        if cancelled is not None and not task.cancelled() and task.exception() is None:
            raise cancelled
        task.result()

    async def _run(self) -> None:
        # Rather than fail one job after the other on what the schema lacks.
        await self.app.schema_manager.check_async()
        with self._signals():
            await self._work()
        if self._broken is not None:
            raise self._broken

    async def _work(self) -> None:
        options = self.options
        self._connections = connections = WorkerConnections(
            self.app.database, options, check=self._check_registration
        )
        self._registration = registration = await self._register()

        # The services that take from one another.
        self._completer = Completer(connections.completions, registration, written=self._on_written)
        self._producer = Producer(
            connections.claims,
            registration,
            polling_interval=options.fetch_job_polling_interval,
            capacity=self._executor_pool.capacity,
            deliver=self._on_claimed,
        )
        self._scheduler = Scheduler(
            connections.shared,
            registration,
            polling_interval=options.fetch_job_polling_interval,
            due=self._producer.wake,
        )
        canceller = Canceller(
            connections.shared,
            registration,
            polling_interval=options.abort_job_polling_interval,
            producer=self._producer,
            executor_pool=self._executor_pool,
            completer=self._completer,
        )

        def on_overdue(overdue: bool) -> None:
            if overdue:
                self._executor_pool.let_go()
            else:
                canceller.wake()
                self._producer.wake()

        monitor = LoopMonitor(registration, jobs_of=self._executor_pool.jobs_of)

        def obstacle() -> str | None:
            if monitor.blocked_for > options.blocked_loop_timeout:
                return (
                    "its event loop has not turned for longer than "
                    f"blocked_loop_timeout={options.blocked_loop_timeout:g} s"
                )
            if self._completer.failing_for > options.stalled_worker_timeout:
                return (
                    "it has not been able to write how jobs ended for longer than "
                    f"stalled_worker_timeout={options.stalled_worker_timeout:g} s"
                )
            return None

        self._heartbeat = heartbeat = Heartbeat(
            connections.heartbeat,
            registration,
            concurrency=options.concurrency,
            interval=options.update_heartbeat_interval,
            overdue_after=options.overdue_after,
            monitor=monitor,
            obstacle=obstacle,
            overdue=on_overdue,
            registered=self._on_registered,
        )
        rescuer = Rescuer(
            connections.shared,
            registration,
            interval=options.update_heartbeat_interval,
            stalled_after=options.stalled_worker_timeout,
            max_crashes=options.max_crashes,
            overdue=self._is_overdue,
        )
        notifier = None
        if options.listen_notify and self._can_listen():
            notifier = Notifier(
                connections.notifications,
                registration,
                ping_interval=max(
                    min(options.fetch_job_polling_interval, options.server_bound), _PING_EVERY
                ),
                producer=self._producer,
                scheduler=self._scheduler,
                canceller=canceller,
            )

        periodic_enqueuer = PeriodicEnqueuer(
            connections.shared,
            registration,
            periodics=self.app.periodics,
            max_delay=self.app.max_delay,
        )
        wakers: list[Service] = [
            UnknownNames(
                connections.shared,
                queues=options.queues,
                task_queues={task.queue for task in self.app.tasks.values()},
            ),
            periodic_enqueuer,
            Pruner(connections.pruning, registration, kept=kept_for(options.retention)),
            self._scheduler,
            *([notifier] if notifier else []),
        ]
        try:
            for service in (heartbeat, rescuer, self._completer, canceller, *wakers):
                service.start(self._on_broken)
            if not options.wait:
                await self._scheduler.promote()
            self._producer.start(self._on_broken)
            await self._stopping.wait()
            logger.info(
                "worker %s stops",
                self.id,
                extra={"action": "worker_stopping", "worker_id": self.id},
            )
            await asyncio.gather(*(service.stop() for service in wakers))
            await self._finish()
        finally:
            services = (self._producer, *wakers, canceller, rescuer, self._completer)
            await asyncio.gather(*(service.stop() for service in services))
            self._executor_pool.close()
            await heartbeat.stop()
            await connections.close()
        logger.info(
            "worker %s has stopped",
            self.id,
            extra={"action": "worker_stopped", "worker_id": self.id},
        )

    async def _register(self) -> Registration:
        options, connection = self.options, self._connections.shared
        try:
            row = await connection.run(
                queries.workers.register_worker, options.name, options.queues, options.concurrency
            )
            self.id = row.id
            registration = Registration(options.name, options.queues, row)
            registration.see_peers(
                await connection.run(queries.workers.list_peers, options.stalled_worker_timeout)
            )
        except BaseException:
            await self._connections.close()
            raise
        logger.info(
            "worker %s (%s) has started, for %s",
            self.id,
            options.name,
            "all queues" if options.queues is None else f"queues {options.queues}",
            extra={"action": "worker_started", "worker_id": self.id},
        )
        return registration

    # Stopping

    async def _finish(self) -> None:
        self._executor_pool.stop()
        claimed = asyncio.create_task(self._producer.end())
        drained = await self._unless_leaving(
            self._executor_pool.drain(), self.options.shutdown_graceful_timeout
        )
        if not drained and not self._leaving.is_set():
            self._executor_pool.abort(AbortReason.SHUTDOWN)
            await self._unless_leaving(self._executor_pool.drain())
        written = not self._leaving.is_set() and await self._unless_leaving(
            self._write_the_rest(claimed), _LAST_WORDS
        )
        if not written and self._leaving.is_set():
            self._executor_pool.give_up()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_IN_A_HURRY):
                    await self._write_the_rest(claimed)
                    written = True
        if not written:
            logger.warning(
                "worker %s leaves, and the ends of some jobs could not be written: another worker "
                "will run them again",
                self.id,
                extra={"action": "worker_left_early", "worker_id": self.id},
            )

    async def _write_the_rest(self, claimed: asyncio.Task[None]) -> None:
        self._completer.hurry(_LAST_STATEMENT)
        # What a claim under way brings goes back as well.
        await asyncio.wait([claimed])
        await self._completer.flush()

    async def _unless_leaving(
        self, awaited: Coroutine[Any, Any, None], seconds: float | None = None
    ) -> bool:
        """Wait for something; False if its time is over first, or the worker is to leave at once."""
        done = asyncio.create_task(awaited)
        leaving = asyncio.create_task(self._leaving.wait())
        await asyncio.wait([done, leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not done.done():
            done.cancel()
            return False
        return True

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._leaving.set()
        self._stopping.set()
        if self._heartbeat is not None:
            self._heartbeat.tell_of_stop()
        # Now, and not when the loop comes round to it: what runs could end before, and another job begin.
        self._executor_pool.stop()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handled = (
            self.options.install_signal_handlers
            and threading.current_thread() is threading.main_thread()
        )
        before = {number: signal.getsignal(number) for number in _SIGNALS} if handled else {}
        for number in before:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                # None: one that Python does not know, and cannot put back.
                if handler is not None:
                    signal.signal(number, handler)

    # What the services tell one another

    def _can_listen(self) -> bool:
        if not self.app.database.pooler or self.options.listen_database:
            return True
        logger.warning(
            "worker %s hears of nothing through a pooler, and looks for jobs every %g s: name the server "
            "itself in listen_database, or say listen_notify=False",
            self.id,
            self.options.fetch_job_polling_interval,
            extra={"action": "worker_only_polls", "worker_id": self.id},
        )
        return False

    def _is_overdue(self) -> bool:
        return self._heartbeat is not None and self._heartbeat.is_overdue

    def _check_registration(self, connection: Connection) -> None:
        # Else the worker would claim as one that is not there; or, in an earlier state of the database, what
        # it has claimed before and runs.
        if not queries.workers.is_registered(connection, self._registration.row):
            if self._heartbeat is not None:
                self._heartbeat.beat_soon()
            raise _NotRegisteredError("this worker is not registered any more")

    def _on_registered(self, registration: RegisteredWorker) -> None:
        self._registration.register(registration)
        self.id = registration.id

    def _on_claimed(self, jobs: Sequence[Job]) -> None:
        self._executor_pool.deliver(jobs)
        if not jobs:
            self._end_if_dry()

    def _on_ended(self, outcome: Outcome) -> None:
        self._completer.add(outcome)

    def _on_freed(self) -> None:
        self._producer.more_capacity()

    def _on_written(self, outcomes: Sequence[Outcome]) -> None:
        self._executor_pool.written()
        locks = locks_of(outcomes)
        if locks and (
            self._stopping.is_set()
            or self.options.queues is not None
            or not self._executor_pool.capacity()
        ):
            self._completer.announce(locks)
        if locks or any(outcome.status is JobStatus.TODO for outcome in outcomes):
            self._producer.wake()
        if not self.options.wait:
            self._producer.wake()

    def _end_if_dry(self) -> None:
        if (
            not self.options.wait
            and self._executor_pool.is_empty
            and self._completer.is_empty
            and not self._producer.is_pending
        ):
            self._stopping.set()

    def _on_broken(self, error: BaseException) -> None:
        logger.critical(
            "a service of worker %s broke, which is a bug of taskq: the worker leaves at once",
            self.id,
            exc_info=error,
            extra={"action": "worker_broken", "worker_id": self.id},
        )
        self._broken = error
        # Without a heartbeat others would run its jobs too, and without completions nothing ends.
        self._leaving.set()
        self._stop()
