"""taskq: a PostgreSQL task queue for Python, SQL first and typed from end to end."""

from taskq.app import App
from taskq.blueprint import Blueprint
from taskq.context import AbortReason, JobContext
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    InvalidTransition,
    JobAborted,
    JobNotFound,
    JobTimeout,
    Retry,
    Snooze,
    TaskqException,
)
from taskq.job import FailedAttempt, Job, JobStatus
from taskq.manager import JobCounts, JobManager, JobPage
from taskq.retention import Retention
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
    "InvalidTransition",
    "Job",
    "JobAborted",
    "JobContext",
    "JobCounts",
    "JobManager",
    "JobNotFound",
    "JobPage",
    "JobStatus",
    "JobTimeout",
    "Retention",
    "Retry",
    "RetryDecision",
    "RetryStrategy",
    "SchemaManager",
    "Snooze",
    "Task",
    "TaskqException",
    "Worker",
]
