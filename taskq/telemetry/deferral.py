"""A call that defers jobs: what is told of it, before and after."""

import time
from collections.abc import Sequence
from typing import Self

from taskq.job import NewJob
from taskq.telemetry.jobs import JobsDeferred, JobsDeferring, JobsNotDeferred
from taskq.telemetry.telemetry import Telemetry


class Deferral:
    """Tells that jobs are about to be deferred, and what came of that; as a block around it.

    Nothing is made, and no clock read, if nobody subscribes.

    Args:
        telemetry: Told of it.
        jobs: The jobs, before defer middleware has seen them.
        event: The event that is published by it, if one is.
        tick: The tick of a periodic task that it is for, if it is for one.
    """

    __slots__ = ("_began", "_event", "_jobs", "_telemetry", "_tick", "_told")

    def __init__(
        self,
        telemetry: Telemetry,
        jobs: Sequence[NewJob],
        *,
        event: str | None = None,
        tick: int | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._jobs = jobs
        self._event = event
        self._tick = tick
        self._began = 0.0
        # Whether the end is still to be told.
        self._told = (
            telemetry.wants(JobsDeferred)
            or telemetry.wants(JobsDeferring)
            or telemetry.wants(JobsNotDeferred)
        )

    def __enter__(self) -> Self:
        if self._told:
            self._began = time.monotonic()
            self._telemetry.emit(JobsDeferring(jobs=self._jobs, event=self._event, tick=self._tick))
        return self

    def succeeded(self, jobs: Sequence[NewJob], ids: Sequence[int | None]) -> None:
        """The database has answered.

        Args:
            jobs: The jobs as they were sent.
            ids: The id of each; None for one that was skipped.
        """
        if self._told:
            self._told = False
            seconds = time.monotonic() - self._began
            self._telemetry.emit(JobsDeferred(jobs=jobs, ids=ids, seconds=seconds))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._told:
            seconds = time.monotonic() - self._began
            self._telemetry.emit(JobsNotDeferred(jobs=self._jobs, error=error, seconds=seconds))
