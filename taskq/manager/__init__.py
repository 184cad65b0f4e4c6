"""Every read and write of jobs in the database; the only code that uses what sqlc generates.

``operations`` and the modules beside it hold each of them once, as a function on a synchronous connection.
``JobManager`` gives them their two faces; the worker runs them on connections of its own.
"""

from taskq.manager.manager import JobManager
from taskq.manager.outcome import Ended, Outcome
from taskq.manager.reports import JobCounts, JobPage

__all__ = ["Ended", "JobCounts", "JobManager", "JobPage", "Outcome"]
