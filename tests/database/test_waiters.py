"""Waiters: any number in any thread and loop, on few connections, whatever becomes of the job."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, Job, JobNotFound, JobStatus, WaitTimeout
from taskq.database import wait_checker
from taskq.exceptions import DatabaseUnavailable, InvalidDatabase, InvalidFilter, InvalidOption
from taskq.queries.connection import Connection
from taskq.queries.job_wait import CheckedJobs, check_jobs
from taskq_sql import job_wait
from tests.conftest import Face
from tests.database.test_notifier import wait_for
from tests.database.test_sessions import in_child

Defer = Callable[..., list[int]]
End = Callable[..., None]
Sessions = Callable[[], dict[int, str]]

NAMED = "&application_name=waiting"


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(f"{database_url}{NAMED}") as app:
        yield app


@pytest.fixture
def defer(connection: psycopg.Connection) -> Defer:
    """Defers jobs, on the test's own connection; returns their ids."""

    def defer(number: int = 1) -> list[int]:
        jobs = (
            'SELECT taskq_defer_jobs((SELECT jsonb_agg(\'{"task_name": "noop"}\'::jsonb)'
            " FROM generate_series(1, %s)))"
        )
        return [job_id for (job_id,) in connection.execute(jobs, [number])]

    return defer


@pytest.fixture
def end(connection: psycopg.Connection) -> End:
    """Ends jobs, as by hand."""

    def end(*ids: int) -> None:
        connection.execute(
            "UPDATE taskq_jobs SET status = 'succeeded', finished_at = now() WHERE id = ANY(%s)",
            [list(ids)],
        )

    return end


@pytest.fixture
def sessions(connection: psycopg.Connection) -> Sessions:
    """The app's sessions, by process id, with the last statement of each."""

    def sessions() -> dict[int, str]:
        query = (
            "SELECT pid, query FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'waiting'"
        )
        return dict(connection.execute(query).fetchall())

    return sessions


@pytest.fixture
def marked(connection: psycopg.Connection) -> Callable[[], int]:
    """How many jobs are marked as waited for."""

    def count() -> int:
        row = connection.execute("SELECT count(awaited) FROM taskq_jobs").fetchone()
        assert row
        return int(row[0])

    return count


class Checks:
    """The checks of waiters, each with how many jobs it was for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.before: list[Callable[[], object]] = []
        self.after: list[Callable[[], object]] = []
        self.under_way = 0

        def checked(connection: Connection, ids: Sequence[int], *, may_mark: bool) -> CheckedJobs:
            self.sizes.append(len(ids))
            self.under_way += 1
            try:
                while self.before:
                    self.before.pop()()
                found = check_jobs(connection, ids, may_mark=may_mark)
                while self.after:
                    self.after.pop()()
            finally:
                self.under_way -= 1
            return found

        monkeypatch.setattr(wait_checker, "check_jobs", checked)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    return Checks(monkeypatch)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(50) as pool:
        yield pool


@contextmanager
def waiting_for(
    app: App, ids: Sequence[int], face: Face
) -> Iterator[Sequence[asyncio.Future[Job]]]:
    """One that waits for each of some jobs: as many tasks, or as many threads."""
    wait = app.job_manager.wait_for_job
    if face.is_async:
        wait_async = app.job_manager.wait_for_job_async
        yield [asyncio.ensure_future(wait_async(job_id, timeout=30)) for job_id in ids]
        return
    with ThreadPoolExecutor(len(ids)) as threads:
        yield [asyncio.wrap_future(threads.submit(wait, job_id, timeout=30)) for job_id in ids]


@pytest.fixture
def rarely_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen without a notification is not seen within the test."""
    monkeypatch.setattr(wait_checker, "_NOTIFIED_INTERVAL", 600)
    monkeypatch.setattr(wait_checker, "_POLLING_INTERVAL", 600)


# Before, during and after the end


@pytest.mark.usefixtures("rarely_polls")
def test_a_job_that_ends_while_it_is_waited_for_is_notified(
    app: App, defer: Defer, end: End, marked: Callable[[], int], pool: ThreadPoolExecutor
) -> None:
    [job_id] = defer()
    waiting = pool.submit(app.job_manager.wait_for_job, job_id, timeout=15)
    wait_for(marked)
    end(job_id)
    assert waiting.result().status is JobStatus.SUCCEEDED


