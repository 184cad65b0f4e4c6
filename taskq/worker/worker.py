"""The worker itself: registers, runs its services, and stops when it is asked to."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic

from taskq import queries
from taskq.context import AbortReason
from taskq.job import FailedAttempt, Job
from taskq.queries.connection import Connection
from taskq.telemetry import (
    WorkerBroken,
    WorkerLeftEarly,
    WorkerServesHttp,
    WorkerStarted,
    WorkerStopped,
    WorkerStopping,
)
from taskq.worker.app import AppT
from taskq.worker.attempt_environment import AttemptEnvironment
from taskq.worker.connection import WorkerConnection
from taskq.worker.connections import WorkerConnections
from taskq.worker.options import WorkerOptions
from taskq.worker.process_pool.pool import ProcessPool
from taskq.worker.progress_reporter import ProgressBoard
from taskq.worker.registration import Registration
from taskq.worker.services import Services
from taskq.worker.thread_pool import DaemonThreadPool
from taskq.worker.transactions import Transactions

if TYPE_CHECKING:
    from taskq.worker.http.server import HttpServer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# How long a worker that stops tries to write what became of its jobs, and one that is asked twice. Of that,
# for how long it goes on with a statement under way: a new connection may have more luck.
_LAST_WORDS = 10.0  # seconds
_LAST_WORDS_IN_A_HURRY = 3.0  # seconds
_LAST_STATEMENT = 3.0  # seconds


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
        self._environment = AttemptEnvironment(
            app=app,
            worker=self,
            options=options,
            thread_pool=DaemonThreadPool(options.concurrency),
            processes=ProcessPool(app, options),
            task_middlewares=options.task_middlewares,
            worker_middlewares=options.worker_middlewares,
            failed_attempts=self.failed_attempts,
            transactions=Transactions(
                app, options, connections=lambda: self._connections, lock_written=self._lock_written
            ),
            progress=ProgressBoard(),
        )
        self._services: Services | None = None  # until it is registered
        self._http: HttpServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._leaving = asyncio.Event()
        self._asked = False
        self._broken: BaseException | None = None

    @property
    def id(self) -> int:
        """Its id in the database: 0 until it is registered, and another one if it had to register again."""
        return 0 if self._services is None else self._services.registration.id

    @property
    def has_left(self) -> bool:
        """Whether it was asked twice to stop: threads may still run tasks that it left behind."""
        return self._leaving.is_set()

    @property
    def http_address(self) -> tuple[str, int] | None:
        """The host and the port at which it answers by HTTP; None as long as it does not."""
        return None if self._http is None else self._http.address

    @property
    def running_jobs(self) -> Sequence[Job]:
        """The jobs that it runs at this moment; may be asked in any thread."""
        return () if self._services is None else self._services.executor_pool.jobs_of(None)

    def stop(self) -> None:
        """Ask the worker to stop, from any thread, task or middleware.

        It claims nothing more, gives back what has not begun, and finishes what runs. Asked again, it
        leaves at once: what runs goes back into the queue, and is run again by another worker.
        """
        self._in_loop(self._stop)

    @property
    def was_asked(self) -> bool:
        """Whether it was asked to stop, by ``stop`` or a signal; else it runs, or has ended by itself."""
        return self._asked

    def obey(self, *, leave: bool) -> None:
        """Stop, or leave at once, as a supervisor says, from any thread.

        It is not counted with what signals say: the supervisor passes on one that the worker may have got
        itself, as they are sent to whole groups of processes.
        """

        def begin() -> None:
            if leave:
                self._leaving.set()
            self._begin_to_stop()

        self._in_loop(begin)

    async def failed_attempts(self, job: Job) -> Sequence[FailedAttempt]:
        """Read why earlier attempts of a job failed, the first one first; waits for the database."""
        return await self._connections.shared.retry(queries.job_list.list_failed_attempts, job.id)

    async def _lock_written(self, lock: str) -> None:
        if self._services is not None:
            await self._services.completer.lock_written(lock)

    async def run(self) -> None:
        """Run until stopped, with ``wait=False`` until no job is left for it, or as far as ``max_jobs`` and
        ``max_seconds`` say.

        Cancelling the task that runs this stops the worker as ``stop`` does.

        Raises:
            SchemaNotApplied: The database has not the schema that this version of taskq needs.
            SchemaTooNew: A newer version of taskq has taken away what this one needs.
            MigrationEdited: The schema is not the one that this version of taskq knows.
            DatabaseUnavailable: The database does not answer when the worker starts. Later that is
                only a bad moment.
            EncryptionUnavailable: A task is encrypted, and the app has no keys.
            InvalidOption: ``http`` is an address that cannot be had; or a task asks for a process, and no
                module has the app.
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
        for task in self.app.tasks.values():
            task.check_keys()
        self._environment.processes.check()
        with self._signals():
            async with self._serving():
                await self._work()
        if self._broken is not None:
            raise self._broken

    async def _work(self) -> None:
        telemetry = self.app.telemetry

        def check(connection: Connection) -> None:
            services.check_registration(connection)

        self._connections = connections = WorkerConnections(
            self.app.database, self.options, telemetry=telemetry, check=check
        )
        try:
            registration = await self._register(connections.shared)
            self._services = services = Services(
                self._environment, connections, registration, self._stopping
            )
            try:
                await services.start(self._on_broken)
                with self._max_seconds():
                    await self._stopping.wait()
                telemetry.emit(WorkerStopping(worker_id=self.id))
                await services.stop_finding_work()
                await self._finish(services)
            finally:
                await services.stop()
        finally:
            await connections.close()
        telemetry.emit(WorkerStopped(worker_id=self.id))

    async def _register(self, connection: WorkerConnection) -> Registration:
        options = self.options
        row = await connection.run(
            queries.workers.register_worker, options.name, options.queues, options.concurrency
        )
        registration = Registration(options.name, options.queues, row)
        registration.see_peers(
            await connection.run(queries.workers.list_peers, options.stalled_worker_timeout)
        )
        self.app.telemetry.emit(
            WorkerStarted(
                worker_id=registration.id,
                worker_name=options.name,
                queues=options.queues,
                concurrency=options.concurrency,
            )
        )
        return registration

    # What it answers by HTTP, in another thread

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        if self.options.http is None:
            yield
            return
        # Not imported by those who do not ask for it.
        from taskq.worker.http.pages import pages  # noqa: PLC0415
        from taskq.worker.http.server import HttpServer  # noqa: PLC0415

        telemetry = self.app.telemetry
        self._http = http = HttpServer(
            self.options.http,
            pages(self.app, not_alive=self.why_not_alive, not_ready=self.why_not_ready),
            telemetry=telemetry,
        )
        http.start(self._on_broken)
        host, port = http.address
        telemetry.emit(WorkerServesHttp(worker_name=self.options.name, host=host, port=port))
        try:
            yield
        finally:
            await http.stop()
            self._http = None

    def why_not_alive(self) -> str | None:
        """Why it should be killed; None: it should not. May be asked in any thread."""
        return None if self._services is None else self._services.stalled

    def why_not_ready(self) -> str | None:
        """Why it runs no jobs at the moment; None: it does. May be asked in any thread."""
        services = self._services
        if self._stopping.is_set():
            return "it stops"
        if services is None:
            return "it is not registered yet"
        if services.stalled:
            return services.stalled
        if services.heartbeat.is_overdue:
            return "its heartbeat does not reach the database, so that others may take it for dead"
        if failing := self._connections.failing:
            return f"the database does not answer: {', '.join(failing)}"
        return None

    # Stopping

    async def _finish(self, services: Services) -> None:
        """Have what runs end, and what ended written, for as long as the worker may take."""
        pool = services.executor_pool
        pool.stop()
        claimed = asyncio.create_task(services.producer.end())

        async def write_the_rest() -> None:
            services.completer.hurry(_LAST_STATEMENT)
            # What a claim under way brings goes back as well.
            await asyncio.wait([claimed])
            await services.completer.flush()

        drained = await self._unless_leaving(pool.drain(), self.options.shutdown_graceful_timeout)
        if not drained and not self._leaving.is_set():
            pool.abort(AbortReason.SHUTDOWN)
            await self._unless_leaving(pool.drain())
        written = not self._leaving.is_set() and await self._unless_leaving(
            write_the_rest(), _LAST_WORDS
        )
        if not written and self._leaving.is_set():
            pool.give_up()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_IN_A_HURRY):
                    await write_the_rest()
                    written = True
        if not written:
            self.app.telemetry.emit(WorkerLeftEarly(worker_id=self.id))

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

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is None:
            call()
        else:
            # The event loop may be closed: then nothing is left to stop.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    def _stop(self) -> None:
        # A worker that has stopped by itself, as no job is left, is asked for the first time.
        if self._asked:
            self._leaving.set()
        self._asked = True
        self._begin_to_stop()

    def _begin_to_stop(self) -> None:
        self._stopping.set()
        if self._services is not None:
            self._services.tell_of_stop()

    @contextmanager
    def _max_seconds(self) -> Iterator[None]:
        if self.options.max_seconds is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(self.options.max_seconds, self._begin_to_stop)
        try:
            yield
        finally:
            timer.cancel()

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

    def _on_broken(self, error: BaseException) -> None:
        self._broken = error
        # Without a heartbeat others would run its jobs too, and without completions nothing ends.
        self._leaving.set()
        self._begin_to_stop()
        self.app.telemetry.emit(WorkerBroken(worker_id=self.id, error=error))
