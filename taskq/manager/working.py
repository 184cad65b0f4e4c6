"""The worker's part of the job manager: claims and outcomes, for whoever writes a worker."""

from collections.abc import Sequence
from typing import Final

from taskq.exceptions import InvalidOption
from taskq.job import Job, JobStatus
from taskq.manager import operations
from taskq.manager.bounds import check_count
from taskq.manager.connections import AnyConnection
from taskq.manager.faces import Faces, async_face
from taskq.manager.outcome import Outcome

# What ClaimJobs takes at most.
LARGEST_CLAIM = 1000


class Working(Faces):
    """What a worker does; ``taskq.worker`` is one, and does more than this."""

    def fetch(
        self,
        worker_id: int,
        queues: Sequence[str] | None = None,
        max_jobs: int = 1,
        *,
        connection: AnyConnection | None = None,
    ) -> list[Job]:
        """Claim the next jobs for a worker: from then on they are doing.

        Args:
            worker_id: A worker that is registered, and says that it is alive: the jobs of any other
                are given to somebody else when ``stalled_worker_timeout`` is over.
            queues: The queues it serves; None: all.
            max_jobs: How many jobs at most, from 1 to 1,000.
            connection: In whose transaction; see ``JobManager``. Others wait for what it has locked.

        Returns:
            The jobs, of which ``worker_id`` and ``claim`` are the fencing token.

        Raises:
            InvalidOption: ``max_jobs`` is none of these.
        """
        check_count("max_jobs", max_jobs, LARGEST_CLAIM, InvalidOption)
        return self._run(connection, operations.claim_jobs, worker_id, queues, max_jobs)

    fetch_async: Final = async_face(fetch)

    def finish(
        self,
        worker_id: int,
        outcomes: Sequence[Outcome],
        *,
        connection: AnyConnection | None = None,
    ) -> dict[int, JobStatus]:
        """Write how attempts of a worker ended, many at once, all or none.

        Args:
            worker_id: The worker.
            outcomes: How each of them ended.
            connection: In whose transaction; see ``JobManager``.

        Returns:
            What has become of the jobs that were still this worker's, by their ids. The others have moved on,
            and nothing was written for them.
        """
        return self._run(connection, operations.finish_jobs, worker_id, outcomes)

    finish_async: Final = async_face(finish)