@pytest.mark.usefixtures("rarely_polls")
def test_a_job_that_has_ended_is_answered_at_once(app: App, defer: Defer, end: End) -> None:
    [job_id] = defer()
    end(job_id)
    assert app.job_manager.wait_for_job(job_id, timeout=15).status is JobStatus.SUCCEEDED


@pytest.mark.usefixtures("rarely_polls")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_end_around_the_check_is_not_missed(
    moment: str, app: App, defer: Defer, end: End, checks: Checks
) -> None:
    [job_id] = defer()
    getattr(checks, moment).append(lambda: end(job_id))
    assert app.job_manager.wait_for_job(job_id, timeout=15).status is JobStatus.SUCCEEDED


@pytest.mark.usefixtures("rarely_polls")
def test_an_end_between_the_look_and_the_mark_is_not_missed(
    app: App, defer: Defer, end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job_id] = defer()
    await_jobs = job_wait.Querier.await_jobs

    def late(self: Any, *, ids: list[int]) -> Any:
        end(*ids)
        return await_jobs(self, ids=ids)

    monkeypatch.setattr(job_wait.Querier, "await_jobs", late)
    assert app.job_manager.wait_for_job(job_id, timeout=15).status is JobStatus.SUCCEEDED


@pytest.mark.usefixtures("rarely_polls")
def test_an_end_before_listening_began_is_not_missed(
    app: App,
    defer: Defer,
    end: End,
    connection: psycopg.Connection,
    marked: Callable[[], int],
    pool: ThreadPoolExecutor,
) -> None:
    connection.execute("ALTER FUNCTION taskq_listen RENAME TO taskq_deaf")
    [job_id] = defer()
    waiting = pool.submit(app.job_manager.wait_for_job, job_id, timeout=15)
    wait_for(marked)
    end(job_id)
    connection.execute("ALTER FUNCTION taskq_deaf RENAME TO taskq_listen")
    assert waiting.result().status is JobStatus.SUCCEEDED


@pytest.mark.usefixtures("rarely_polls")
def test_a_row_that_another_transaction_has_is_marked_when_it_is_free(
    app: App,
    defer: Defer,
    end: End,
    database_url: str,
    marked: Callable[[], int],
    checks: Checks,
    pool: ThreadPoolExecutor,
) -> None:
    [job_id] = defer()
    with psycopg.connect(database_url.replace("+psycopg", "")) as other:
        other.execute("SELECT FROM taskq_jobs FOR UPDATE")
        waiting = pool.submit(app.job_manager.wait_for_job, job_id, timeout=15)
        wait_for(lambda: len(checks.sizes) > 1)
        assert not marked()
    wait_for(marked)
    end(job_id)
    assert waiting.result().id == job_id


# What is not there


def test_a_job_that_is_not_there_or_not_committed_is_not_waited_for(
    app: App, defer: Defer, database_url: str
) -> None:
    [job_id] = defer()
    with pytest.raises(JobNotFound, match=f"no job has the id {job_id + 1}, to be waited for"):
        app.job_manager.wait_for_job(job_id + 1)
    with psycopg.connect(database_url.replace("+psycopg", "")) as other:
        row = other.execute('SELECT taskq_defer_jobs(\'[{"task_name": "noop"}]\')').fetchone()
        assert row
        with pytest.raises(JobNotFound, match="has not committed, or was rolled back"):
            app.job_manager.wait_for_job(row[0])
        other.rollback()


@pytest.mark.usefixtures("rarely_polls")
def test_a_job_that_is_deleted_meanwhile_ends_the_wait(
    app: App,
    defer: Defer,
    connection: psycopg.Connection,
    marked: Callable[[], int],
    pool: ThreadPoolExecutor,
) -> None:
    [job_id] = defer()
    waiting = pool.submit(app.job_manager.wait_for_job, job_id, timeout=15)
    wait_for(marked)
    connection.execute("DELETE FROM taskq_jobs")
    with pytest.raises(JobNotFound, match=f"job {job_id} was deleted while it was waited for"):
        waiting.result()


# Many


