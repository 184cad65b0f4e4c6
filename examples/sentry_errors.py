"""taskq and Sentry: each job that fails for good is an error there, and each attempt a transaction.

SENTRY_DSN=https://… TASKQ_DATABASE_URL=postgresql://… python examples/sentry_errors.py
"""

from collections.abc import Awaitable, Callable
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger

from taskq import App, JobContext, Worker
from taskq.telemetry import JobFailed

CallNext = Callable[[], Awaitable[Any]]


async def sentry_scope(call_next: CallNext, context: JobContext, worker: Worker) -> Any:
    """Give each attempt a scope of its own, so that what is said in it names the job; and its time.

    It wraps sync tasks too: the scope is there in their threads.
    """
    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("taskq.task", context.task.name)
        scope.set_tag("taskq.queue", context.job.queue)
        # Not the arguments, which may be personal.
        scope.set_context("job", {"id": context.job.id, "attempt": context.job.attempt})
        with sentry_sdk.start_transaction(op="queue.task", name=context.task.name) as transaction:
            try:
                result = await call_next()
            except BaseException:
                transaction.set_status("internal_error")
                raise
            transaction.set_status("ok")
            return result


def failed(event: JobFailed) -> None:
    """Tell Sentry of a job that will not be tried again, also one whose process crashed.

    An attempt that is retried is no error yet. Of an encrypted job the error has no message.
    """
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("taskq.task", event.job.task_name)
        scope.set_tag("taskq.queue", event.job.queue)
        scope.set_context("job", {"id": event.job.id, "attempt": event.job.attempt})
        sentry_sdk.capture_exception(event.error)


app = App(worker_defaults={"worker_middleware": sentry_scope})
app.telemetry.subscribe(JobFailed, failed)


@app.task(name="charge", retry=1)
def charge(cents: int) -> None:
    if cents < 0:
        sentry_sdk.capture_message("a refund was tried")
        raise ValueError("that would be a refund")


if __name__ == "__main__":
    # The DSN is in SENTRY_DSN.
    sentry_sdk.init(traces_sample_rate=1.0)
    # What taskq logs of a failed job Sentry would take for another error, without the job.
    ignore_logger("taskq.worker.attempt")
    app.schema_manager.apply_schema()
    charge.batch_defer({"cents": 100}, {"cents": -1})
    app.run_worker(wait=False)
    sentry_sdk.flush()
