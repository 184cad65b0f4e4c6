"""What operators say of limits, and how full they are, by an app's job manager."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus, Limit
from taskq.exceptions import InvalidLimit, InvalidName, InvalidOption, TaskqException, UnknownLimit
from taskq.limits import LimitFigures, LimitState
from taskq.manager import WaitReason
from tests.manager import callers

TENANT = Limit("tenant", concurrency=2, by="account")


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    """An app whose worker has declared its limits."""
    queue_limits = {"pay": Limit("bank", rate=1, per=timedelta(minutes=1))}
    async with App(database_url, queue_limits=queue_limits) as app:

        @app.task(name="sync", limit=TENANT)
        def sync(account: str) -> None: ...

        @app.task(name="pay", queue="pay")
        def pay() -> None: ...

        await app.run_worker_async(wait=False, name="w", install_signal_handlers=False)
        yield app


def states(app: App, name: str | None = None) -> dict[str | None, LimitState]:
    """How full the keys of a limit are; or the limits, without their keys."""
    listed = app.job_manager.list_limits(name)
    return {state.name if name is None else state.key: state for state in listed}


def concurrency(app: App, key: str | None = None) -> int | None:
    figures = states(app, "tenant")[key].figures
    assert figures
    return figures.concurrency


def claim(app: App) -> list[int]:
    return [job.id for job in app.job_manager.fetch(1, max_jobs=10)]


async def test_a_list_says_what_is_allowed_who_said_so_and_how_full_it_is(app: App) -> None:
    app.tasks["sync"].batch_defer(*[{"account": "acme"}] * 3)
    app.tasks["pay"].batch_defer({}, {})
    before = datetime.now(UTC)
    assert len(claim(app)) == 3
    bank, tenant, acme = await app.job_manager.list_limits_async()
    assert tenant == LimitState(
        name="tenant",
        key=None,
        figures=LimitFigures(2, None, None, None),
        by_operator=False,
        declared_by="w",
        queues=(),
        running=0,
        room=2,
        waiting=0,
        next_at=None,
    )
    assert (acme.key, acme.running, acme.room, acme.waiting) == ("acme", 2, 0, 1)
    assert (acme.figures, acme.declared_by) == (tenant.figures, "w")
    assert bank.figures == LimitFigures(None, 1, 60.0, 1)
    assert (bank.queues, bank.running, bank.room, bank.waiting) == (("pay",), 1, 0, 1)
    assert bank.next_at
    assert abs(bank.next_at - before - timedelta(minutes=1)) < timedelta(seconds=30)
    assert app.job_manager.list_limits("tenant") == [tenant, acme]
    assert app.job_manager.list_limits(max_limits=1) == [bank]
    assert app.job_manager.list_limits("none") == []


def test_a_limit_that_is_not_declared_allows_nothing(app: App) -> None:
    app.configure_task("other").defer()
    app.tasks["sync"].configure(limit=Limit("new", concurrency=1)).defer(account="acme")
    [state] = app.job_manager.list_limits("new")
    assert (state.figures, state.declared_by, state.room, state.waiting) == (None, None, 0, 1)


async def test_more_room_is_used_at_once_and_with_less_what_runs_goes_on(app: App) -> None:
    jobs = app.job_manager
    ids = app.tasks["sync"].batch_defer(*[{"account": "acme"}] * 6)
    assert claim(app) == ids[:2]
    jobs.set_limit("tenant", concurrency=3, by="ada")
    assert claim(app) == ids[2:3]
    await jobs.set_limit_async("tenant", key="acme", concurrency=4)
    assert claim(app) == ids[3:4]
    jobs.set_limit("tenant", key="acme", concurrency=1)
    assert claim(app) == []
    assert states(app, "tenant")["acme"].running == 4
    assert await jobs.unset_limit_async("tenant", key="acme")
    assert not jobs.unset_limit("tenant", key="acme")
    assert (states(app, "tenant")["acme"].room, concurrency(app)) == (0, 3)
    jobs.set_limit("tenant", concurrency=6)
    assert claim(app) == ids[4:]


def test_what_is_not_said_stays_as_it_is(app: App) -> None:
    jobs = app.job_manager
    jobs.set_limit("tenant", rate=100, per=timedelta(minutes=1), burst=5, by="ada")
    assert states(app, "tenant")[None].figures == LimitFigures(2, 100, 60.0, 5)
    jobs.set_limit("tenant", concurrency=7, by="grace")
    assert states(app, "tenant")[None].figures == LimitFigures(7, 100, 60.0, 5)
    jobs.set_limit("tenant", rate=2, per=1)
    jobs.set_limit("tenant", key="acme", concurrency=1)
    assert states(app, "tenant")["acme"].figures == LimitFigures(1, 2, 1.0, 1)
    whole, acme = jobs.list_limits("tenant")
    assert (whole.by_operator, whole.declared_by) == (True, None)
    assert (acme.by_operator, acme.declared_by) == (True, None)


async def test_a_worker_that_declares_its_limits_again_changes_nothing_of_what_operators_say(
    app: App,
) -> None:
    app.job_manager.set_limit("tenant", concurrency=9, by="ada")
    await app.run_worker_async(wait=False, name="another", install_signal_handlers=False)
    assert concurrency(app) == 9
    assert states(app, "tenant")[None].declared_by == "ada"
    assert app.job_manager.unset_limit("tenant")
    assert concurrency(app) == 2
    # Who declared it first: the other one has said the same.
    assert states(app, "tenant")[None].declared_by == "w"


def test_a_limit_that_the_app_knows_can_be_set_before_a_worker_has_declared_it(
    database_url: str,
) -> None:
    with App(database_url) as app:
        with pytest.raises(UnknownLimit, match="no app has declared any; a worker declares those"):
            app.job_manager.set_limit("tenant", concurrency=1)

        @app.task(limit=TENANT)
        def sync(account: str) -> None: ...

        app.job_manager.set_limit("tenant", key="acme", concurrency=1, by="ada")
        [acme] = app.job_manager.list_limits()
        assert (acme.key, acme.figures) == ("acme", LimitFigures(1, None, None, None))
        ids = sync.batch_defer({"account": "acme"}, {"account": "acme"}, {"account": "other"})
        assert claim(app) == ids[:1]


async def test_the_limit_of_a_queue_is_taken_away_until_an_app_declares_it_again(app: App) -> None:
    jobs = app.job_manager
    ids = app.tasks["pay"].batch_defer({}, {}, {})
    assert claim(app) == ids[:1]
    assert await jobs.unset_queue_limit_async("pay")
    assert not jobs.unset_queue_limit("pay")
    assert claim(app) == ids[1:]
    assert states(app)["bank"].queues == ()
    await app.run_worker_async(wait=False, install_signal_handlers=False)
    assert states(app)["bank"].queues == ("pay",)


@pytest.mark.parametrize("connect", [*callers.SYNC, *callers.ASYNC], ids=lambda made: made.__name__)
async def test_it_is_in_the_transaction_of_a_callers_connection(
    app: App, database_url: str, connect: callers.Connect
) -> None:
    async with connect(database_url) as connection:
        caller = callers.Caller(app, connection, connect in callers.ASYNC)
        await caller.manage("set_limit", "tenant", concurrency=5)
        assert await caller.manage("unset_queue_limit", "pay")
        [tenant] = await caller.manage("list_limits", "tenant")
        assert tenant.figures.concurrency == 5
        assert concurrency(app) == 2
        await caller.rollback()
        assert (concurrency(app), states(app)["bank"].queues) == (2, ("pay",))
        with suppress(UnknownLimit):
            await caller.manage("set_limit", "none", concurrency=5)
        await caller.manage("set_limit", "tenant", concurrency=6)
        await caller.commit()
        assert concurrency(app) == 6
        assert await caller.manage("unset_limit", "tenant")
        await caller.commit()
        assert concurrency(app) == 2


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({}, InvalidLimit, "cannot be set to nothing: give concurrency=, or rate= and per="),
        ({"by": "ada"}, InvalidLimit, "cannot be set to nothing"),
        ({"concurrency": 0}, InvalidLimit, "concurrency=0: it is a number from 1; to stop jobs"),
        ({"concurrency": -5}, InvalidLimit, "concurrency=-5"),
        ({"concurrency": "5"}, InvalidLimit, "concurrency='5'"),
        ({"rate": 5}, InvalidLimit, "rate=5 alone"),
        ({"per": 5}, InvalidLimit, "per=5 alone"),
        ({"rate": 5, "per": 0}, InvalidLimit, "per=0"),
        ({"rate": 0, "per": 5}, InvalidLimit, "rate=0"),
        ({"concurrency": 5, "burst": 2}, InvalidLimit, "burst=2 without a rate"),
        ({"concurrency": 5, "key": "k" * 494}, InvalidLimit, "and these have 501"),
        ({"concurrency": 5, "key": 3}, InvalidLimit, "the key 3: it is text"),
        ({"concurrency": 5, "key": "a\0"}, InvalidLimit, "without NUL"),
        ({"concurrency": 5, "name": "a:b"}, InvalidLimit, "no colon"),
        ({"concurrency": 5, "name": ""}, InvalidLimit, "'' is no name of a limit"),
        ({"concurrency": 5, "by": ""}, InvalidName, "by=''"),
        ({"concurrency": 5, "by": "b" * 501}, InvalidName, "by="),
        (
            {"concurrency": 5, "name": "x"},
            UnknownLimit,
            "no limit 'x' that could be set: there are",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    app: App, given: dict[str, Any], error: type[TaskqException], said: str
) -> None:
    words = {"name": "tenant"} | given
    with pytest.raises(error) as refused:
        app.job_manager.set_limit(**words)
    assert said in str(refused.value)
    with pytest.raises(error):
        await app.job_manager.set_limit_async(**words)
    assert not any(state.by_operator for state in app.job_manager.list_limits())


def test_an_unknown_limit_is_refused_with_those_that_there_are(app: App) -> None:
    with pytest.raises(UnknownLimit, match="there are 'bank', 'tenant'; a worker declares those"):
        app.job_manager.set_limit("tennant", concurrency=1)


def test_names_and_numbers_that_can_be_none_are_refused(app: App) -> None:
    jobs = app.job_manager
    for refused in (
        lambda: jobs.unset_limit("a:b"),
        lambda: jobs.unset_limit("a", key="k" * 499),
        lambda: jobs.list_limits(""),
    ):
        with pytest.raises(InvalidLimit):
            refused()
    for most in (0, 10_001, True):
        with pytest.raises(InvalidOption):
            jobs.list_limits(max_limits=most)
    with pytest.raises(InvalidName):
        jobs.unset_queue_limit("")


@pytest.mark.parametrize("until", ["infinity", "-infinity"])
def test_a_rate_is_spent_until_some_time(connection: psycopg.Connection, until: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="taskq_limit_rates_is_time"):
        connection.execute("INSERT INTO taskq_limit_rates VALUES ('far', %s)", [until])


@pytest.mark.parametrize("until", ["294276-12-31", "9999-12-31"])
async def test_a_rate_that_is_spent_beyond_pythons_years_is_shown_and_bars_its_own_jobs_alone(
    database_url: str, connection: psycopg.Connection, until: str
) -> None:
    async with App(database_url) as app:
        far = Limit("far", rate=1, per=1)

        @app.task(name="limited", limit=far)
        async def limited() -> None: ...

        @app.task(name="free")
        async def free() -> None: ...

        limited_id, free_id = await limited.defer_async(), await free.defer_async()
        app.job_manager.set_limit("far", rate=1, per=1)
        connection.execute("INSERT INTO taskq_limit_rates VALUES ('far', %s)", [until])
        [state] = app.job_manager.list_limits("far")
        assert state.next_at is not None
        assert app.job_manager.explain_job(limited_id).reason is WaitReason.RATE_SPENT
        async with asyncio.timeout(15):
            await app.run_worker_async(wait=False, install_signal_handlers=False)
        assert app.job_manager.get_job_status(free_id) is JobStatus.SUCCEEDED
        assert app.job_manager.get_job_status(limited_id) is JobStatus.TODO
