"""What a test asks of jobs, and has run, on a database of its own."""

import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from taskq import App, JobContext, JobStatus, Snooze
from taskq.exceptions import InvalidArguments, InvalidOption
from taskq.pytest import Jobs
from tests.pytest import shop
from tests.pytest.shop import send_mail, sent

# What was deferred


def test_a_job_is_found_by_some_of_its_arguments(jobs: Jobs) -> None:
    first = send_mail.defer(to="ada", on=date(2026, 1, 1))
    second = send_mail.defer(to="ada", copies=2)
    assert [job.id for job in jobs.deferred(send_mail, to="ada")] == [first, second]
    assert [job.id for job in jobs.deferred(send_mail, on=date(2026, 1, 1))] == [first]
    assert [job.id for job in jobs.deferred(send_mail, to=ANY, copies=2)] == [second]
    # The default of the task is what its job would run with.
    assert [job.id for job in jobs.deferred(send_mail, copies=1)] == [first]
    assert jobs.deferred(shop.welcome) == []
    [job] = jobs.assert_deferred(send_mail, to="ada", copies=2)
    assert job.queue == "mail"


def test_what_is_missing_is_shown_with_what_is_nearest_to_it(jobs: Jobs) -> None:
    send_mail.defer(to="bob", copies=3)
    near = send_mail.defer(to="ada", copies=2)
    with pytest.raises(AssertionError) as failed:
        jobs.assert_deferred(send_mail, to="ada", copies=3, on=None)
    assert str(failed.value).splitlines() == [
        "no job tests.pytest.shop.send_mail(to='ada', copies=3, on=None) was deferred; of the task 2 jobs:",
        f"  job {near - 1} (todo, queue mail): to='bob' and not 'ada'",
        f"  job {near} (todo, queue mail): copies=2 and not 3",
    ]
    with pytest.raises(AssertionError, match=r"none of that task; of others: .*send_mail \(2\)"):
        jobs.assert_deferred(shop.welcome)


def test_what_should_not_be_there_is_shown(jobs: Jobs) -> None:
    jobs.assert_not_deferred(send_mail)
    job_id = send_mail.defer(to="ada")
    jobs.assert_not_deferred(send_mail, to="bob")
    with pytest.raises(AssertionError, match=f"job {job_id} .*{{'to': 'ada'}}"):
        jobs.assert_not_deferred(send_mail)


def test_an_argument_that_the_task_does_not_take_is_refused(jobs: Jobs) -> None:
    with pytest.raises(InvalidArguments, match="argument 'too' is unknown, did you mean 'to'"):
        jobs.assert_not_deferred(send_mail, too="ada")


def test_jobs_of_another_program_are_found_by_the_name_of_the_task(jobs: Jobs) -> None:
    jobs.app.configure_task("billing.charge").defer(cents=100)
    assert len(jobs.deferred("billing.charge", cents=100)) == 1
    jobs.assert_not_deferred("billing.charge", cents=99)


# One job


def test_arguments_and_results_go_through_the_database(jobs: Jobs) -> None:
    ran = jobs.run(shop.size_of, path=Path("a.txt"))
    assert ran.status is JobStatus.SUCCEEDED
    assert ran.job.task_kwargs == {"path": "a.txt"}
    assert ran.job.result == "a.size"
    assert ran.result == Path("a.size")


def test_what_is_not_stored_is_what_the_task_returned(jobs: Jobs) -> None:
    assert jobs.run(shop.double, number=4).result == 8


def test_arguments_that_do_not_fit_are_refused(jobs: Jobs) -> None:
    wrong: Any = 7
    with pytest.raises(InvalidArguments):
        jobs.run(send_mail, to=wrong)


def test_a_failure_is_retried_as_the_strategy_says(jobs: Jobs) -> None:
    ran = jobs.run(shop.refuse, why="sold out")
    assert (ran.status, ran.ending) == ("todo", "retried")
    assert isinstance(ran.error, ValueError)
    assert ran.job.scheduled_at is not None
    assert ran.job.started_at is not None
    assert ran.job.scheduled_at - ran.job.started_at >= timedelta(seconds=60)
    with pytest.raises(AssertionError, match="attempt 1 has retried: ValueError: sold out"):
        _ = ran.result

    assert jobs.run(shop.refuse, why="sold out", attempt=3).status == "failed"
    with pytest.raises(InvalidOption, match="attempt=0"):
        jobs.run(shop.refuse, why="", attempt=0)


