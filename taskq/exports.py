"""What ``import taskq`` offers: imported when one of it is first asked for."""

from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from taskq import context as _context
from taskq import worker as _worker
from taskq.app import App
from taskq.blueprint import Blueprint
from taskq.context import AbortReason
from taskq.defer_middleware import DeferMiddleware, EventDraft, JobDraft, PublishMiddleware
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    InvalidTransaction,
    InvalidTransition,
    JobAborted,
    JobCancelled,
    JobExpired,
    JobFailed,
    JobLost,
    JobNotFound,
    JobTimeout,
    JobUnsuccessful,
    Retry,
    Snooze,
    TaskqException,
    WaitTimeout,
)
from taskq.job import FailedAttempt, Job, JobStatus
from taskq.limits import Limit
from taskq.manager import JobCounts, JobManager, JobPage
from taskq.progress import Progress
from taskq.retention import Retention
from taskq.retry import BaseRetryStrategy, RetryDecision, RetryStrategy
from taskq.schema import SchemaManager
from taskq.task import Task

# Both are generic in the types of the layers above them, which are put in here: at run time they are the
# classes, and for a type checker those of an app's own.
if TYPE_CHECKING:
    JobContext: TypeAlias = _context.JobContext[App, Task[..., Any], Any]
    TransactionContext: TypeAlias = _context.JobContext[App, Task[..., Any], Connection]
    AsyncTransactionContext: TypeAlias = _context.JobContext[App, Task[..., Any], AsyncConnection]
    Worker: TypeAlias = _worker.Worker[App]
else:
    JobContext = TransactionContext = AsyncTransactionContext = _context.JobContext
    Worker = _worker.Worker

__all__ = [
    "AbortReason",
    "AlreadyEnqueued",
    "App",
    "AsyncTransactionContext",
    "BaseRetryStrategy",
    "Blueprint",
    "DeferMiddleware",
    "EventDraft",
    "FailedAttempt",
    "InvalidArguments",
    "InvalidTransaction",
    "InvalidTransition",
    "Job",
    "JobAborted",
    "JobCancelled",
    "JobContext",
    "JobCounts",
    "JobDraft",
    "JobExpired",
    "JobFailed",
    "JobLost",
    "JobManager",
    "JobNotFound",
    "JobPage",
    "JobStatus",
    "JobTimeout",
    "JobUnsuccessful",
    "Limit",
    "Progress",
    "PublishMiddleware",
    "Retention",
    "Retry",
    "RetryDecision",
    "RetryStrategy",
    "SchemaManager",
    "Snooze",
    "Task",
    "TaskqException",
    "TransactionContext",
    "WaitTimeout",
    "Worker",
]
