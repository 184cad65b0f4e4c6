"""Logs made by hand, for the tests of the checks: jobs, and what happens to them one after the other."""

from typing import Any

from tests.stress.log import Log, Run, Signal, Version
from tests.stress.visibility import Snapshot


class Tape:
    """Records what a test says has happened; each thing a second after the one before.

    Each change is a transaction of its own that begins, writes and commits at once, unless the test says
    otherwise. By when it is visible only the next one shows, as in a log of what has really happened.
    """

    def __init__(self) -> None:
        self.now = 0.0
        # Of which claims of which jobs.
        self.effects: list[tuple[int, int]] = []
        self._versions: list[Version] = []
        self._runs: list[Run] = []
        self._signals: list[Signal] = []
        self._transactions = 100

    def begin(self) -> int:
        """The number of a transaction that begins now, for ``transaction=``."""
        self._transactions += 1
        return self._transactions

    def write(
        self,
        job_id: int,
        status: str,
        process: str,
        *,
        transaction: int | None = None,
        began: float | None = None,
        open_ones: tuple[int, ...] = (),
        **values: Any,
    ) -> Version:
        """A version of a job, which is like the one before but for what is said.

        Args:
            job_id: The job.
            status: Its status.
            process: Who writes it.
            transaction: In which transaction, if not in one of its own.
            began: When that began, if not now.
            open_ones: The transactions that have not committed by now.
            **values: What else is another than before.
        """
        self.now += 1
        transaction = self.begin() if transaction is None else transaction
        before = self._newest(job_id)
        kept = {} if before is None else {name: getattr(before, name) for name in _KEPT}
        version = Version(
            seq=len(self._versions),
            job_id=job_id,
            status=status,
            process=process,
            transaction=transaction,
            began=self.now - 0.1 if began is None else began,
            snapshot=Snapshot(
                min((*open_ones, transaction)),
                self._transactions + 1,
                frozenset({*open_ones, transaction}),
            ),
            at=self.now,
            **{**_DEFAULTS, **kept, **values},
        )
        self._versions.append(version)
        return version

    def defer(self, job_id: int, **values: Any) -> Version:
        """A job is deferred."""
        return self.write(job_id, "todo", "deferrer-0", **values)

    def see(self) -> None:
        """What has happened so far is visible to all: a job is deferred that has to do with nothing."""
        self.defer(-self._transactions, lock=None)

    def claim(self, job_id: int, process: str = "worker-1", **values: Any) -> Version:
        """A worker claims it."""
        before = self._newest(job_id)
        assert before is not None
        return self.write(
            job_id,
            "doing",
            process,
            **{"claim": before.claim + 1, "worker_id": int(process[-1]), **values},
        )

    def run(self, job_id: int, seconds: float | None = 0.5, step: str | None = "succeed") -> Run:
        """Its task begins to run now, for so long; None: its end is not known."""
        self.now += 1
        job = self._newest(job_id)
        assert job is not None
        assert job.worker_id is not None
        run = Run(
            job_id=job_id,
            claim=job.claim,
            worker_id=job.worker_id,
            process=f"worker-{job.worker_id}",
            lock=job.lock,
            key="key",
            started_at=self.now,
            ended_at=None if seconds is None else self.now + seconds,
            step=None if seconds is None else step,
        )
        self._runs.append(run)
        return run

    def end(
        self, job_id: int, status: str = "succeeded", process: str | None = None, **values: Any
    ) -> None:
        """Its worker writes how it ended, or another process does."""
        before = self._newest(job_id)
        assert before is not None
        self.write(job_id, status, process or before.process, **values)

    def signal(self, process: str, kind: Any, seconds: float = 0) -> None:
        """Something is done to a process."""
        self.now += 1
        self._signals.append(
            Signal(process=process, kind=kind, at=self.now, until=self.now + seconds)
        )

    def log(self) -> Log:
        """What has happened."""
        return Log(self._versions, self._runs, self._signals, self.effects)

    def _newest(self, job_id: int) -> Version | None:
        return next((v for v in reversed(self._versions) if v.job_id == job_id), None)


_KEPT = (
    *(
        "queue",
        "lock",
        "limit_key",
        "priority",
        "due_at",
        "expires_at",
        "claim",
        "worker_id",
        "abort_requested",
        "script",
    ),
)
_DEFAULTS: dict[str, Any] = {
    "queue": "default",
    "lock": "a",
    "limit_key": None,
    "priority": 0,
    "due_at": None,
    "expires_at": None,
    "claim": 0,
    "worker_id": None,
    "abort_requested": False,
    "script": ("succeed",),
}
