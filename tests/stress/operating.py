"""A process that does at random what an operator does to jobs, in transactions that may roll back."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg

from taskq import InvalidTransition, JobManager, JobNotFound, JobStatus
from tests.stress.children import answer, commands
from tests.stress.scripts import PRIORITIES, QUEUES, draw_lock
from tests.stress.tasks import URL_VARIABLE, app, work, work_in_a_thread, work_in_secret

_SHARE_OF_TRANSACTIONS = 0.6
_SHARE_OF_ROLLBACKS = 0.3
_SHARE_OF_PAUSES = 0.1
_SHARE_OF_ROTATIONS = 0.1
_THREADS = 2

_TASKS = (work.name, work_in_a_thread.name, work_in_secret.name)
_TODO = (JobStatus.TODO,)
_STATUSES = (
    *(_TODO, _TODO, _TODO),
    (JobStatus.DOING,),
    (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.ABORTED),
)


def main() -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        for command in commands():
            if command.get("release"):
                answer(changes=_release_one(command["seed"], command["after"]))
                continue
            done = [
                threads.submit(_operate, f"{command['seed']} thread {n}", command)
                for n in range(_THREADS)
            ]
            answer(changes=sum(future.result() for future in done))


def _operate(seed: str, command: dict[str, float]) -> int:
    url = os.environ[URL_VARIABLE].replace("+psycopg", "", 1)
    with psycopg.connect(url) as connection:
        return Operator(random.Random(seed), connection, command).operate()


def _release_one(seed: str, after: int) -> int:
    """Let the followers go of one job that was not to run for long; returns how many there were."""
    rng, jobs = random.Random(seed), app.job_manager
    soon = datetime.now(UTC) + timedelta(seconds=60)
    page = jobs.list_jobs(status=JobStatus.TODO, newest_first=True, limit=1000)
    held_back = [
        job for job in page if job.id > after and job.scheduled_at and job.scheduled_at > soon
    ]
    if not held_back:
        return 0
    job = rng.choice(held_back)
    match rng.choice(("cancel", "delete", "delete many", "now", "last")):
        case "cancel":
            jobs.cancel_job_by_id(job.id)
        case "delete":
            jobs.cancel_job_by_id(job.id, delete_job=True)
        case "delete many":
            jobs.delete_jobs(ids=[job.id])
        case "now":
            jobs.reschedule_job(job.id, schedule_in=timedelta(0))
        case "last":
            # Then its followers go first; it is still there.
            jobs.reschedule_job(job.id, priority=job.priority - 1000)
    return len(held_back)


class Operator:
    """Changes jobs, in a thread.

    Args:
        rng: What is drawn at random comes from it.
        connection: For transactions.
        plan: What happens in this wave.
    """

    def __init__(
        self, rng: random.Random, connection: psycopg.Connection, plan: dict[str, float]
    ) -> None:
        self._rng = rng
        self._connection = connection
        self._plan = plan

    def operate(self) -> int:
        """Change jobs as long as any come, and those for later wait; returns how many changes that were."""
        until = time.monotonic() + self._plan["seconds"] + self._plan["latest"]
        changes = 0
        while time.monotonic() < until:
            if self._rng.random() < _SHARE_OF_PAUSES:
                self._pause()
            elif self._rng.random() < _SHARE_OF_ROTATIONS:
                changes += app.job_manager.rotate_encryption_keys().jobs
            elif ids := self._some_jobs():
                changes += self._change(ids)
            time.sleep(self._rng.uniform(0, self._plan["pace"]))
        return changes

    def _pause(self) -> None:
        """Pause a queue or a task for a moment."""
        jobs, queue, task = app.job_manager, self._rng.choice(QUEUES), self._rng.choice(_TASKS)
        of_queue = self._rng.random() < 0.5
        _ = jobs.pause_queue(queue) if of_queue else jobs.pause_task(task)
        time.sleep(self._rng.uniform(0, 0.1))
        _ = jobs.resume_queue(queue) if of_queue else jobs.resume_task(task)

    def _some_jobs(self) -> list[int]:
        """A few jobs of those that wait, of those that run, or of those that are over."""
        page = app.job_manager.list_jobs(
            status=self._rng.choice(_STATUSES), newest_first=self._rng.random() < 0.5, limit=100
        )
        ids = [job.id for job in page if job.id > self._plan["after"]]
        return self._rng.sample(ids, min(len(ids), self._rng.choice((1, 1, 1, 4))))

    def _change(self, ids: list[int]) -> int:
        """Change them; several only by one call, which locks them in the order of their ids."""
        if self._rng.random() > _SHARE_OF_TRANSACTIONS:
            return self._do(app.job_manager, ids)
        with self._connection.transaction(force_rollback=self._rng.random() < _SHARE_OF_ROLLBACKS):
            jobs = app.job_manager.on(self._connection)
            changes = self._do(jobs, ids)
            if len(ids) == 1 and self._rng.random() < 0.3:
                changes += self._do(jobs, ids)
            time.sleep(self._rng.uniform(0, self._plan["open_for"]))
        return changes

    def _do(self, jobs: JobManager, ids: list[int]) -> int:
        if len(ids) > 1:
            return self._do_to_many(jobs, ids)
        try:
            return self._do_to_one(jobs, ids[0])
        except (InvalidTransition, JobNotFound):
            return 0

    def _do_to_many(self, jobs: JobManager, ids: list[int]) -> int:
        match self._rng.choice(("cancel", "abort", "delete")):
            case "cancel":
                return jobs.cancel_jobs(ids=ids)
            case "abort":
                return jobs.cancel_jobs(ids=ids, abort=True)
        return jobs.delete_jobs(ids=ids)

    def _do_to_one(self, jobs: JobManager, job_id: int) -> int:
        rng = self._rng
        wait = timedelta(seconds=rng.uniform(-0.1, 0.3))
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
        return 1


if __name__ == "__main__":
    main()
