"""Finishing: doing → succeeded, failed, aborted, or todo again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg.errors import UntranslatableCharacter

from taskq.job import JobStatus
from taskq.outcome import Outcome, outcomes_to_json
from taskq.queries.connection import Connection, driver_of, on_any
from taskq.queries.encodings import codec_of, encoding_of, storable
from taskq.queries.rows import STATUSES, bounded_document, only_row
from taskq_sql import job_finish

_querier = on_any(job_finish.Querier)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """What the database says of an attempt under way: the lock it holds, and whether to abort it."""

    lock: str | None
    abort_requested: bool


def finish_jobs(
    connection: Connection, worker_id: int, outcomes: Sequence[Outcome]
) -> dict[int, JobStatus]:
    """Write how attempts ended, all or none; returns what is now of those still this worker's."""

    def finish(outcomes: Sequence[Outcome]) -> job_finish.FinishJobsRow:
        document = bounded_document(outcomes_to_json(outcomes), len(outcomes))
        return only_row(_querier(connection).finish_jobs(worker_id=worker_id, outcomes=document))

    try:
        ours = finish(outcomes)
    except UntranslatableCharacter:
        # What was said of an error is worth more than how it is written.
        driver = driver_of(connection)
        codec = codec_of(encoding_of(driver)) if driver is not None else None
        ours = finish([_storable(outcome, codec or "ascii") for outcome in outcomes])
    return dict(zip(ours.ids, map(STATUSES.__getitem__, ours.statuses), strict=True))


def list_doing_jobs(connection: Connection, worker_id: int) -> dict[tuple[int, int], RunningJob]:
    """What a worker has in hand, by job and claim."""
    return {
        (row.id, row.claim): RunningJob(lock=row.lock, abort_requested=row.abort_requested)
        for row in _querier(connection).list_doing_jobs(worker_id=worker_id)
    }


def _storable(outcome: Outcome, codec: str) -> Outcome:
    texts: dict[str, Any] = {
        name: storable(text, codec)
        for name in ("error_type", "error_message", "error_traceback")
        if (text := getattr(outcome, name)) is not None
    }
    if outcome.progress is not None and (message := outcome.progress.get("message")):
        texts["progress"] = {**outcome.progress, "message": storable(message, codec)}
    return replace(outcome, **texts)
