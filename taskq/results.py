"""What the jobs of a task have returned: read of a job that has ended, or waited for."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from inspect import signature
from typing import Any, NoReturn, Protocol

from taskq.arguments.result import Result
from taskq.encryption import Keyring, is_encrypted
from taskq.exceptions import (
    InvalidResult,
    InvalidSignature,
    JobAborted,
    JobCancelled,
    JobExpired,
    JobFailed,
    ResultNotAvailable,
)
from taskq.job import FailedAttempt, Job, JobStatus
from taskq.manager import JobManager
from taskq.messages import short_repr
from taskq.queries.job_wait import AwaitedJob

_NO_RESULT = {
    JobStatus.TODO: "is todo: it has no result before it has run; read it again later",
    JobStatus.DOING: "is doing: it has no result before it has ended; read it again later",
    JobStatus.FAILED: "has failed, and has no result; app.job_manager.list_failed_attempts(job_id) "
    "says why",
    JobStatus.CANCELLED: "was cancelled, and has no result",
    JobStatus.ABORTED: "was aborted, and has no result",
}


class Returning(Protocol):
    """A task, as far as what it returns is concerned.

    Attributes:
        name: What its jobs call it by.
        aliases: Other names that they may call it by.
        returns: What it stores; None: nothing.
        func: The function.
        keyring: The keys of its app.
    """

    name: str
    aliases: tuple[str, ...]
    returns: Result[Any] | None
    func: Callable[..., Any]

    @property
    def keyring(self) -> Keyring: ...


def result_of(task: Returning, job: Job) -> Any:
    """What a job of a task returned; see ``Task.result``."""
    if task.returns is None:
        raise InvalidSignature(
            f"task {task.name!r} does not store its result: declare it with store_result=True"
        )
    if reason := _without_result(task, job):
        raise ResultNotAvailable(f"task {task.name!r}: {reason}")
    if is_encrypted(job.result):
        stored = task.keyring.decrypt_result(job.task_name, job.id, job.result)
        return task.returns.load(stored, conceals=True)
    try:
        return task.returns.load(job.result)
    except InvalidResult as error:
        if job.result is not None:
            raise
        raise ResultNotAvailable(
            f"task {task.name!r}: job {job.id} stored no result; it ran before the task was "
            "declared with store_result=True"
        ) from error


def wait_for_result(
    task: Returning,
    manager: JobManager,
    job_id: int,
    timeout: float | timedelta | None,
    *,
    exists: bool = False,
) -> Any:
    """Wait for what a job of a task returns; see ``Task.wait``."""
    check_waitable(task)
    job = manager._wait_for_job(job_id, timeout, partial(_check_task, task, job_id), exists=exists)
    if job.status is JobStatus.FAILED:
        _raise_failed(job, manager.list_failed_attempts(job_id))
    return _waited_for(task, job)


async def wait_for_result_async(
    task: Returning,
    manager: JobManager,
    job_id: int,
    timeout: float | timedelta | None,
    *,
    exists: bool = False,
) -> Any:
    """The async twin of ``wait_for_result``."""
    check_waitable(task)
    job = await manager._wait_for_job_async(
        job_id, timeout, partial(_check_task, task, job_id), exists=exists
    )
    if job.status is JobStatus.FAILED:
        _raise_failed(job, await manager.list_failed_attempts_async(job_id))
    return _waited_for(task, job)


def check_waitable(task: Returning) -> None:
    """Refuse to wait for what a task returns, and does not store.

    One that returns None, and says so, has nothing to store.

    Raises:
        InvalidSignature: It does not.
    """
    if task.returns is None and signature(task.func).return_annotation not in {None, "None"}:
        raise InvalidSignature(
            f"task {task.name!r} does not store its result, so there would be nothing to give: declare it "
            "with store_result=True, or with -> None if it returns nothing, or wait for its end alone by "
            "app.job_manager.wait_for_job(job_id)"
        )


def _waited_for(task: Returning, job: Job) -> Any:
    match job.status:
        case JobStatus.CANCELLED if job.expired:
            raise JobExpired(
                f"job {job.id} ({job.task_name}) was cancelled, as it had not begun by {job.expires_at}",
                job_id=job.id,
            )
        case JobStatus.CANCELLED:
            raise JobCancelled(
                f"job {job.id} ({job.task_name}) was cancelled before it began", job_id=job.id
            )
        case JobStatus.ABORTED:
            raise JobAborted(f"job {job.id} ({job.task_name}) was aborted", job_id=job.id)
    if task.returns is not None:
        return result_of(task, job)
    if reason := _without_result(task, job):
        raise ResultNotAvailable(f"task {task.name!r}: {reason}")
    return None


def _raise_failed(job: Job, attempts: list[FailedAttempt]) -> NoReturn:
    if not attempts:
        raise JobFailed(
            f"job {job.id} ({job.task_name}) has failed, and its error is not kept", job_id=job.id
        )
    last = attempts[-1]
    raise JobFailed(
        f"job {job.id} ({job.task_name}) has failed in attempt {last.attempt}: {last.error_type}: "
        f"{last.error_message}",
        job_id=job.id,
        error_type=last.error_type,
        error_message=last.error_message,
        error_traceback=last.error_traceback,
    )


def _check_task(task: Returning, job_id: int, awaited: AwaitedJob) -> None:
    if reason := _of_another(task, job_id, awaited.task_name):
        raise ResultNotAvailable(f"task {task.name!r}: {reason}")


def _without_result(task: Returning, job: object) -> str | None:
    """Why a job has no result of a task; None if it has one."""
    if not isinstance(job, Job):
        return f"{short_repr(job)} is no job: give one as app.job_manager.get_job(job_id) reads it"
    if reason := _of_another(task, job.id, job.task_name):
        return reason
    if job.status is not JobStatus.SUCCEEDED:
        return f"job {job.id} {_NO_RESULT[job.status]}"
    return None


def _of_another(task: Returning, job_id: int, task_name: str) -> str | None:
    if task_name in {task.name, *task.aliases}:
        return None
    return f"job {job_id} is one of task {short_repr(task_name)}: ask that task for its result"
