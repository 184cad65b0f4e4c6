"""Child: what runs in the process of a task.

The main thread runs one call after the other; another one reads, so that a request to abort is seen while a
task runs, and that the process ends when its worker does, however that one ended. SIGINT and SIGTERM, which
go to whole groups of processes, do nothing: the worker decides.
"""

import logging
import os
import pickle
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from inspect import isawaitable, iscoroutine
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, NoReturn, Protocol, cast

from taskq.context import AbortReason, JobContext
from taskq.current_job import current_job
from taskq.exceptions import InvalidOption, InvalidSignature, InvalidTransaction
from taskq.import_path import import_named
from taskq.job import Job
from taskq.task import Task
from taskq.worker.app import WorkerApp
from taskq.worker.process_pool.crossing import pack_error, pack_record, pack_result
from taskq.worker.process_pool.messages import (
    Abort,
    Begun,
    Call,
    ContextValues,
    Ended,
    Reported,
    Setup,
)


class _ImportingApp(WorkerApp, Protocol):
    def perform_import_paths(self) -> None: ...


class _Forwarder(logging.Handler):
    """Sends each record to the worker, whose handlers take it."""

    def __init__(self, line: "_Line") -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._line.send(pack_record(record))
        except Exception:
            self.handleError(record)


class _Line:
    """The channel to the worker.

    Args:
        connection: This side of it.
    """

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        self.is_busy = False
        self.abort_reason: AbortReason | None = None

    def send(self, message: object) -> None:
        """Say something; to a worker that is gone, nothing."""
        with self._sending, suppress(OSError):
            self._connection.send(message)

    def read(self) -> None:
        """Read until the worker has gone."""
        with suppress(EOFError, OSError):
            while True:
                match self._connection.recv():
                    case Call() as call:
                        self.is_busy, self.abort_reason = True, None
                        self.calls.put(call)
                    case Abort(reason):
                        self.abort_reason = reason
        if self.is_busy:
            # Another worker runs the job again.
            os._exit(1)
        self.calls.put(None)


def main(connection: "Connection[Any, Any]", setup: Setup) -> None:
    """Run calls until the worker has gone."""
    # Not ignored: what a task starts would inherit that.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    line = _Line(connection)
    threading.Thread(target=line.read, name="taskq", daemon=True).start()
    _forward_log(line, setup)
    app: _ImportingApp | None = None
    while (call := line.calls.get()) is not None:
        line.send(Begun())
        try:
            if app is None:
                app = _import(setup, call.module)
                # What the modules have set up of it is the worker's, too, and done there.
                _forward_log(line, setup)
            ended = _run(app, call, line)
        except BaseException as error:
            ended = pack_error(error)
        line.is_busy = False
        line.send(ended)


def _import(setup: Setup, module: str) -> _ImportingApp:
    import_module(module)
    app = cast("_ImportingApp", import_named(setup.app_path))
    app.perform_import_paths()
    return app


def _run(app: _ImportingApp, call: Call, line: _Line) -> Ended:
    job = call.job
    task = app.tasks.get(job.task_name)
    if task is None:
        # Of a module that the worker has imported after the app.
        import_module(call.module)
        task = app.tasks.get(job.task_name)
    if task is None:
        raise app.not_found(job.task_name)
    arguments = task.arguments.load(call.stored, conceals=call.conceals)
    given = () if call.context is None else (_context(app, task, job, call.context, line),)
    token = current_job.set(job)
    try:
        returned = task.func(*given, **arguments)
    finally:
        current_job.reset(token)
    if isawaitable(returned):
        if iscoroutine(returned):
            returned.close()
        raise InvalidSignature(
            f"task {task.name!r} with executor='process' returned what is still to be awaited, as an async "
            "function under a plain decorator does: there is no event loop in its process, so call "
            "asyncio.run() in the task, or leave executor out"
        )
    return pack_result(returned)


def _context(
    app: WorkerApp, task: Task[..., Any], job: Job, values: ContextValues, line: _Line
) -> JobContext[WorkerApp, Task[..., Any], Any]:
    def refused() -> NoReturn:
        raise InvalidTransaction(
            f"job {job.id} ({task.name}) runs in a process of its own, and the worker's connection cannot be "
            "passed there: do it in a task without executor='process', which this one may defer"
        )

    return JobContext(
        app=app,
        job=job,
        task=task,
        worker_name=values.worker_name,
        worker_queues=values.worker_queues,
        start_timestamp=values.start_timestamp,
        failed_attempts=values.failed_attempts,
        additional_context=_Additional(values.additional, values.left_out),
        abort_reason=lambda: line.abort_reason,
        report=lambda progress: line.send(Reported(progress)),
        transaction=refused,
        get_connection=refused,
    )


class _Additional(dict[str, Any]):
    """An additional context, of which some may not have been able to cross."""

    def __init__(self, pickled: Mapping[str, bytes], left_out: Mapping[str, str]) -> None:
        super().__init__({name: pickle.loads(value) for name, value in pickled.items()})  # noqa: S301
        self._left_out = left_out

    def __missing__(self, name: str) -> NoReturn:
        if name in self._left_out:
            raise InvalidOption(
                f"additional_context[{name!r}] cannot be passed to the process of a task "
                f"({self._left_out[name]}): make it in the task's own module"
            )
        raise KeyError(name)


def _forward_log(line: _Line, setup: Setup) -> None:
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, root.manager.loggerDict)]
    for logger in loggers:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True
    root.addHandler(_Forwarder(line))
    for name, level in setup.levels.items():
        (logging.getLogger(name) if name else root).setLevel(level)
