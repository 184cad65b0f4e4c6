"""Every query, once, as a function on a synchronous connection: one module for each file of ``sql/queries``.

The only code that uses what sqlc generates.
"""

from taskq.queries import (
    doctor,
    grants,
    job_change,
    job_claim,
    job_commit,
    job_count,
    job_explain,
    job_finish,
    job_insert,
    job_list,
    job_progress,
    job_rescue,
    job_schedule,
    job_wait,
    limits,
    migrations,
    pauses,
    periodic,
    retention,
    session,
    stats,
    workers,
)

__all__ = [
    "doctor",
    "grants",
    "job_change",
    "job_claim",
    "job_commit",
    "job_count",
    "job_explain",
    "job_finish",
    "job_insert",
    "job_list",
    "job_progress",
    "job_rescue",
    "job_schedule",
    "job_wait",
    "limits",
    "migrations",
    "pauses",
    "periodic",
    "retention",
    "session",
    "stats",
    "workers",
]
