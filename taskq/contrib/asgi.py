"""In a web application on ASGI: FastAPI, Starlette, Litestar and their like.

``lifespan`` closes what the app has opened, and may run a worker in the server's process; ``Deferring``
defers in the request's session.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack

from taskq.app import App
from taskq.database.executor import AnyConnection, check_connection
from taskq.exceptions import InvalidOption
from taskq.task import Task
from taskq.task_deferrer import TaskDeferrer
from taskq.worker import Worker
from taskq.worker.options import WorkerArguments, WorkerOptions

P = ParamSpec("P")
R = TypeVar("R")


class _Lifespan(Protocol):
    """What a web framework takes as its lifespan, whatever its own application is."""

    def __call__(self, web: Any, /) -> AbstractAsyncContextManager[Any]: ...


def lifespan(
    app: App,
    *,
    worker: bool = False,
    inner: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None,
    **options: Unpack[WorkerArguments],
) -> _Lifespan:
    """Make the lifespan of a web application that defers jobs of an app, and may run them as well.

    At the end what the app has opened is closed. A worker begins when ``inner`` has begun, and has ended
    before that ends, so that tasks find what it opens. It leaves signals to the server: when that has
    answered its last request, the worker claims nothing more, gives back what has not begun, and what runs
    has ``shutdown_graceful_timeout`` seconds to finish, after which it is aborted, and tried again if its
    retry strategy says so.

    Args:
        app: The app.
        worker: Whether to run a worker in the server's process, beside the requests.
        inner: The web application's own lifespan; what it yields is yielded.
        **options: Options of the worker, as for ``App.run_worker``.

    Returns:
        What FastAPI and Starlette take as ``lifespan=``, and Litestar in ``lifespan=[…]``.

    Raises:
        InvalidOption: An option is unknown or makes no sense, or there are some and no worker.
    """
    if options and not worker:
        raise InvalidOption(
            f"lifespan() got {', '.join(options)} and no worker: say worker=True, or leave them out"
        )
    if options.get("install_signal_handlers"):
        raise InvalidOption(
            "lifespan() got install_signal_handlers=True: signals are the server's, which tells the worker "
            "to stop when it has answered its last request"
        )
    if options.get("wait") is False:
        raise InvalidOption(
            "lifespan() got wait=False: a worker that ends when no job is left has no place in a server, "
            "which goes on"
        )
    options["install_signal_handlers"] = False
    if worker:
        WorkerOptions.of(options, defaults=app.worker_defaults)  # refuses now what makes no sense

    @asynccontextmanager
    async def around(web: Any) -> AsyncIterator[Any]:
        async with app.open_async(), _entered(inner, web) as state:
            if worker:
                async with _running(app.worker(**options)):
                    yield state
            else:
                yield state

    return around


@asynccontextmanager
async def _entered(
    inner: Callable[[Any], AbstractAsyncContextManager[Any]] | None, web: Any
) -> AsyncIterator[Any]:
    if inner is None:
        yield None
    else:
        async with inner(web) as state:
            yield state


@asynccontextmanager
async def _running(worker: Worker[App]) -> AsyncIterator[None]:
    runs = asyncio.create_task(worker.run(), name="taskq_worker")
    started = asyncio.create_task(worker.started())
    try:
        await asyncio.wait([runs, started], return_when=asyncio.FIRST_COMPLETED)
        if runs.done():
            # The schema is not there, or the like: the server is not to start without it.
            await runs
        yield
    finally:
        started.cancel()
        worker.stop()
        await runs


class Deferring:
    """Defers jobs in the transaction of a session: they are there if it commits, and not if it does not.

    As in ``await deferring(send_receipt).defer_async(order_id=7)``.

    Args:
        connection: The session, or another connection, as ``configure(connection=…)`` takes it.

    Raises:
        InvalidDatabase: It is none that can carry jobs.
    """

    def __init__(self, connection: AnyConnection) -> None:
        check_connection(connection)
        self.connection: AnyConnection = connection

    def __call__(self, task: Task[P, R] | TaskDeferrer[P, int, R], /) -> TaskDeferrer[P, int, R]:
        """Make a deferrer of a task's jobs in the session.

        Args:
            task: The task; or ``task.configure(…)``, for jobs with options.
        """
        return task.configure(connection=self.connection)


def deferring_in(get_session: Callable[..., Any]) -> Callable[..., Deferring]:
    """Make a dependency of FastAPI's, for jobs in the session that another dependency gives to the request.

    As in ``Annotated[Deferring, Depends(deferring_in(get_session))]``. It is the session of the request
    itself, as FastAPI calls each dependency once for a request.

    Args:
        get_session: The dependency that gives the session.
    """
    from fastapi import Depends  # noqa: PLC0415 - whoever calls this has it

    def deferring(session: Any = Depends(get_session)) -> Deferring:  # noqa: B008 - as FastAPI has it
        return Deferring(session)

    return deferring
