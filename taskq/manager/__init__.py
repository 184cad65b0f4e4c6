"""What users may ask of jobs: each operation sync and async, checked before anything is sent.

``reading`` and ``changing`` are the sections of ``JobManager``, and ``operations`` says where they run. What
runs in the database is in ``queries``.
"""

from taskq.manager.manager import JobManager
from taskq.outcome import Outcome
from taskq.queries.job_count import JobCounts
from taskq.queries.job_list import JobPage

__all__ = ["JobCounts", "JobManager", "JobPage", "Outcome"]
