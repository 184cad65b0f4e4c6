"""Every read and write of jobs in the database; the only code that uses what sqlc generates.

``operations`` and the modules beside it hold each of them once, as a function on a synchronous connection.
``JobManager`` gives them their two faces; the worker runs them on connections of its own.
"""

from taskq.manager.manager import JobManager
from taskq.outcome import Outcome
from taskq.queries.job_count import JobCounts
from taskq.queries.job_list import JobPage

__all__ = ["JobCounts", "JobManager", "JobPage", "Outcome"]
