"""The job that the code which runs here is an attempt of."""

from contextvars import ContextVar
from typing import Final

from taskq.job import Job

# Set by the worker, for a task and for whatever that starts.
current_job: Final[ContextVar[Job | None]] = ContextVar("taskq.current_job", default=None)
