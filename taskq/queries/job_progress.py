"""How far jobs have come."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.errors import UntranslatableCharacter

from taskq.progress import NewProgress, Progress, read_progress
from taskq.queries.connection import Connection, driver_of, on_any
from taskq.queries.encodings import codec_of, encoding_of, storable
from taskq_sql import job_progress

_querier = on_any(job_progress.Querier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the attempt of a job has reported.

    Attributes:
        job_id: The job.
        worker_id: The worker; with ``claim`` the fencing token.
        claim: Which claim of the job.
        progress: How far it is.
    """

    job_id: int
    worker_id: int | None
    claim: int
    progress: NewProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a job is that runs."""

    job_id: int
    task_name: str
    progress: Progress


def report_progress(connection: Connection, reports: Sequence[Report]) -> set[int]:
    """Write what attempts have reported; returns the jobs left out, as other transactions have their rows."""

    def report(codec: str | None) -> set[int]:
        document = json.dumps([_as_json(report, codec) for report in reports])
        return set(_querier(connection).report_progress(reports=document))

    try:
        return report(None)
    except UntranslatableCharacter:
        driver = driver_of(connection)
        return report((codec_of(encoding_of(driver)) if driver is not None else None) or "ascii")


def list_progress(connection: Connection, max_jobs: int) -> list[JobProgress]:
    """Read how far jobs are that run, the first ones first."""
    return [
        JobProgress(job_id=row.id, task_name=row.task_name, progress=progress)
        for row in _querier(connection).list_progress(max_jobs=max_jobs)
        if (progress := read_progress(row.progress, row.claim)) is not None
    ]


def progress_json(progress: NewProgress, codec: str | None = None) -> Mapping[str, Any]:
    """As the column has it, which also has the claim, and when it was written.

    Args:
        progress: What was reported.
        codec: What the database can store of texts; None: all.
    """
    message = progress.message
    if message is not None and codec is not None:
        message = storable(message, codec)
    said = {"done": progress.done, "total": progress.total, "message": message}
    return {name: value for name, value in said.items() if value is not None}


def _as_json(report: Report, codec: str | None) -> Mapping[str, Any]:
    return {
        "job_id": report.job_id,
        "worker_id": report.worker_id,
        "claim": report.claim,
        "progress": progress_json(report.progress, codec),
    }
