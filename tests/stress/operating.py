"""A process that does at random what an operator does to jobs, in transactions that may roll back."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg

from taskq import InvalidTransition, JobManager, JobNotFound, JobStatus
from tests.stress.children import answer, commands
from tests.stress.scripts import PRIORITIES, QUEUES, draw_lock
from tests.stress.tasks import URL_VARIABLE, app

_LONGEST_TRANSACTION = 0.3  # seconds
_SHARE_OF_TRANSACTIONS = 0.6
_SHARE_OF_ROLLBACKS = 0.3
_THREADS = 2

_TODO = (JobStatus.TODO,)
_STATUSES = (
    *(_TODO, _TODO, _TODO),
    (JobStatus.DOING,),
    (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.ABORTED),
)


def main() -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        for command in commands():
            done = [
                threads.submit(_operate, f"{command['seed']} thread {n}", command)
                for n in range(_THREADS)
            ]
            answer(changes=sum(future.result() for future in done))


def _operate(seed: str, command: dict[str, float]) -> int:
    """Change jobs beyond an id for so many seconds; returns how many changes that were."""
    rng = random.Random(seed)
    until = time.monotonic() + command["seconds"]
    url = os.environ[URL_VARIABLE].replace("+psycopg", "", 1)
    changes = 0
    with psycopg.connect(url) as connection:
        while time.monotonic() < until:
            ids = _some_jobs(rng, int(command["after"]))
            if ids:
                changes += _change(rng, connection, ids)
            time.sleep(rng.uniform(0, command["pace"]))
    return changes


def _some_jobs(rng: random.Random, after: int) -> list[int]:
    """A few jobs of those that wait, of those that run, or of those that are over."""
    statuses = rng.choice(_STATUSES)
    page = app.job_manager.list_jobs(status=statuses, newest_first=rng.random() < 0.5, limit=100)
    ids = [job.id for job in page if job.id > after]
    return rng.sample(ids, min(len(ids), rng.choice((1, 1, 1, 4))))


def _change(rng: random.Random, connection: psycopg.Connection, ids: list[int]) -> int:
    """Change them; several only by one call, which locks them in the order of their ids."""
    if rng.random() > _SHARE_OF_TRANSACTIONS:
        return _try(rng, app.job_manager, ids)
    with connection.transaction(force_rollback=rng.random() < _SHARE_OF_ROLLBACKS):
        changes = _try(rng, app.job_manager.on(connection), ids)
        if len(ids) == 1 and rng.random() < 0.3:
            changes += _try(rng, app.job_manager.on(connection), ids)
        time.sleep(rng.uniform(0, _LONGEST_TRANSACTION))
    return changes


def _try(rng: random.Random, jobs: JobManager, ids: list[int]) -> int:
    if len(ids) > 1:
        match rng.choice(("cancel", "abort", "delete")):
            case "cancel":
                return jobs.cancel_jobs(ids=ids)
            case "abort":
                return jobs.cancel_jobs(ids=ids, abort=True)
        return jobs.delete_jobs(ids=ids)
    [job_id] = ids
    wait = timedelta(seconds=rng.uniform(-0.1, 0.3))
    try:
        match rng.choice(("cancel", "delete", "priority", "queue", "time", "retry", "retry")):
            case "cancel":
                return jobs.cancel_job_by_id(job_id, abort=rng.random() < 0.5)
            case "delete":
                return jobs.cancel_job_by_id(job_id, delete_job=True)
            case "priority":
                jobs.reschedule_job(job_id, priority=rng.choice(PRIORITIES))
            case "queue":
                jobs.reschedule_job(job_id, queue=rng.choice(QUEUES))
            case "time":
                jobs.reschedule_job(job_id, schedule_in=wait)
            case "retry":
                jobs.retry_job_by_id(
                    job_id,
                    retry_in=rng.choice((None, wait)),
                    priority=rng.choice((None, *PRIORITIES)),
                    lock=rng.choice((None, None, draw_lock(rng))),
                )
    except (InvalidTransition, JobNotFound):
        return 0
    return 1


if __name__ == "__main__":
    main()