@pytest.mark.usefixtures("rarely_polls")
@pytest.mark.parametrize("face", [Face(False), Face(True)], ids=["sync", "async"])
async def test_a_thousand_waiters_take_one_connection_and_few_statements(
    face: Face,
    app: App,
    defer: Defer,
    end: End,
    sessions: Sessions,
    checks: Checks,
    marked: Callable[[], int],
) -> None:
    ids = defer(1000)
    # However long it takes to start them: while a check runs, all others come.
    checks.before.append(lambda: wait_for(lambda: len(app.database.waiters.awaited_ids()) == 1000))
    with waiting_for(app, ids, face) as waiting:
        await asyncio.to_thread(wait_for, lambda: marked() == 1000)
        assert len(sessions()) == 1
        end(*ids)
        jobs = await asyncio.gather(*waiting)
        assert [job.id for job in jobs] == ids
        assert len(sessions()) == 1
    # Those that came while a check ran have the next one; and so have the ends.
    assert len(checks.sizes) <= 40


@pytest.mark.parametrize("face", [Face(False), Face(True)], ids=["sync", "async"])
async def test_a_thousand_waiters_take_one_connection_behind_a_pooler_too(
    face: Face,
    database_url: str,
    defer: Defer,
    end: End,
    sessions: Sessions,
    marked: Callable[[], int],
) -> None:
    async with App(f"{database_url}{NAMED}", pooler=True).open_async() as app:
        ids = defer(1000)
        with waiting_for(app, ids, face) as waiting:
            await asyncio.to_thread(wait_for, lambda: marked() == 1000)
            assert len(sessions()) == 1
            assert "taskq_listen" not in "".join(sessions().values())
            end(*ids)
            jobs = await asyncio.gather(*waiting)
            assert [job.id for job in jobs] == ids


def test_waiters_in_threads_and_in_several_loops_are_all_notified(
    app: App, defer: Defer, end: End, sessions: Sessions, pool: ThreadPoolExecutor
) -> None:
    ids = defer(20)

    async def wait_for_all() -> list[Job]:
        return await asyncio.gather(
            *(app.job_manager.wait_for_job_async(job_id, timeout=15) for job_id in ids)
        )

    in_loops: list[Future[list[Job]]] = [pool.submit(asyncio.run, wait_for_all()) for _ in range(5)]
    in_threads = [
        pool.submit(app.job_manager.wait_for_job, job_id, timeout=timedelta(seconds=15))
        for job_id in ids
    ]
    wait_for(lambda: sum(map(len, app.database.waiters.awaited(ids).values())) == 120)
    wait_for(sessions)  # the connection is opened beside
    assert len(sessions()) == 1
    end(*ids)
    for in_loop in in_loops:
        assert [job.id for job in in_loop.result()] == ids
    assert [in_thread.result().id for in_thread in in_threads] == ids


async def test_those_that_are_cancelled_or_time_out_leave_nothing_behind(
    app: App, defer: Defer, sessions: Sessions, marked: Callable[[], int]
) -> None:
    [job_id] = defer()
    waiting = [asyncio.create_task(app.job_manager.wait_for_job_async(job_id)) for _ in range(10)]
    await asyncio.to_thread(wait_for, marked)
    for task in waiting:
        task.cancel()
    assert all(
        isinstance(ended, asyncio.CancelledError)
        for ended in await asyncio.gather(*waiting, return_exceptions=True)
    )
    with pytest.raises(WaitTimeout):
        await app.job_manager.wait_for_job_async(job_id, timeout=0.01)
    with pytest.raises(WaitTimeout):
        await asyncio.to_thread(app.job_manager.wait_for_job, job_id, timeout=0.01)
    assert app.database.waiters.awaited_ids() == []
    await app.close_async()
    await asyncio.to_thread(wait_for, lambda: not sessions())
    # Its thread ends after its connection.
    await asyncio.to_thread(wait_for, lambda: "taskq Notifier" not in names_of_threads())


def names_of_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_when_no_caller_waits_the_connection_is_closed_after_a_while(
    app: App, defer: Defer, end: End, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait_checker, "_LINGER", 0.05)
    for _ in range(2):
        [job_id] = defer()
        end(job_id)
        app.job_manager.wait_for_job(job_id)
        wait_for(lambda: not sessions())


# Bad moments


def test_behind_a_pooler_it_polls(
    database_url: str, defer: Defer, end: End, checks: Checks, pool: ThreadPoolExecutor
) -> None:
    with App(f"{database_url}{NAMED}", pooler=True) as app:
        [job_id] = defer()
        waiting = pool.submit(app.job_manager.wait_for_job, job_id, timeout=15)
        wait_for(lambda: checks.sizes)
        end(job_id)
        assert waiting.result().id == job_id


