"""What happened: the versions of each job, when tasks ran, and what was done to the workers' processes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from tests.stress.visibility import Snapshot, Visibility

FINAL = frozenset({"succeeded", "failed", "cancelled", "aborted"})

# What was under way in a process that was paused goes on within this time.
AT_ONCE = 2.0  # seconds

# A worker that was paused takes note of what it has missed within this time.
AFTER_A_PAUSE = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a job's row that was committed.

    Attributes:
        seq: Orders the versions of a job.
        status: That of the job; ``deleted`` is the last version of one that was deleted.
        limit_key: The limit that it counts in.
        due_at: Its ``scheduled_at``.
        expires_at: By when it has to have begun.
        script: What the task does at the first claim, at the second …; at later ones the last.
        process: Who wrote it.
        transaction: In which transaction.
        began: When that began: no statement of it saw less than one at this time.
        snapshot: Taken after the version was written: no earlier statement of the transaction saw more.
        at: When it was written; it was committed later.
    """

    seq: int
    job_id: int
    status: str
    queue: str
    lock: str | None
    limit_key: str | None
    priority: int
    due_at: float | None
    expires_at: float | None
    claim: int
    worker_id: int | None
    abort_requested: bool
    script: tuple[str, ...]
    process: str
    transaction: int
    began: float
    snapshot: Snapshot
    at: float

    @property
    def rank(self) -> tuple[int, int]:
        """Its place in the order of its lock: lower goes first."""
        return -self.priority, self.job_id

    def waits_for(self, lock: str) -> bool:
        """Whether it is a job that waits, with this lock."""
        return self.status == "todo" and self.lock == lock

    def is_late(self, at: float) -> bool:
        """Whether it may not begin any more."""
        return self.expires_at is not None and self.expires_at <= at

    def __str__(self) -> str:
        expires = "" if self.expires_at is None else f", expires {self.expires_at:.4f}"
        return (
            f"job {self.job_id} {self.status} (queue {self.queue}, lock {self.lock}, priority "
            f"{self.priority}{expires}, claim {self.claim}; {self.process}, transaction {self.transaction}, "
            f"{self.at:.4f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a task, as it recorded itself.

    Attributes:
        key: The limit that it counts in; None: none.
        step: How it ended, by its script or as ``interrupted``; None: that is not known.
        ended_at: None likewise, as of a process that was killed.
    """

    job_id: int
    claim: int
    worker_id: int
    process: str
    lock: str | None
    key: str | None
    started_at: float
    ended_at: float | None = None
    step: str | None = None

    def __str__(self) -> str:
        ended = "?" if self.ended_at is None else f"{self.ended_at:.4f}"
        return (
            f"job {self.job_id} (claim {self.claim}, lock {self.lock}, {self.process}, "
            f"{self.started_at:.4f} to {ended}, {self.step})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What was done to a process: it was killed, told to stop, or paused for a while.

    ``starve`` is what a busy machine does: the worker has missed its own heartbeat, at some time in between.
    """

    process: str
    kind: Literal["kill", "stop", "pause", "starve"]
    at: float
    until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """The time for which a job was a worker's, from its claim until it was another's or no worker's.

    Attributes:
        began: The version that the claim wrote.
        last: The last one before the end; it knows whether an abort was requested.
        ended: The version that ended it; None: it is the worker's still.
    """

    began: Version
    last: Version
    ended: Version | None

    def is_over(self, at: float) -> bool:
        """Whether it may have been over by then: the end had been written, if perhaps not committed."""
        return self.ended is not None and self.ended.at <= at


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be."""

    check: str
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


@dataclass
class Log:
    """All that was recorded; each job from its first version on."""

    versions: Sequence[Version] = ()
    runs: Sequence[Run] = ()
    signals: Sequence[Signal] = field(default=())
    # Of which claims of which jobs there is an effect.
    effects: Sequence[tuple[int, int]] = ()

    @cached_property
    def histories(self) -> dict[int, list[Version]]:
        """The versions of each job, in order."""
        histories = defaultdict(list)
        for version in sorted(self.versions, key=lambda version: version.seq):
            histories[version.job_id].append(version)
        return dict(histories)

    @cached_property
    def tenures(self) -> dict[tuple[int, int], Tenure]:
        """The tenures, by job and claim."""
        tenures = {}
        for job_id, history in self.histories.items():
            for index, began in enumerate(history):
                same = (began.status, began.claim, began.worker_id)
                if began.status != "doing" or (
                    index and _holder(history[index - 1]) == _holder(began)
                ):
                    continue
                last, ended = began, None
                for version in history[index + 1 :]:
                    if (version.status, version.claim, version.worker_id) != same:
                        ended = version
                        break
                    last = version
                tenures[job_id, began.claim] = Tenure(began=began, last=last, ended=ended)
        return tenures

    @cached_property
    def visibility(self) -> Visibility:
        """When each transaction had become visible."""
        return Visibility(
            (version.transaction for version in self.versions),
            ((version.at, version.snapshot) for version in self.versions),
        )

    def run_of(self, tenure: Tenure) -> Run | None:
        """The run of a tenure; None: the task did not begin."""
        return self._runs.get((tenure.began.job_id, tenure.began.claim))

    @cached_property
    def _runs(self) -> dict[tuple[int, int], Run]:
        return {(run.job_id, run.claim): run for run in self.runs}

    def was_disturbed(self, tenure: Tenure) -> bool:
        """Whether something was done to the worker's process for which it may have lost the job."""
        until = float("inf") if tenure.ended is None else tenure.ended.at
        return any(
            signal.process == tenure.began.process
            and signal.at <= until
            and (signal.kind in {"kill", "stop"} or signal.until + AFTER_A_PAUSE >= tenure.began.at)
            for signal in self.signals
        )

    def was_paused(self, run: Run) -> bool:
        """Whether the process stood still just before the run was recorded: it may have begun before that."""
        return any(
            signal.process == run.process and signal.at <= run.started_at <= signal.until + AT_ONCE
            for signal in self.signals
        )

    def killed_at(self, process: str) -> float:
        """When a process was killed; ``inf``: it was not."""
        return min(
            (s.at for s in self.signals if s.process == process and s.kind == "kill"),
            default=float("inf"),
        )


def _holder(version: Version) -> tuple[str, int, int | None]:
    return version.status, version.claim, version.worker_id
