"""taskq: a PostgreSQL task queue for Python, SQL first and typed from end to end."""

from taskq.app import App
from taskq.blueprint import Blueprint
from taskq.context import AbortReason, JobContext
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    JobAborted,
    JobNotFound,
    JobTimeout,
    Retry,
    Snooze,
    TaskqException,
)
from taskq.job import FailedAttempt, Job, JobStatus
from taskq.manager import JobManager
from taskq.retry import BaseRetryStrategy, RetryDecision, RetryStrategy
from taskq.schema import SchemaManager
from taskq.task import Task
from taskq.worker import Worker

__all__ = [
    "AbortReason",
    "AlreadyEnqueued",
    "App",
    "BaseRetryStrategy",
    "Blueprint",
    "FailedAttempt",
    "InvalidArguments",
    "Job",
    "JobAborted",
    "JobContext",
    "JobManager",
    "JobNotFound",
    "JobStatus",
    "JobTimeout",
    "Retry",
    "RetryDecision",
    "RetryStrategy",
    "SchemaManager",
    "Snooze",
    "Task",
    "TaskqException",
    "Worker",
]
