"""Every read and write of jobs in the database; the only code that uses what sqlc generates.

``operations`` holds each of them once, as a function on a synchronous connection. ``JobManager`` gives
them their two faces; the worker runs them on connections of its own.
"""

from taskq.manager.manager import JobManager

__all__ = ["JobManager"]
