"""The log of jobs."""

import logging
from functools import partial
from typing import Any, Final

from taskq import telemetry
from taskq.escaping import get_logger
from taskq.job import JobStatus
from taskq.messages import first_line
from taskq.worker.error_text import in_a_line

ATTEMPT: Final = get_logger("taskq.worker.attempt")
CANCELLER: Final = get_logger("taskq.worker.canceller")
COMPLETER: Final = get_logger("taskq.worker.completer")
EXECUTOR_POOL: Final = get_logger("taskq.worker.executor_pool")
PERIODIC_ENQUEUER: Final = get_logger("taskq.worker.periodic_enqueuer")
PRUNER: Final = get_logger("taskq.worker.pruner")
RESCUER: Final = get_logger("taskq.worker.rescuer")
UNKNOWN_JOBS: Final = get_logger("taskq.worker.unknown_jobs")

_OfJob = telemetry.JobEnded | telemetry.JobFailedAfterCommit | telemetry.JobOffered


def subscribe(to: telemetry.Telemetry) -> None:
    """Have the events of jobs logged."""
    # Each job has one, and a log that shows none shall not have it made.
    shown = partial(EXECUTOR_POOL.isEnabledFor, logging.INFO)
    to.subscribe(telemetry.JobSucceeded, job_succeeded, only_if=shown)
    to.subscribe(telemetry.JobFailed, job_failed)
    to.subscribe(telemetry.JobFailedAfterCommit, job_failed_after_commit)
    to.subscribe(telemetry.JobRetried, job_retried)
    to.subscribe(telemetry.JobGivenBack, job_given_back)
    to.subscribe(telemetry.JobAborted, job_aborted)
    to.subscribe(telemetry.JobOffered, job_unknown)
    to.subscribe(telemetry.JobSuspected, job_suspected)
    to.subscribe(telemetry.JobTaken, job_taken)
    to.subscribe(telemetry.JobRescued, job_rescued)
    to.subscribe(telemetry.OutcomeRefused, outcome_refused)
    to.subscribe(telemetry.OutcomeUnwritable, outcome_unwritable)
    to.subscribe(telemetry.PeriodicDeferred, periodic_deferred)
    to.subscribe(telemetry.PeriodicNotDeferred, periodic_not_deferred)
    to.subscribe(telemetry.JobsPruned, jobs_pruned)


def job_succeeded(event: telemetry.JobSucceeded) -> None:
    EXECUTOR_POOL.info(
        "job %s (%s) succeeded in %.3f s",
        event.job.id,
        event.job.task_name,
        event.seconds,
        extra={**_of_job("job_succeeded", event), "duration": event.seconds},
    )


def job_failed(event: telemetry.JobFailed) -> None:
    ATTEMPT.error(
        "job %s (%s) failed: %s",
        event.job.id,
        event.job.task_name,
        _why(event.error),
        extra=_of_job("job_failed", event),
        exc_info=event.error,
    )


def job_failed_after_commit(event: telemetry.JobFailedAfterCommit) -> None:
    ATTEMPT.error(
        "job %s (%s) has succeeded, as its transaction is committed; what its task did after that failed: %s",
        event.job.id,
        event.job.task_name,
        _why(event.error),
        extra=_of_job("job_failed_after_commit", event),
        exc_info=event.error,
    )


def job_retried(event: telemetry.JobRetried) -> None:
    ATTEMPT.warning(
        "job %s (%s) will be run again: %s",
        event.job.id,
        event.job.task_name,
        _why(event.error),
        extra=_of_job("job_retried", event),
    )


def job_given_back(event: telemetry.JobGivenBack) -> None:
    ATTEMPT.warning(
        "job %s (%s) goes back into the queue: its worker was taken for dead, or is about to be",
        event.job.id,
        event.job.task_name,
        extra=_of_job("job_given_back", event),
    )


def job_aborted(event: telemetry.JobAborted) -> None:
    ATTEMPT.info(
        "job %s (%s) aborted",
        event.job.id,
        event.job.task_name,
        extra=_of_job("job_aborted", event),
    )


def job_unknown(event: telemetry.JobOffered) -> None:
    UNKNOWN_JOBS.warning(
        "job %s (%s) goes back for other workers, for %g s at most: %s",
        event.job.id,
        event.job.task_name,
        event.timeout,
        _why(event.error),
        extra=_of_job("job_unknown", event),
    )


def job_suspected(event: telemetry.JobSuspected) -> None:
    EXECUTOR_POOL.warning(
        "job %s may have killed %s workers: it runs alone",
        event.job.id,
        event.job.crashes,
        extra={"action": "job_suspected", "job_id": event.job.id, "crashes": event.job.crashes},
    )


def job_taken(event: telemetry.JobTaken) -> None:
    CANCELLER.warning(
        "job %s was given to another worker, as this one was taken for dead, or it was deleted: it is "
        "aborted here",
        event.job.id,
        extra={"action": "job_lost", "job_id": event.job.id},
    )


def job_rescued(event: telemetry.JobRescued) -> None:
    RESCUER.log(
        logging.ERROR if event.status is JobStatus.FAILED else logging.WARNING,
        "job %s is %s: its worker died %s; crashes: %s",
        event.job_id,
        event.status,
        "while it ran" if event.had_begun else "before it began",
        event.crashes,
        extra={"action": "job_rescued", "job_id": event.job_id, "crashes": event.crashes},
    )


def outcome_refused(event: telemetry.OutcomeRefused) -> None:
    COMPLETER.warning(
        "job %s, claim %s: its end (%s) was not written, as the job has moved on: this worker was taken "
        "for dead, or the job was deleted",
        event.outcome.job_id,
        event.outcome.claim,
        event.outcome.status,
        extra={"action": "job_lost", "job_id": event.outcome.job_id},
    )


def outcome_unwritable(event: telemetry.OutcomeUnwritable) -> None:
    COMPLETER.error(
        "job %s ends as failed: its end (%s) cannot be written: %s",
        event.outcome.job_id,
        event.outcome.status,
        first_line(event.error),
        extra={"action": "job_unwritable", "job_id": event.outcome.job_id},
    )


def periodic_deferred(event: telemetry.PeriodicDeferred) -> None:
    PERIODIC_ENQUEUER.info(
        "periodic task %s was deferred as job %s",
        event.task_name,
        event.job_id,
        extra={"action": "periodic_deferred", "job_id": event.job_id, "timestamp": event.tick},
    )


def periodic_not_deferred(event: telemetry.PeriodicNotDeferred) -> None:
    PERIODIC_ENQUEUER.error(
        "periodic task %s is not deferred, as defer middleware raised: %s",
        event.task_name,
        in_a_line(event.error),
        exc_info=event.error,
        extra={"action": "periodic_not_deferred", "timestamp": event.tick},
    )


def jobs_pruned(event: telemetry.JobsPruned) -> None:
    PRUNER.info(
        "deleted %s jobs that were %s, and are kept for %s",
        event.jobs,
        event.status,
        event.kept,
        extra={"action": "jobs_pruned", "status": event.status.value, "jobs": event.jobs},
    )


def _of_job(action: str, event: _OfJob) -> dict[str, Any]:
    return {
        "action": action,
        "job_id": event.job.id,
        "task_name": event.job.task_name,
        "queue": event.job.queue,
        "attempt": event.job.attempt,
        "worker_name": event.worker_name,
    }


def _why(error: BaseException | None) -> str:
    return "" if error is None else in_a_line(error)