@pytest.fixture
def taskq_worker_options() -> dict[str, Any]:
    return {"additional_context": {"shop": "ours"}}


def test_the_task_gets_the_context_of_the_attempt_and_of_the_test(jobs: Jobs) -> None:
    shop.visitor.set("ada")
    assert jobs.run(shop.attempt_of, attempt=5).result == [5, "ours", "ada"]


def test_no_other_job_is_run(jobs: Jobs) -> None:
    send_mail.configure(priority=5).defer(to="first")
    waiting = send_mail.defer(to="second")
    jobs.run(send_mail, to="third")
    assert sent == ["third"]
    [second] = jobs.deferred(send_mail, to="second")
    assert second.id == waiting
    assert jobs.run(second).status == "succeeded"
    assert sent == ["third", "second"]


def test_a_job_that_may_not_begin_says_why(jobs: Jobs) -> None:
    shop.in_turn.defer(number=1)
    with pytest.raises(AssertionError, match=r"job 2 cannot run now: .*behind job 1"):
        jobs.run(shop.in_turn, number=2)
    assert jobs.drain() == {"succeeded": 2}
    assert sent == ["1", "2"]


# All of them


def test_what_waits_runs_and_what_that_defers(jobs: Jobs) -> None:
    shop.welcome.defer(user="ada")
    shop.welcome_async.defer(user="bob")
    assert jobs.drain() == {"succeeded": 5}
    assert sorted(sent) == ["ada", "bob", "bob again"]
    assert jobs.drain() == {}
    # In the test's own thread, as what belongs to that is what a sync task uses.
    assert set(shop.threads) == {threading.get_ident()}


def test_only_the_queues_that_are_named_are_drained(jobs: Jobs) -> None:
    send_mail.defer(to="ada")
    shop.refuse.defer(why="not here")
    assert jobs.drain(queues="mail") == {"succeeded": 1}
    assert jobs.drain(queues=["default"]) == {"todo": 1}


def test_a_job_that_nobody_knows_fails(jobs: Jobs) -> None:
    jobs.app.configure_task("billing.charge").defer(cents=100)
    assert jobs.drain() == {"failed": 1}


def test_an_event_is_drained_as_well(jobs: Jobs) -> None:
    jobs.app.publish("signed_up", user="ada")
    assert jobs.drain() == {"succeeded": 1}
    assert sent == ["hello ada"]


