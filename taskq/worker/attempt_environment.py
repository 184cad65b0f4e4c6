"""What the attempts of one worker share."""

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from taskq.job import FailedAttempt, Job
from taskq.middleware import TaskMiddleware, WorkerMiddleware
from taskq.worker.app import WorkerApp
from taskq.worker.options import WorkerOptions
from taskq.worker.process_pool.pool import ProcessPool
from taskq.worker.progress_reporter import ProgressBoard
from taskq.worker.transactions import Transactions


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnvironment:
    """What the attempts of one worker share.

    Attributes:
        app: Whose tasks they run; for their contexts.
        worker: What middleware is called with, and nothing else.
        options: Those of the worker.
        thread_pool: Where sync tasks run.
        processes: Where those of them run that ask for a process.
        task_middlewares: What the worker wraps around tasks of their kind, the outermost first.
        worker_middlewares: What it wraps around all of them, outside of that; async.
        failed_attempts: Reads why earlier attempts of a job failed.
        transactions: Where those of the tasks come from.
        progress: Where they report how far they are.
    """

    app: WorkerApp
    worker: object
    options: WorkerOptions
    thread_pool: Executor
    processes: ProcessPool
    task_middlewares: Sequence[TaskMiddleware]
    worker_middlewares: Sequence[WorkerMiddleware]
    failed_attempts: Callable[[Job], Awaitable[Sequence[FailedAttempt]]]
    transactions: Transactions
    progress: ProgressBoard
