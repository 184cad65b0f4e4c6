"""Event loop: drives a worker to its end, whatever the code of a job does to the event loop.

asyncio lets KeyboardInterrupt and SystemExit out of its event loop, whichever task or callback raises them,
and everything that runs there stays where it is. If a job's own code has started that, it is an error like
any other: the loop goes on, and what awaits the task gets the error. So it does if the code stops the loop.
What a signal's handler raises ends the worker, as it ends any program.
"""

import asyncio
import gc
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from traceback import walk_tb
from types import CodeType, FrameType
from typing import Any

from taskq.exceptions import InvalidOption
from taskq.telemetry import LoopInterrupted
from taskq.worker.concealed import concealed, conceals
from taskq.worker.worker import Worker


def run_to_end(worker: Worker[Any], main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in an event loop of its own, as ``asyncio.run`` does.

    Meanwhile the garbage collector leaves out what was there before.

    Args:
        worker: The worker that it runs.
        main: The coroutine. It is cancelled when the handler of a signal raises an error, the first time.

    Raises:
        KeyboardInterrupt: Ctrl-C came while the worker did not handle it.
        InvalidOption: The worker is to run on uvloop, which is not installed.
        BaseException: Whatever the coroutine, or the handler of a signal, raises.
    """
    try:
        factory = _loop_factory(worker.options.loop)
    except InvalidOption:
        main.close()
        raise
    with _heap_frozen(), asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        is_late = not isinstance(loop, asyncio.BaseEventLoop)
        task = loop.create_task(main)
        # What a signal's handler raised, which the coroutine is cancelled for.
        signalled: list[BaseException] = []
        with _ctrl_c_cancels(task, signalled):
            while True:
                try:
                    loop.run_until_complete(task)
                    break
                except asyncio.CancelledError:
                    if not signalled:
                        raise
                    break
                except (KeyboardInterrupt, SystemExit) as error:
                    if task.done():
                        raise
                    if not _is_from_signal(error):
                        _report(worker, error, is_late=is_late)
                    elif signalled:
                        raise
                    else:
                        signalled.append(error)
                        task.cancel()
                except RuntimeError as error:
                    # Before the coroutine has ended it says only that the loop was stopped.
                    if task.done() or loop.is_closed():
                        raise
                    _report(worker, error, is_late=is_late)
        if signalled:
            raise signalled[0]


@contextmanager
def _heap_frozen() -> Iterator[None]:
    # Collections that go through all that was imported, as one does after some twenty thousand jobs, would
    # stop the loop for 50 ms each, and for longer the larger the app.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop == "asyncio":
        return None
    try:
        # Not imported by those who have not asked for it, nor installed it.
        import uvloop  # noqa: PLC0415
    except ImportError as error:
        if loop == "auto":
            return None
        raise InvalidOption(
            f"loop='uvloop' cannot be had, as uvloop cannot be imported ({error}): "
            "pip install 'taskq-sql[uvloop]', or say loop='auto'"
        ) from None
    return uvloop.new_event_loop


def _report(worker: Worker[Any], error: BaseException, *, is_late: bool) -> None:
    jobs, tasks = worker.running_jobs, worker.app.tasks
    # Of one of them: which is not known. uvloop tells late of it, when the job may have ended.
    is_concealed = any(conceals(job, tasks.get(job.task_name)) for job in jobs) or (
        is_late and any(task.encrypted for task in tasks.values())
    )
    worker.app.telemetry.emit(
        LoopInterrupted(
            worker_id=worker.id,
            worker_name=worker.options.name,
            jobs=jobs,
            error=concealed(error) if is_concealed else error,
        )
    )


@contextmanager
def _ctrl_c_cancels(task: asyncio.Task[None], signalled: list[BaseException]) -> Iterator[None]:
    # As asyncio's Runner has it, which takes its handler away whenever the loop is left. It is for the time
    # before the worker has handlers of its own, and after.
    def interrupt(number: int, frame: FrameType | None) -> None:
        if signalled or task.done():
            raise KeyboardInterrupt
        signalled.append(KeyboardInterrupt())
        task.cancel()
        # The loop may be asleep.
        task.get_loop().call_soon_threadsafe(lambda: None)

    handles = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if handles:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if handles and signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_from_signal(error: BaseException) -> bool:
    # Python calls a signal's handler on top of whatever runs, so that it stands in the traceback.
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()}
    return any(frame.f_code in handlers for frame, _ in walk_tb(error.__traceback__))


def _code_of(handler: object) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    function = getattr(handler, "__func__", handler)
    if not hasattr(function, "__code__"):
        function = getattr(type(handler), "__call__", None)  # noqa: B004
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None