@pytest.mark.usefixtures("rarely_polls")
def test_what_ends_while_nothing_listens_is_seen_when_something_does_again(
    app: App,
    defer: Defer,
    end: End,
    connection: psycopg.Connection,
    sessions: Sessions,
    marked: Callable[[], int],
    pool: ThreadPoolExecutor,
) -> None:
    [job_id] = defer()
    waiting = pool.submit(app.job_manager.wait_for_job, job_id, timeout=15)
    wait_for(marked)
    connection.execute("SELECT pg_terminate_backend(%s)", list(sessions()))
    end(job_id)
    assert waiting.result().id == job_id


@pytest.mark.usefixtures("rarely_polls")
def test_an_end_is_seen_although_the_connection_is_lost_as_it_is_checked(
    app: App,
    defer: Defer,
    end: End,
    connection: psycopg.Connection,
    sessions: Sessions,
    marked: Callable[[], int],
    checks: Checks,
    pool: ThreadPoolExecutor,
) -> None:
    [job_id, other] = defer(2)
    waiting = [
        pool.submit(app.job_manager.wait_for_job, each, timeout=15) for each in (job_id, other)
    ]
    # Else the check that marks them may see the end as well.
    wait_for(lambda: marked() == 2 and not checks.under_way)
    lost = sessions()

    def lose() -> None:
        connection.execute("SELECT pg_terminate_backend(%s, 15000)", list(lost))

    checks.before.append(lose)
    end(job_id)
    assert waiting[0].result().id == job_id
    assert not sessions().keys() & lost.keys()
    end(other)  # which the new connection is notified of
    assert waiting[1].result().id == other


def test_where_listening_fails_it_polls(
    app: App,
    defer: Defer,
    end: End,
    connection: psycopg.Connection,
    marked: Callable[[], int],
    pool: ThreadPoolExecutor,
) -> None:
    connection.execute("ALTER FUNCTION taskq_listen RENAME TO taskq_deaf")
    [job_id] = defer()
    waiting = pool.submit(app.job_manager.wait_for_job, job_id, timeout=15)
    wait_for(marked)
    end(job_id)
    assert waiting.result().id == job_id


def test_a_database_that_does_not_answer_is_said_to_a_new_waiter_and_borne_by_others(
    app: App,
    defer: Defer,
    end: End,
    marked: Callable[[], int],
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = defer(2)
    waiting = pool.submit(app.job_manager.wait_for_job, first, timeout=15)
    wait_for(marked)
    with monkeypatch.context() as away:
        fails = threading.Event()

        def fail(connection: Connection, ids: Sequence[int], **_: object) -> CheckedJobs:
            if first in ids:
                fails.set()
            raise DatabaseUnavailable("the database does not answer: it is away")

        away.setattr(wait_checker, "check_jobs", fail)
        with pytest.raises(DatabaseUnavailable):
            app.job_manager.wait_for_job(second, timeout=15)
        end(first)
        assert fails.wait(15)
    assert waiting.result().id == first
    assert [vars(record).get("action") for record in caplog.records] == ["waiting_failed"]


def test_a_child_process_waits_by_itself(app: App, defer: Defer, end: End) -> None:
    [job_id] = defer()
    end(job_id)
    app.job_manager.wait_for_job(job_id)
    child = in_child(lambda: app.job_manager.wait_for_job(job_id, timeout=15))
    assert os.waitpid(child, 0)[1] == 0
    assert app.job_manager.wait_for_job(job_id, timeout=15).id == job_id


# Bad input


@pytest.mark.parametrize(
    "timeout", [0, -1, float("nan"), float("inf"), True, "5", 1e12, timedelta(0), timedelta(-1)]
)
def test_a_timeout_that_is_no_time_is_refused(timeout: Any, app: App) -> None:
    with pytest.raises(
        InvalidOption, match=r"^timeout=.*: give seconds or a timedelta, more than 0"
    ):
        app.job_manager.wait_for_job(1, timeout=timeout)


def test_what_is_no_id_is_refused_and_so_is_a_transaction(
    app: App, connection: psycopg.Connection
) -> None:
    bad: Any = "1"
    with pytest.raises(InvalidFilter, match="is no id of a job"):
        app.job_manager.wait_for_job(bad)
    with pytest.raises(JobNotFound, match="no job can have that id"):
        app.job_manager.wait_for_job(2**63)
    connection.autocommit = False
    with pytest.raises(InvalidDatabase, match="cannot be waited for in a transaction"):
        app.job_manager.on(connection).wait_for_job(1)
