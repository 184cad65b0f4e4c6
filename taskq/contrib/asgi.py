"""An app within an ASGI application: FastAPI, Starlette, Litestar, or any other that has a lifespan.

Nothing is imported of any of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar, Unpack

from taskq.app import App
from taskq.database.executor import AnyConnection
from taskq.exceptions import InvalidOption
from taskq.task import Task
from taskq.task_deferrer import TaskDeferrer, WaitOptions
from taskq.telemetry import WorkerStarted
from taskq.worker import Worker
from taskq.worker.options import WorkerArguments, WorkerOptions

P = ParamSpec("P")
R = TypeVar("R")
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    app: App,
    *,
    worker: bool = False,
    within: Lifespan | None = None,
    **options: Unpack[WorkerArguments],
) -> Lifespan:
    """Make a lifespan that closes the app's connections with the server, and may run a worker until then.

    ``FastAPI(lifespan=lifespan(app))``, ``Starlette(lifespan=…)`` or ``Litestar(lifespan=[…])``.

    The worker takes no signals, which are the server's. When the server stops, it claims no more and waits
    for the jobs that run; ``shutdown_graceful_timeout`` says for how long, before it aborts them.
    What the task of the lifespan is cancelled by stops the worker as well.

    Args:
        app: The app.
        worker: Whether to run a worker in the server's event loop, beside its requests.
        within: A lifespan of the application's own: entered while the app is open and the worker runs, and
            left before they end. What it yields is handed on.
        **options: Those of the worker; see ``App.run_worker``.

    Returns:
        A function of the ASGI application that makes an async context manager. To enter it raises what kept
        the worker from starting, as a missing schema does; what ended it later is raised when it is left.

    Raises:
        InvalidOption: An option no worker can have; or one is given, and no worker is to run.
    """
    if options and not worker:
        raise InvalidOption(
            f"lifespan() has options of a worker ({', '.join(options)}) and runs none: give worker=True"
        )
    served: WorkerArguments = {**options, "install_signal_handlers": False}
    # Here, and not only when the server starts.
    WorkerOptions.of(served)

    @asynccontextmanager
    async def entered(web: Any) -> AsyncIterator[Any]:
        async with (
            app.open_async(),
            _running(app.worker(**served)) if worker else nullcontext(),
            within(web) if within is not None else nullcontext() as state,
        ):
            yield state

    return entered


@asynccontextmanager
async def _running(worker: Worker[App]) -> AsyncIterator[None]:
    started = asyncio.Event()
    unsubscribe = worker.app.telemetry.subscribe(WorkerStarted, lambda _: started.set())
    run = asyncio.create_task(worker.run(), name="taskq worker")
    starting = asyncio.create_task(started.wait())
    try:
        await asyncio.wait([run, starting], return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            run.result()
        yield
    finally:
        unsubscribe()
        starting.cancel()
        worker.stop()
        await run


class InTransaction:
    """Defers jobs in the transaction of a session or connection, such as that of a request.

    As a dependency of FastAPI, where ``get_session`` is the one that makes the session::

        def in_transaction(session: Annotated[AsyncSession, Depends(get_session)]) -> InTransaction:
            return InTransaction(session)

        Deferring = Annotated[InTransaction, Depends(in_transaction)]

    Args:
        connection: As for ``Task.configure``: a session or connection of SQLAlchemy's or psycopg's.
    """

    def __init__(self, connection: AnyConnection) -> None:
        self._connection = connection

    def __call__(self, task: Task[P, R], **options: Unpack[WaitOptions]) -> TaskDeferrer[P, int, R]:
        """A deferrer for a task, whose jobs are there if the transaction commits, and only then.

        Args:
            task: The task.
            **options: As for ``Task.configure``.

        Raises:
            InvalidJob: An option no job can have.
            InvalidDatabase: What was given is no connection that can carry it.
        """
        return task.configure(**(options | {"connection": self._connection}))
