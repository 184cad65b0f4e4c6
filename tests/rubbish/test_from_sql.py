"""What SQL passes is stored as it is, or refused with nothing written; no other job and no worker suffers."""

from datetime import datetime
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import App, JobStatus
from tests.rubbish import strategies
from tests.rubbish.conftest import count, drain, examples, left

# A failure shows what it is about, however long that is.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

# What a refusal is: of the value's own, and of no plan, function or lock of taskq's.
REFUSALS = (
    psycopg.errors.CheckViolation,
    psycopg.errors.UniqueViolation,
    psycopg.DataError,
    psycopg.errors.StatementTooComplex,  # JSON so deep that the server does not read it
)

DEFER = "SELECT taskq_defer_jobs(%s::text::jsonb, %s)"


def time_texts() -> st.SearchStrategy[str]:
    edges = [
        "infinity",
        "-infinity",
        "now",
        "epoch",
        "0044-03-15 BC",
        "294276-12-31",
        "20000-01-01",
    ]
    return st.sampled_from(edges) | strategies.times.map(datetime.isoformat)


scalars = strategies.any_texts | strategies.numbers | time_texts() | st.none()
keys = {
    "task_name": st.just("fine") | strategies.names,
    "args": strategies.objects | strategies.values,
    "metadata": strategies.objects | strategies.values,
    "tags": st.lists(strategies.names, max_size=3) | strategies.values,
    "queue_name": strategies.names | strategies.values,
    "priority": strategies.numbers | strategies.values,
    "lock": strategies.names | strategies.values,
    "queueing_lock": strategies.names | strategies.values,
    "idempotency_key": strategies.names | strategies.values,
    "limit": strategies.names,
    "limit_key": strategies.names,
    "scheduled_at": time_texts() | scalars,
    "schedule_in": strategies.numbers | scalars,
    "expire_at": time_texts() | scalars,
    "expire_in": strategies.numbers | scalars,
    "awaited": st.booleans() | scalars,
}


def but_few(of: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """A job with one or two odd values: with many of them, hardly one would be taken."""
    one = st.sampled_from(sorted(of)).flatmap(
        lambda name: of[name].map(lambda value: {name: value})
    )
    return st.builds(lambda a, b: {"task_name": "fine"} | a | b, one, one | st.just({}))


def test_each_key_of_a_job_is_in_these_tests(connection: psycopg.Connection) -> None:
    [(known,)] = connection.execute(
        "SELECT regexp_match(prosrc, 'known_keys CONSTANT text \\[\\] := ARRAY\\[(.*?)\\]') "
        "FROM pg_proc WHERE proname = 'taskq_defer_jobs'"
    ).fetchall()
    assert {name.strip(" '\n") for name in known[0].split(",")} == keys.keys()


@examples(20)
@given(
    strategies.several(
        strategies.several(but_few(keys), 1) | strategies.several(but_few(keys), 3), 6
    ),
    st.sampled_from(["raise", "skip", "replace"]),
    strategies.several(strategies.values, 1),
)
def test_whatever_is_deferred_by_sql_is_stored_or_refused_and_hinders_no_other_job(
    app: App,
    connection: psycopg.Connection,
    calls: list[list[dict[str, Any]]],
    on_conflict: str,
    nonsense: list[Any],
) -> None:
    connection.execute("TRUNCATE taskq_jobs, taskq_open_gates, taskq_limit_gates CASCADE")
    if not app.tasks:

        @app.task(name="fine")
        def fine(**values: Any) -> None: ...

    taken = 0
    for call in (*calls, *nonsense):
        before = count(connection)
        try:
            ids = connection.execute(
                DEFER, [strategies.as_json(call), on_conflict], prepare=False
            ).fetchall()
        except REFUSALS as refusal:
            said = refusal.diag.message_primary or ""
            # The types of columns quote what is no value of theirs; what taskq says is short.
            assert len(said) < 1_000 or not said.startswith("taskq"), said
            assert count(connection) == before
        else:
            taken += len(ids)
            [stored] = connection.execute("SELECT count(*) FROM taskq_jobs").fetchall()
            assert stored[0] <= before + len(call)
    [(unchanged,)] = connection.execute(
        "SELECT count(*) FROM taskq_jobs WHERE jsonb_typeof(args) <> 'object'"
    ).fetchall()
    assert unchanged == 0
    # What is written can be read, whole.
    assert all(not job.unreadable for job in app.job_manager.list_jobs())
    fine_id = app.tasks["fine"].configure(queue="beside").defer()
    drain(app)
    beside = app.job_manager.get_job(fine_id)
    assert (beside.status, beside.attempt) == (JobStatus.SUCCEEDED, 1)
    # Only what is for later waits, and what has a limit that nothing declares.
    later = [
        (job.scheduled_at and job.scheduled_at > job.deferred_at) or job.limit_key
        for job in left(app)
    ]
    assert all(later), left(app)
    assert not app.job_manager.list_workers()


@examples(40)
@given(strategies.several(strategies.objects, 1))
def test_what_sql_stores_a_task_gets_as_it_was(
    app: App, connection: psycopg.Connection, one: list[dict[str, Any]]
) -> None:
    [args] = one
    received: list[Any] = []
    app.tasks.clear()

    @app.task(name="take")
    def take(**values: Any) -> None:
        received.append(values)

    connection.execute("TRUNCATE taskq_jobs CASCADE")
    call = strategies.as_json([{"task_name": "take", "args": args, "metadata": args}])
    try:
        connection.execute(DEFER, [call, "raise"], prepare=False)
    except REFUSALS:
        return
    drain(app)
    [job] = app.job_manager.list_jobs()
    # As the server reads it, and Python what the server has.
    [(as_stored,)] = connection.execute(
        "SELECT (%s::text::jsonb -> 0 -> 'args')", [call], prepare=False
    ).fetchall()
    assert strategies.same(job.task_kwargs, as_stored)
    assert strategies.same(job.metadata, as_stored)
    if job.status is JobStatus.SUCCEEDED:
        assert len(received) == 1
        assert strategies.same(received[0], as_stored)
    else:
        assert job.status is JobStatus.FAILED
        [failure] = app.job_manager.list_failed_attempts(job.id)
        assert failure.error_type == "taskq.exceptions.InvalidArguments"
