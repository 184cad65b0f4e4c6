"""The call of a process: what a job's task needs of what the worker knows."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from taskq.context import JobContext
from taskq.job import Job
from taskq.progress import NewProgress
from taskq.task import Task
from taskq.worker.concealed import conceals

if TYPE_CHECKING:
    from taskq.worker.process_pool.process import ProcessCall


def process_call(
    job: Job,
    task: Task[..., Any],
    stored: Mapping[str, JsonValue],
    context: JobContext[Any, Any, Any] | None,
    *,
    report: Callable[[NewProgress], None],
    loop: asyncio.AbstractEventLoop,
) -> "ProcessCall":
    """Put together what a process is sent.

    Args:
        job: The job.
        task: Its task.
        stored: Its arguments, as JSON carries them, and decrypted.
        context: For a task that takes one.
        report: Takes what the task reports of its progress.
        loop: That of the worker.
    """
    # Not imported by workers without such a task.
    from taskq.worker.process_pool.crossing import pack_additional  # noqa: PLC0415
    from taskq.worker.process_pool.messages import Call, ContextValues  # noqa: PLC0415
    from taskq.worker.process_pool.process import ProcessCall  # noqa: PLC0415

    values = None
    if context is not None:
        additional, left_out = pack_additional(context.additional_context)
        values = ContextValues(
            worker_name=context.worker_name,
            worker_queues=context.worker_queues,
            start_timestamp=context.start_timestamp,
            failed_attempts=context.failed_attempts,
            additional=additional,
            left_out=left_out,
        )

    def later(seconds: float, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(loop.call_later, seconds, call)

    return ProcessCall(
        job,
        Call(
            job=job,
            module=task.func.__module__,
            stored=stored,
            conceals=conceals(job, task),
            context=values,
        ),
        is_stored=task.store_result,
        report=report,
        later=later,
    )
