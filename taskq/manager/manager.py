"""The job manager: what may be done to jobs, each operation in a sync and an async twin."""

from collections.abc import Callable, Sequence
from typing import Final

from taskq import queries
from taskq.database.database import Database
from taskq.database.sync_async import async_method
from taskq.encryption import Keyring
from taskq.exceptions import InvalidOption
from taskq.job import Job, JobStatus
from taskq.limits import KnownLimits
from taskq.manager.bounds import check_count
from taskq.manager.changing import Changing
from taskq.manager.deferring import Deferring
from taskq.manager.encrypting import Encrypting
from taskq.manager.limiting import Limiting
from taskq.manager.pausing import Pausing
from taskq.manager.publishing import Publishing
from taskq.manager.reading import Reading
from taskq.manager.waiting import Waiting
from taskq.outcome import Outcome
from taskq.queries.job_claim import LARGEST_CLAIM
from taskq.telemetry import Telemetry


class JobManager(Deferring, Reading, Changing, Pausing, Limiting, Publishing, Waiting, Encrypting):
    """Operates on the jobs of one database. Each method has an async twin, named ``…_async``.

    An operation is a round trip of its own; that of ``on(connection)`` is in that connection's transaction.

    All of them raise ``SchemaNotApplied`` on a database without taskq's schema, and
    ``DatabaseUnavailable`` if the database does not answer.

    Args:
        database: Where the jobs are; or what finds it.
        keyring: The keys that encrypted jobs are written and read by; None: those of the environment.
        telemetry: Gets the events of jobs that are deferred; None: none are emitted.
    """

    def __init__(
        self,
        database: Database | Callable[[], Database],
        *,
        keyring: Keyring | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        super().__init__(database, telemetry=telemetry or Telemetry())
        self.keyring: Keyring = keyring or Keyring()
        self.limits: KnownLimits = KnownLimits()

    def fetch(
        self, worker_id: int, queues: Sequence[str] | None = None, max_jobs: int = 1
    ) -> list[Job]:
        """Claim the next jobs for a worker: from then on they are doing.

        Args:
            worker_id: A worker that is registered, and says that it is alive: the jobs of any other
                are given to another worker when ``stalled_worker_timeout`` is over.
            queues: The queues it serves; None: all.
            max_jobs: How many jobs at most, from 1 to 1,000.

        Returns:
            The jobs, of which ``worker_id`` and ``claim`` are the fencing token.

        Raises:
            InvalidOption: ``max_jobs`` is none of these.
        """
        check_count("max_jobs", max_jobs, LARGEST_CLAIM, InvalidOption)
        return self._run(queries.job_claim.claim_from_queues, worker_id, queues, max_jobs)

    fetch_async: Final = async_method(fetch)

    def finish(self, worker_id: int, outcomes: Sequence[Outcome]) -> dict[int, JobStatus]:
        """Write how attempts of a worker ended, many at once, all or none.

        Args:
            worker_id: The worker.
            outcomes: How each of them ended.

        Returns:
            What has become of the jobs that were still this worker's, by their ids. The others have moved on,
            and nothing was written for them.
        """
        return self._run(queries.job_finish.finish_jobs, worker_id, outcomes)

    finish_async: Final = async_method(finish)
