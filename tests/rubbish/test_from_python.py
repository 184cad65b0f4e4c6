"""What Python passes arrives as it was, or is refused by taskq's own error and nothing is written."""

import logging
from datetime import UTC
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import App, JobContext, JobStatus
from taskq.arguments.jsonb import from_jsonb
from taskq.cli.logs import EscapingFormatter
from tests.rubbish import strategies
from tests.rubbish.conftest import Door, count, drain, examples, left

# A failure shows what it is about, however long that is.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

Received = dict[int, Any]


def beside(app: App) -> int:
    """A job that nothing is wrong with."""
    return app.configure_task("fine").defer()


def configured(app: App, options: dict[str, Any]) -> Any:
    """Defer a job with such options."""
    return app.configure_task(**options).defer()


@pytest.fixture
def received(app: App) -> Received:
    """What the jobs of ``echo`` were given, by their ids."""
    given: Received = {}

    @app.task(name="fine")
    def fine() -> None: ...

    @app.task(name="echo", pass_context=True, store_result=True)
    def echo(context: JobContext, /, **values: Any) -> Any:
        given[context.job.id] = values
        return list(values.items()) and [values]

    return given


@examples(12)
@given(strategies.several(strategies.objects, 10))
def test_arguments_and_results_arrive_as_they_were(
    app: App, received: Received, connection: psycopg.Connection, objects: list[Any]
) -> None:
    connection.execute("TRUNCATE taskq_jobs CASCADE")
    received.clear()
    door, echo = Door(connection), app.tasks["echo"]
    given = {
        job_id: arguments
        for arguments in objects
        if (job_id := door.is_taken(echo.defer, **arguments)) is not None
    }
    fine = beside(app)
    drain(app)
    jobs = {job.id: job for job in app.job_manager.list_jobs()}
    assert jobs.keys() == {*given, fine}
    for job_id, job in jobs.items():
        assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1), job
        if job_id != fine:
            stored = from_jsonb(given[job_id])
            assert strategies.same(job.task_kwargs, stored)
            assert strategies.same(received[job_id], stored)
            assert strategies.same(job.result, [stored] if stored else [])
    assert not app.job_manager.list_workers()


@examples(40)
@given(strategies.several(strategies.objects, 3))
def test_one_of_a_batch_that_no_job_can_have_has_none_of_it_written(
    app: App, received: Received, connection: psycopg.Connection, batch: list[Any]
) -> None:
    echo, before = app.tasks["echo"], count(connection)
    if (ids := Door(connection).is_taken(echo.batch_defer, *batch)) is not None:
        assert count(connection) == before + len(batch) == before + len(ids)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": strategies.names,
        "queue": strategies.names,
        "lock": strategies.names,
        "queueing_lock": strategies.names,
        "idempotency_key": strategies.names,
        "priority": st.integers(-(2**32), 2**32) | strategies.numbers,
        "tags": st.lists(strategies.names, max_size=3) | st.just([str(n) for n in range(101)]),
        "metadata": strategies.objects,
        "schedule_at": strategies.times | strategies.naive_times,
        "schedule_in": strategies.waits,
        "expire_at": strategies.times | strategies.naive_times,
        "expire_in": strategies.waits,
    },
)


@examples(15)
@given(strategies.several(OPTIONS, 5))
def test_whatever_a_job_is_configured_with_it_is_kept_or_refused(
    app: App, received: Received, connection: psycopg.Connection, many: list[Any]
) -> None:
    connection.execute("TRUNCATE taskq_jobs CASCADE")
    door = Door(connection)
    given: dict[int, dict[str, Any]] = {}
    for options in many:
        named = {"name": "echo"} | options

        if (job_id := door.is_taken(configured, app, named)) is not None:
            given.setdefault(job_id, named)
    jobs = {job.id: job for job in app.job_manager.list_jobs()}
    assert jobs.keys() == given.keys()
    for job_id, options in given.items():
        job = jobs[job_id]
        kept = {
            "name": job.task_name,
            "queue": job.queue,
            "lock": job.lock,
            "queueing_lock": job.queueing_lock,
            "idempotency_key": job.idempotency_key,
            "priority": job.priority,
            "tags": list(job.tags),
            "metadata": job.metadata,
            "schedule_at": job.scheduled_at,
            "expire_at": job.expires_at,
        }
        assert job.unreadable == {}
        for name, value in options.items():
            match name:
                case "tags":
                    assert kept[name] == list(dict.fromkeys(value))
                case "metadata":
                    assert strategies.same(kept[name], from_jsonb(value))
                case "schedule_at" | "expire_at":
                    assert kept[name] == value.astimezone(UTC)
                case "schedule_in" | "expire_in":
                    pass  # it counts from the server's clock
                case _:
                    assert kept[name] == value
    fine = beside(app)
    drain(app)
    assert app.job_manager.get_job(fine).attempt == 1
    assert app.job_manager.get_job_status(fine) is JobStatus.SUCCEEDED
    # A time that has not come waits; all else has run, or has ended for what it lacks.
    later = [job.scheduled_at and job.scheduled_at > job.deferred_at for job in left(app)]
    assert all(later), left(app)


class Shown(logging.Handler):
    """What a terminal gets of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(EscapingFormatter("%(levelname)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.extend(self.format(record).split("\n"))


@examples(12)
@given(strategies.several(st.tuples(strategies.any_texts, strategies.values), 6))
def test_whatever_a_task_reports_returns_and_raises_no_other_job_and_no_log_suffers(
    app: App, received: Received, connection: psycopg.Connection, answers: list[tuple[str, Any]]
) -> None:
    connection.execute("TRUNCATE taskq_jobs, taskq_failed_attempts")
    if "answer" not in app.tasks:

        @app.task(name="answer", pass_context=True, store_result=True)
        def answer(context: JobContext, number: int) -> Any:
            text, value = ANSWERS[number]
            context.report_progress(1, total=2, message=text)
            return value

        @app.task(name="raise")
        def raise_it(number: int) -> None:
            raise type(f"Odd{ANSWERS[number][0]}".replace("\0", ""), (Exception,), {})(
                *ANSWERS[number]
            )

    ANSWERS[:] = answers
    ids = [app.tasks["answer"].defer(number=number) for number in range(len(answers))]
    raising = [app.tasks["raise"].defer(number=number) for number in range(len(answers))]
    fine = beside(app)
    handler = Shown()
    logging.getLogger("taskq").addHandler(handler)
    try:
        drain(app)
    finally:
        logging.getLogger("taskq").removeHandler(handler)
    assert [line for line in handler.lines if not line.isprintable()] == []
    starts = ("INFO ", "WARNING ", "ERROR ", "    ")
    assert [line for line in handler.lines if not line.startswith(starts)] == []
    jobs = {job.id: job for job in app.job_manager.list_jobs()}
    assert jobs[fine].status is JobStatus.SUCCEEDED
    for job_id, (_, value) in zip(ids, answers, strict=True):
        job = jobs[job_id]
        assert job.attempt == 1
        if job.status is JobStatus.SUCCEEDED:
            assert strategies.same(job.result, from_jsonb(value))
        else:
            assert (job.status, job.result) == (JobStatus.FAILED, None)
            [failure] = app.job_manager.list_failed_attempts(job_id)
            assert failure.error_type in {
                "taskq.exceptions.InvalidProgress",
                "taskq.exceptions.InvalidResult",
            }, failure
    for job_id in raising:
        assert jobs[job_id].status is JobStatus.FAILED
        assert len(app.job_manager.list_failed_attempts(job_id)) == 1


ANSWERS: list[tuple[str, Any]] = []
