"""taskq and structlog: one JSON object a line, and each line that a task writes names its job.

TASKQ_DATABASE_URL=postgresql://… python examples/structlog_json.py
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from taskq import App, JobContext, Worker

CallNext = Callable[[], Awaitable[Any]]

# What records of taskq, and of structlog, have alike.
SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    # What taskq's records have as attributes: action, job_id, task_name, duration …
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso"),
]


def set_up_log() -> None:
    """Send structlog through logging, where taskq's records are, and print all of it as JSON."""
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                # Also of values that JSON has no form for.
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


async def bind_job(call_next: CallNext, context: JobContext, worker: Worker) -> Any:
    """Have each line of an attempt name the job, in threads of sync tasks too."""
    with structlog.contextvars.bound_contextvars(
        job_id=context.job.id, task_name=context.task.name, attempt=context.job.attempt
    ):
        return await call_next()


# Here, so that it is there wherever the app is imported: `python -m taskq worker` leaves it as it is.
set_up_log()
log = structlog.get_logger("shop")

app = App(worker_defaults={"worker_middleware": bind_job})


@app.task(name="charge")
def charge(cents: int) -> None:
    log.info("charging", cents=cents)
    if cents < 0:
        raise ValueError("that would be a refund")


if __name__ == "__main__":
    app.schema_manager.apply_schema()
    charge.batch_defer({"cents": 100}, {"cents": -1})
    app.run_worker(wait=False)
