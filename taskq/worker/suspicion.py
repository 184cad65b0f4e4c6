"""Suspicion: what a worker may begin beside what, once a job may have killed a worker.

A crash is counted for every job that may have been running when its worker died, as RescueJobs explains.
By what is decided here that count distinguishes the killer from those that ran beside it. A worker that never
claims a job with a crash pays nothing for it.
"""

from collections.abc import Callable
from typing import Final

from taskq.job import Job

# After it has claimed a job with a crash, a worker is careful for so long: the killer, which went back into
# the queue at the same moment, has been claimed by then.
_CAREFUL_FOR = 60.0  # seconds

# So long a suspect waits for what runs; then it runs beside that, rather than have a worker whose job never
# ends do nothing else for ever.
LONGEST_WAIT: Final = 600.0  # seconds


class Suspicion:
    """Knows the job that a worker has to run alone, and whether the worker is careful.

    Args:
        concurrency: How many jobs the worker runs at once.
        max_crashes: The how-manieth crash ends a job.
        unwritten: Says how many ends of jobs are not written yet.
        claim_in_flight: Says whether a claim is under way.
    """

    def __init__(
        self,
        *,
        concurrency: int,
        max_crashes: int,
        unwritten: Callable[[], int],
        claim_in_flight: Callable[[], bool],
    ) -> None:
        self._concurrency = concurrency
        # One more crash would end such a job, if nothing else can have caused it.
        self._suspect_from = max(1, max_crashes - 1)
        self._unwritten = unwritten
        self._claim_in_flight = claim_in_flight
        self._careful_until = 0.0
        self._alone_until = 0.0
        self.is_careful: bool = False
        self.suspect: Job | None = None

    def see(self, job: Job, now: float) -> bool:
        """Take in that a job with a crash was claimed; returns whether it is to run alone.

        Args:
            job: The job.
            now: By any clock that only goes forward, in seconds.
        """
        self.is_careful, self._careful_until = True, now + _CAREFUL_FOR
        if self.suspect is not None or job.crashes < self._suspect_from:
            return False
        self.suspect, self._alone_until = job, now + LONGEST_WAIT
        return True

    def forget(self, job: Job) -> None:
        """Take in that a job has ended, or went back."""
        if self.suspect is job:
            self.suspect = None

    def may_begin(self, running: int, now: float) -> bool:
        """Whether a job may begin beside those that run.

        Those whose end is not written count with them: so the database has no more begun jobs of this
        worker than it runs at once.
        """
        self.is_careful = now < self._careful_until
        return not self.is_careful or running + self._unwritten() < self._concurrency

    def may_suspect_begin(self, running: int, now: float) -> bool:
        """Whether the suspect may begin: it is all of this worker that the database knows."""
        if now >= self._alone_until:
            return running < self._concurrency
        return not (running or self._unwritten() or self._claim_in_flight())