def test_what_has_no_end_is_told(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.pytest.driver._MOST_ATTEMPTS", 5)
    shop.for_ever.defer()
    with pytest.raises(AssertionError, match=r"5 attempts were run .* does a task defer itself"):
        jobs.drain()
    # The time is back, and nothing is held by a worker that is not there.
    assert jobs.app.job_manager.list_workers() == []
    assert jobs.app.job_manager.list_jobs(status="doing").jobs == []


async def test_all_of_it_may_be_awaited(jobs: Jobs) -> None:
    await jobs.assert_not_deferred_async(send_mail)
    await shop.welcome_async.defer_async(user="ada")
    assert await jobs.drain_async() == {"succeeded": 3}
    assert len(await jobs.assert_deferred_async(send_mail)) == 2
    assert (await jobs.run_async(shop.double, number=2)).result == 4
    assert (await jobs.run_async(shop.refuse, why="no", attempt=3)).status == "failed"
    await send_mail.configure(schedule_in={"hours": 1}).defer_async(to="bob")
    await jobs.advance_async(timedelta(hours=1))
    assert await jobs.drain_async() == {"succeeded": 1}


async def test_the_sync_methods_do_not_block_an_event_loop(jobs: Jobs) -> None:
    with pytest.raises(RuntimeError, match=r"await jobs\.drain_async"):
        jobs.drain()


# Time


def test_time_moves_on_to_the_microsecond_that_is_asked_for(jobs: Jobs) -> None:
    later = datetime.now(UTC).replace(microsecond=7) + timedelta(days=30)
    send_mail.configure(schedule_at=later).defer(to="then")
    send_mail.configure(schedule_at=later + timedelta(microseconds=1)).defer(to="after")
    assert jobs.drain() == {}
    assert jobs.drain(until=later - timedelta(microseconds=1)) == {}
    assert jobs.drain(until=later) == {"succeeded": 1}
    assert sent == ["then"]
    assert jobs.drain(with_scheduled=True) == {"succeeded": 1}
    # Afterwards the time is what it was, for those that have run and those that have not.
    assert [job.scheduled_at for job in jobs.deferred(send_mail)] == [
        later,
        later + timedelta(microseconds=1),
    ]
    [then, _] = jobs.deferred(send_mail)
    assert then.started_at is not None
    assert timedelta() <= then.started_at - later < timedelta(minutes=1)


def test_what_is_deferred_on_the_way_comes_in_its_turn(jobs: Jobs) -> None:
    started = datetime.now(UTC)
    shop.refuse.configure(schedule_in={"minutes": 5}).defer(why="no")
    send_mail.configure(schedule_in={"minutes": 5, "seconds": 50}).defer(to="before it is retried")
    shop.welcome.configure(schedule_in={"minutes": 20}).defer(user="ada")
    assert jobs.drain(until=timedelta(minutes=6, seconds=59)) == {"succeeded": 1, "todo": 1}
    assert jobs.drain(with_scheduled=True) == {"failed": 1, "succeeded": 3}
    assert sent == ["before it is retried", "ada", "ada later"]
    [later] = jobs.deferred(send_mail, to="ada later")
    assert later.started_at is not None
    after = later.started_at - started
    assert timedelta(days=1, minutes=20) < after < timedelta(days=1, minutes=21)


def test_a_snooze_is_waited_for_by_moving_time(jobs: Jobs) -> None:
    times: list[int] = []
    app = App("postgresql://nobody@nowhere/none")

    @app.task(name="poll", pass_context=True)
    def poll(context: JobContext) -> None:
        times.append(context.job.attempt)
        if len(times) < 3:
            raise Snooze(timedelta(hours=1))

    with app.replace_database(jobs.app.database.engine):
        own = Jobs(app)
        poll.defer()
        assert own.drain(until=timedelta(minutes=59)) == {"todo": 1}
        assert own.drain(with_scheduled=True) == {"succeeded": 1}
    assert times == [1, 1, 1]


def test_a_rate_is_kept_while_time_moves(jobs: Jobs) -> None:
    for number in range(4):
        shop.call.defer(number=number)
    assert jobs.drain() == {"succeeded": 1}
    assert jobs.drain(until=timedelta(minutes=21)) == {"succeeded": 2}
    assert jobs.drain(with_scheduled=True) == {"succeeded": 1}
    assert sent == ["0", "1", "2", "3"]


def test_a_job_that_is_not_begun_by_its_time_expires(jobs: Jobs) -> None:
    send_mail.configure(expire_in={"hours": 1}).defer(to="too late")
    jobs.advance(timedelta(hours=1))
    assert jobs.drain() == {"cancelled": 1}
    [job] = jobs.deferred(send_mail)
    assert job.expired
    assert sent == []


@pytest.mark.parametrize("until", [datetime(2030, 1, 1), 5])  # noqa: DTZ001
def test_a_time_that_is_none_is_refused(jobs: Jobs, until: Any) -> None:
    with pytest.raises(InvalidOption, match="until="):
        jobs.drain(until=until)


# What wraps a task


def test_middleware_is_called_as_by_a_worker(jobs: Jobs) -> None:
    seen: list[str] = []

    async def around(call: Callable[[], Awaitable[Any]], context: Any, worker: Any) -> Any:
        seen.append(f"before {context.job.task_name} by {worker.options.name}")
        try:
            return await call()
        finally:
            seen.append("after")

    own = Jobs(jobs.app, worker_options={"worker_middleware": around})
    assert own.run(shop.double, number=1).result == 2
    assert seen == ["before tests.pytest.shop.double by test", "after"]


def test_a_task_in_a_transaction_is_rolled_back_when_it_fails(jobs: Jobs) -> None:
    assert jobs.run(shop.note, what="kept").status == "succeeded"
    assert jobs.run(shop.note, what="lost", fail=True).status == "failed"
    assert jobs.run(shop.note_async, what="kept as well").status == "succeeded"
    with jobs.app.database.engine.connect() as connection:
        notes = connection.exec_driver_sql("SELECT what FROM notes ORDER BY what").scalars()
        assert list(notes) == ["kept", "kept as well"]
