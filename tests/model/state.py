"""What taskq promises of jobs, locks, limits and pauses: the state, and what keeps a job from starting."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final

WAITING = "todo"
RUNNING = "doing"
UNSUCCESSFUL: Final = frozenset({"failed", "cancelled", "aborted"})


def brief(self: Any) -> str:
    """A dataclass without what is as it usually is: scripts of failing examples are to be read."""
    said = [
        f"{one.name}={value!r}"
        for one in fields(self)
        if (value := getattr(self, one.name)) != one.default or one.default is MISSING
    ]
    return f"{type(self).__name__}({', '.join(said)})"


@dataclass(slots=True, repr=False)
class Job:
    """A job.

    Attributes:
        at: From which hour on it may start; None: at once.
        expires: By which hour it is to begin; None: whenever.
        started: In which hour it was claimed last.
        batch: Which of all claims that was: what runs side by side of a lock was claimed by one.
    """

    id: int
    task: str
    queue: str
    priority: int = 0
    lock: str | None = None
    queueing_lock: str | None = None
    key: str | None = None
    limit: str | None = None
    at: int | None = None
    expires: int | None = None
    status: str = WAITING
    worker: int | None = None
    claim: int = 0
    attempt: int = 0
    crashes: int = 0
    abort_requested: bool = False
    started: int = 0
    batch: int = 0

    __repr__ = brief

    @property
    def rank(self) -> tuple[int, int]:
        """What comes first is the least."""
        return -self.priority, self.id


@dataclass(frozen=True, slots=True, repr=False)
class Figures:
    """What is said of a limit.

    So many at once, and so many evenly, each ``pace`` hours after the one before.
    """

    concurrency: int | None = None
    rate: int | None = None
    pace: int | None = None
    burst: int | None = None

    __repr__ = brief

    def __or__(self, other: "Figures") -> "Figures":
        """These, and of the other what they do not say."""
        concurrency = other.concurrency if self.concurrency is None else self.concurrency
        if self.rate is None:
            return Figures(concurrency, other.rate, other.pace, other.burst)
        return Figures(concurrency, self.rate, self.pace, self.burst)


@dataclass(slots=True)
class Worker:
    """A worker that is registered; in which hour its last heartbeat was."""

    concurrency: int
    beat: int
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """A job that was claimed, and counts in the rate of a limit."""

    hour: int
    key: str
    job_id: int
    claim: int


@dataclass(slots=True)
class State:
    """All of it.

    Attributes:
        hour: What time it is.
        gone: The jobs that were deleted.
        paused: Queues and tasks: kind and name.
        said: What operators (True) and apps say of limits.
        queue_limits: In which limits all jobs of a queue count.
        spent: Of each limit the hour until which its rate is used up.
        returned: The limits of jobs that went back before they began, and in which hours they were claimed.
        starts: What has started since its limit was changed last, but for what went back before it began.
        reserved: What a transaction that is open has claimed.
        held: What a transaction that is open has changed, and so holds.
        claims: How many claims there were.
    """

    hour: int = 0
    jobs: dict[int, Job] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    workers: dict[int, Worker] = field(default_factory=dict)
    paused: set[tuple[str, str]] = field(default_factory=set)
    said: dict[tuple[str, bool], Figures] = field(default_factory=dict)
    queue_limits: dict[str, str] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    returned: list[tuple[str, int]] = field(default_factory=list)
    reserved: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    claims: int = 0

    # Jobs.

    def waiting(self) -> list[Job]:
        """The jobs that wait, the best first."""
        return sorted(
            (job for job in self.jobs.values() if job.status == WAITING), key=lambda j: j.rank
        )

    def running(self) -> list[Job]:
        """The jobs that run."""
        return [job for job in self.jobs.values() if job.status == RUNNING]

    def in_the_way_of(self, job: Job) -> Job | None:
        """The job that waits with the queueing lock of this one; None: none does."""
        return next(
            (
                other
                for other in self.jobs.values()
                if job.queueing_lock is not None
                and other.queueing_lock == job.queueing_lock
                and other.status == WAITING
                and other is not job
            ),
            None,
        )

    def is_late(self, job: Job) -> bool:
        """Whether its time to begin is over."""
        return job.expires is not None and job.expires <= self.hour

    # Limits.

    def figures(self, key: str) -> Figures | None:
        """What a limit allows one key; None: nothing is said of it."""
        name = key.partition(":")[0]
        said = [self.said.get(place) for place in ((key, True), (name, True), (name, False))]
        known = [figures for figures in said if figures is not None]
        if not known:
            return None
        all_of_them = Figures()
        for figures in known:
            all_of_them = all_of_them | figures
        return all_of_them

    def limits_of(self, job: Job) -> list[str]:
        """The limits that a job counts in, each once."""
        return sorted({key for key in (job.limit, self.queue_limits.get(job.queue)) if key})

    def counts(self) -> Mapping[str, int]:
        """How many jobs run in each limit, and how many an open transaction has claimed."""
        return Counter(
            key
            for job in self.jobs.values()
            if job.status == RUNNING or job.id in self.reserved
            for key in self.limits_of(job)
        )

    def tokens(self, key: str) -> int | None:
        """How many jobs the rate of a limit lets start now at least; None: any number.

        What a start that did not begin has used up is given back as far as its time is not over yet.
        """
        figures = self.figures(key)
        if figures is None or figures.rate is None:
            return None
        assert figures.pace is not None
        assert figures.burst is not None
        credit = sum(
            max(claimed + figures.pace - self.hour, 0)
            for returned, claimed in self.returned
            if returned == key
        )
        ahead = max(self.spent.get(key, self.hour) - credit - self.hour, 0)
        return max(figures.burst - -(-ahead // figures.pace), 0)

    # What bars.

    def bars(self, job: Job, *, claimed_with: int | None = None) -> Iterator[str]:
        """All that keeps a job that waits from starting now.

        Args:
            job: The job.
            claimed_with: The claim that may take it together with others of its lock.
        """
        if self.is_late(job):
            yield "its time to begin is over"
        if job.at is not None and job.at > self.hour:
            yield "it is for later"
        if ("queue", job.queue) in self.paused:
            yield "its queue is paused"
        if ("task", job.task) in self.paused:
            yield "its task is paused"
        if job.lock is not None:
            yield from self._barred_by_lock(job, claimed_with)
        counts = self.counts()
        for key in self.limits_of(job):
            figures = self.figures(key)
            if figures is None:
                yield f"nothing is said of the limit {key}"
            elif figures.concurrency is not None and counts.get(key, 0) >= figures.concurrency:
                yield f"the limit {key} is full"
            elif self.tokens(key) == 0:
                yield f"the rate of {key} lets none start"

    def _barred_by_lock(self, job: Job, claimed_with: int | None) -> Iterator[str]:
        of_lock = [other for other in self.jobs.values() if other.lock == job.lock]
        for other in of_lock:
            if other.id in self.reserved and other is not job:
                yield f"job {other.id} of its lock is being claimed"
            elif other.status == RUNNING and not (
                other.batch == claimed_with and job.limit is None
            ):
                yield f"job {other.id} holds its lock"
            elif other.status == WAITING and other.rank < job.rank:
                yield f"job {other.id} comes first in its lock"
