"""How far claims have come in the indexes of ready jobs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from taskq.job import Job
from taskq.queries.job_claim import HIGHEST_PRIORITY, LOWEST_PRIORITY, ReadyRange

# From the start at least so often, and more rarely only if that would take over a tenth of the time.
SWEEP_EVERY = 1.0  # seconds
_SHARE = 10

# Each costs every claim two probes of an index.
_MOST = 32


class ClaimCursor:
    """Spares a claim the way over entries of jobs that are long gone.

    The entry of a claimed job stays at the front of its index until no transaction can see it any more:
    while some transaction is left open for an hour, a claim from the start would walk all that went
    through the queue in that hour. So a claim that got all it asked for leaves a mark for each queue
    and priority, behind which the next one goes on. What comes to lie before a mark (a retry, an older
    transaction that commits later) is found when a claim gets less than it asked for, and after
    ``SWEEP_EVERY`` at the latest, or ten times as long as the last claim from the start took.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[str, int], int] = {}
        self._until = 0.0

    def is_at_start(self, now: float) -> bool:
        """Whether the next claim goes from the start.

        Args:
            now: By any clock that only goes forward, in seconds.
        """
        if now >= self._until:
            self._marks = {}
        return not self._marks

    def ranges(self, queues: Iterable[str]) -> list[ReadyRange]:
        """What a claim from some queues has to read: all of a queue, or what its marks leave of it."""
        return [part for queue in queues for part in ranges_behind(self._marks, queue)]

    def see(self, jobs: Sequence[Job], *, asked: int, began: float, now: float) -> None:
        """Take in what a claim brought.

        Args:
            jobs: The jobs.
            asked: How many it was to bring at most.
            began: When it began, by the clock of ``is_at_start``.
            now: When it ended.
        """
        # For one slot a single job is all there is capacity for, and no sign of many.
        if len(jobs) < max(asked, 2):
            self._marks = {}
            return
        if not self._marks:
            self._until = now + max(SWEEP_EVERY, _SHARE * (now - began))
        # Those with a lock are found by their locks.
        for job in jobs:
            if job.lock is None:
                place = job.queue, job.priority
                self._marks[place] = max(job.id, self._marks.get(place, 0))
        if len(self._marks) > _MOST:
            self._marks = {}


def ranges_behind(marks: Mapping[tuple[str, int], int], queue: str) -> Iterator[ReadyRange]:
    """What is left of a queue behind marks: ids, by queue and priority."""
    highest = HIGHEST_PRIORITY
    for priority in sorted((priority for name, priority in marks if name == queue), reverse=True):
        if priority < highest:
            yield ReadyRange(queue, highest, priority + 1)
        yield ReadyRange(queue, priority, priority, marks[queue, priority])
        highest = priority - 1
    if highest >= LOWEST_PRIORITY:
        yield ReadyRange(queue, highest)
