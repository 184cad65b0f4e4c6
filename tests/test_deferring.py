"""Deferring: a call becomes a job, with the options it was configured with, or nothing is written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from taskq import App, Job, JobStatus
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    InvalidJob,
    InvalidName,
    InvalidSchedule,
    TaskNotFound,
)
from taskq.job import NewJob, new_job
from taskq.task import Task
from tests.conftest import Face

LATER = datetime(2100, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with App(database_url) as app:
        yield app


@pytest.fixture
def send(app: App) -> Task[..., Any]:
    """A task that has a default for everything."""

    @app.task(
        name="send",
        queue="mail",
        priority=3,
        lock="a",
        queueing_lock="b",
        metadata={"team": "ops"},
        tags=["x", "y"],
    )
    def send(to: str, copies: int = 1, cc: list[str] | None = None) -> None: ...

    return send


@pytest.fixture
def plain(app: App) -> Task[..., Any]:
    """A task that has none."""

    @app.task(name="plain")
    def plain(to: str, copies: int = 1) -> None: ...

    return plain


def get(app: App, id_: int) -> Job:
    return app.job_manager.get_job(id_)


# What becomes of a call


async def test_a_job_has_the_arguments_and_its_tasks_defaults(
    app: App, send: Task[..., Any], face: Face
) -> None:
    job = get(app, await face.defer(send, to="ada", copies="2", cc=None))
    assert (job.task_name, job.task_kwargs) == ("send", {"to": "ada", "copies": 2, "cc": None})
    assert (job.queue, job.priority, job.lock, job.queueing_lock) == ("mail", 3, "a", "b")
    assert (job.metadata, job.tags) == ({"team": "ops"}, ("x", "y"))
    assert (job.status, job.attempt, job.scheduled_at) == (JobStatus.TODO, 0, None)


METADATA = {"trace": "00-ü", "no": None, "nested": [1, 2.5, {"deep": True}], "": ""}


async def test_labels_replace_those_of_the_task_and_arrive_as_they_were(
    app: App, send: Task[..., Any], plain: Task[..., Any], face: Face
) -> None:
    given: dict[str, Any] = {**METADATA}
    labelled = send.configure(queueing_lock=None, metadata=given, tags=("b", "a", "b"))
    given.clear()
    ids = [
        await face.defer(labelled, to="ada"),
        *await face.batch(labelled, {"to": "ada"}, {"to": "bob"}),
    ]
    ids.append(await face.defer(labelled.configure(on_conflict="skip"), to="ada"))
    for id_ in ids:
        job = get(app, id_)
        assert (job.metadata, job.tags) == (METADATA, ("b", "a"))
    for nothing in (
        send.configure(metadata=None, tags=None, queueing_lock=None),
        send.configure(metadata=None, tags=[], queueing_lock=None),
        plain,
    ):
        bare = get(app, await face.defer(nothing, to="ada"))
        assert (bare.metadata, bare.tags) == (None, ())
    kept = get(app, await face.defer(send.configure(metadata={}), to="ada"))
    assert (kept.metadata, kept.tags) == ({}, ("x", "y"))


async def test_each_option_changes_what_it_names_and_nothing_else(
    app: App, send: Task[..., Any]
) -> None:
    defaults = {
        "queue": "mail",
        "priority": 3,
        "lock": "a",
        "queueing_lock": "b",
        "scheduled_at": None,
        "task_kwargs": {"to": "ada"},
    }
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"lock": "x"}, {"lock": "x"}),
        ({"queueing_lock": "x"}, {"queueing_lock": "x"}),
        ({"queue": "x"}, {"queue": "x"}),
        ({"priority": -(2**31)}, {"priority": -(2**31)}),
        ({"schedule_at": LATER}, {"scheduled_at": LATER}),
        ({"task_kwargs": {"copies": 7}}, {"task_kwargs": {"to": "ada", "copies": 7}}),
        ({"lock": None, "queueing_lock": None}, {"lock": None, "queueing_lock": None}),
        ({"schedule_at": None, "schedule_in": None}, {"scheduled_at": None}),
    ]
    for options, expected in changes:
        job = get(app, send.configure(**options).defer(to="ada"))
        assert {name: getattr(job, name) for name in defaults} == defaults | expected
        app.job_manager.cancel_job_by_id(job.id)


@pytest.mark.usefixtures("late_clock")
async def test_a_wait_counts_by_the_servers_clock_whatever_the_clients_says(
    app: App, plain: Task[..., Any], face: Face
) -> None:
    for schedule_in in (timedelta(minutes=90), {"hours": 1, "minutes": 30}):
        deferrer = plain.configure(schedule_in=schedule_in)  # type: ignore[arg-type]
        batch = await face.batch(deferrer, {"to": "ada"}, {"to": "bob"})
        for job_id in (await face.defer(deferrer, to="ada"), *batch):
            job = get(app, job_id)
            assert job.scheduled_at
            waits = job.scheduled_at - job.deferred_at
            assert timedelta(minutes=90) <= waits < timedelta(minutes=91)
    past = await face.defer(plain.configure(schedule_in={"minutes": -5}), to="ada")
    assert past in {job.id for job in app.job_manager.fetch(1, max_jobs=9)}


def test_a_wait_and_a_time_for_one_job_are_refused() -> None:
    with pytest.raises(InvalidSchedule, match=r"schedule_in=5: .*scheduled_at beside it"):
        new_job(task_name="plain", args={}, scheduled_at=LATER, schedule_in=5)
    with pytest.raises(InvalidSchedule, match="schedule_in=inf"):
        new_job(task_name="plain", args={}, schedule_in=float("inf"))


async def test_a_deferrer_is_used_any_number_of_times_and_stays_as_it_is(
    app: App, plain: Task[..., Any]
) -> None:
    kwargs = {"to": "ada"}
    first = plain.configure(queue="one", task_kwargs=kwargs, schedule_at=LATER)
    kwargs["to"] = "eve"
    second = first.configure(priority=2, task_kwargs={"copies": 2}, schedule_in={"hours": 1})
    third = second.configure(schedule_at=None, task_kwargs=None)
    jobs = [
        get(app, id_)
        for id_ in (first.defer(), first.defer(to="bob"), second.defer(), third.defer(to="cy"))
    ]
    assert [job.task_kwargs for job in jobs] == [
        {"to": "ada"},
        {"to": "bob"},
        {"to": "ada", "copies": 2},
        {"to": "cy"},
    ]
    assert [(job.queue, job.priority) for job in jobs] == [("one", 0)] * 2 + [("one", 2)] * 2
    assert [job.scheduled_at == LATER for job in jobs] == [True, True, False, False]
    assert [job.scheduled_at is None for job in jobs] == [False, False, False, True]


async def test_many_may_be_deferred_at_once(app: App, plain: Task[..., Any]) -> None:
    ids = await asyncio.gather(*(plain.defer_async(to=str(i)) for i in range(30)))
    assert [get(app, id_).task_kwargs["to"] for id_ in ids] == [str(i) for i in range(30)]


# Batches


async def test_a_batch_is_one_transaction_with_its_ids_in_order(
    app: App, plain: Task[..., Any], face: Face
) -> None:
    calls = [{"to": str(i)} if i % 2 else plain.args(to=str(i)) for i in range(200)]
    ids = await face.batch(plain.configure(task_kwargs={"copies": 2}), *calls)
    assert ids == list(range(ids[0], ids[0] + 200))
    jobs = app.job_manager.list_jobs(ids=ids)
    assert [job.task_kwargs for job in jobs] == [{"to": str(i), "copies": 2} for i in range(200)]
    assert len({job.deferred_at for job in jobs}) == 1


async def test_an_empty_batch_is_nothing(app: App, plain: Task[..., Any], face: Face) -> None:
    assert await face.batch(plain) == []
    assert app.job_manager.count_jobs() == {}


# Queueing locks


async def test_a_taken_queueing_lock_names_the_job_that_waits(
    app: App, send: Task[..., Any], face: Face
) -> None:
    first = await face.defer(send, to="ada")
    with pytest.raises(AlreadyEnqueued, match=f"job {first} .* queueing lock 'b'") as refused:
        await face.defer(send, to="bob")
    assert (refused.value.job_id, refused.value.queueing_lock) == (first, "b")
    assert app.job_manager.count_jobs() == {("mail", "send", JobStatus.TODO): 1}


async def test_a_batch_with_a_taken_queueing_lock_is_refused_whole(
    app: App, send: Task[..., Any], face: Face
) -> None:
    with pytest.raises(AlreadyEnqueued) as refused:
        await face.batch(send, {"to": "ada"}, {"to": "bob"})
    assert (refused.value.job_id, refused.value.queueing_lock) == (None, "b")
    assert app.job_manager.count_jobs() == {}


async def test_the_job_that_waits_is_named_even_if_it_came_in_the_same_moment(
    app: App, send: Task[..., Any], session_waits: Callable[[], bool], face: Face
) -> None:
    engine = app.database.engine.execution_options(isolation_level="READ COMMITTED")
    with engine.connect() as other:
        first = send.configure(connection=other).defer(to="ada")
        second = asyncio.create_task(
            send.defer_async(to="bob") if face.is_async else asyncio.to_thread(send.defer, to="bob")
        )
        async with asyncio.timeout(30):
            while not session_waits():  # noqa: ASYNC110 - a server notifies of no such thing
                await asyncio.sleep(0)
        other.commit()
        with pytest.raises(AlreadyEnqueued) as refused:
            await second
    assert refused.value.job_id == first


async def test_any_queueing_lock_is_named_as_it_is(send: Task[..., Any]) -> None:
    for lock in ("it's (b)", 'quo"ted', "ümlaut\n)", "{", '{"a": 1}', "()=("):
        deferrer = send.configure(queueing_lock=lock)
        with pytest.raises(AlreadyEnqueued) as refused:
            deferrer.batch_defer({"to": "ada"}, {"to": "bob"})
        assert (refused.value.job_id, refused.value.queueing_lock) == (None, lock)
        first = deferrer.defer(to="ada")
        with pytest.raises(AlreadyEnqueued) as refused:
            deferrer.defer(to="ada")
        assert (refused.value.job_id, refused.value.queueing_lock) == (first, lock)


async def test_skip_answers_none_in_the_place_of_a_job_that_is_not_deferred(
    app: App, send: Task[..., Any], face: Face
) -> None:
    skipping = send.configure(on_conflict="skip")
    first, second = await face.batch(skipping, {"to": "ada"}, {"to": "bob"})
    assert second is None
    assert await face.defer(skipping, to="bob") is None
    assert await face.batch(skipping.configure(queue="other"), {"to": "bob"}) == [None]
    assert isinstance(await face.defer(skipping.configure(queueing_lock=None), to="bob"), int)
    assert get(app, first).task_kwargs == {"to": "ada"}
    with pytest.raises(AlreadyEnqueued):
        await face.defer(skipping.configure(on_conflict="raise"), to="bob")


async def test_the_job_that_waits_is_replaced_and_keeps_its_id(
    app: App, send: Task[..., Any], plain: Task[..., Any], face: Face
) -> None:
    debounced = send.configure(on_conflict="replace")
    first = await face.defer(debounced, to="ada")
    pushed_back = debounced.configure(schedule_at=LATER, lock=None, tags=["late"])
    assert await face.batch(pushed_back, {"to": "bob"}, {"to": "cy"}) == [first, first]
    job = get(app, first)
    assert (job.task_kwargs["to"], job.scheduled_at) == ("cy", LATER)
    assert (job.lock, job.tags, job.queueing_lock) == (None, ("late",), "b")
    assert (
        await face.defer(plain.configure(queueing_lock="b", on_conflict="replace"), to="dan")
        == first
    )
    assert (get(app, first).task_name, get(app, first).queue) == ("plain", "default")
    assert [job.id for job in app.job_manager.fetch(1)] == [first]
    assert await face.defer(debounced, to="eve") != first, "the first one runs already"


async def test_none_is_replaced_without_a_queueing_lock(
    app: App, send: Task[..., Any], plain: Task[..., Any], face: Face
) -> None:
    for deferrer in (
        plain.configure(on_conflict="replace"),
        send.configure(on_conflict="replace", queueing_lock=None),
    ):
        with pytest.raises(
            InvalidJob, match=r"on_conflict='replace' and no queueing_lock, by which"
        ):
            await face.defer(deferrer, to="ada")
        with pytest.raises(InvalidJob, match="no queueing_lock"):
            await face.batch(deferrer, {"to": "ada"}, {"to": "bob"})
        assert isinstance(await face.defer(deferrer.configure(queueing_lock="x"), to="ada"), int)
    assert sum(app.job_manager.count_jobs().values()) == 1


@pytest.mark.parametrize("before", [0, 1, 2149, 2150, 4299])
def test_what_no_worker_could_read_is_refused_however_it_comes(app: App, before: int) -> None:
    def jobs(number: int | str) -> list[NewJob]:
        args = {"before": "x" * before, "n": number}
        return [NewJob(task_name="plain", args={}), NewJob(task_name="plain", args=args)]

    for number in (10**4300 - 1, "9" * 9000):
        assert len(app.job_manager.defer_jobs(jobs(number))) == 2
    for number in (10**4300, -(10**4300), 10**9000):
        with pytest.raises(InvalidJob, match="job 1 of the array has a number of more than 4,300"):
            app.job_manager.defer_jobs(jobs(number))


# Tasks by name


async def test_a_task_of_another_program_takes_whatever_json_carries(app: App, face: Face) -> None:
    deferrer = app.configure_task("of.another", queue="there", lock="x")
    job = get(app, await face.defer(deferrer, a=[1, {"b": None}], self=True, big=10**40))
    assert (job.task_name, job.queue, job.lock) == ("of.another", "there", "x")
    assert job.task_kwargs == {"a": [1, {"b": None}], "self": True, "big": 10**40}


async def test_a_task_of_another_program_takes_nothing_else(app: App, face: Face) -> None:
    deferrer = app.configure_task("of.another")
    for value, shown in [(float("nan"), "nan"), ("a\0b", r"'a\\x00b'"), (object(), "<object")]:
        with pytest.raises(InvalidArguments, match=f"^task 'of.another': argument 'a' got {shown}"):
            await face.defer(deferrer, a=value)
        with pytest.raises(InvalidArguments, match=r"call 1 of .*'of.another': arg"):
            await face.batch(deferrer, {"a": 1}, {"a": value})
    with pytest.raises(InvalidArguments, match=r"task 'of.another' takes .* by name"):
        await face.defer(deferrer, 1)
    assert app.job_manager.count_jobs() == {}


async def test_a_known_task_by_its_name_or_alias_is_the_task(
    app: App, send: Task[..., Any]
) -> None:
    app.add_task_alias(send, "old")
    for name in ("send", "old"):
        deferrer = app.configure_task(name, allow_unknown=False, queueing_lock=None)
        job = get(app, deferrer.defer(to="ada"))
        assert (job.task_name, job.queue, job.lock) == ("send", "mail", "a")
        with pytest.raises(InvalidArguments, match="task 'send': argument 'to' is missing"):
            deferrer.defer()


async def test_a_name_that_must_be_known_is_refused_with_what_was_meant(
    app: App, send: Task[..., Any]
) -> None:
    with pytest.raises(TaskNotFound, match=r"task 'sent' is not registered .*mean 'send'\?"):
        app.configure_task("sent", allow_unknown=False)


# What is refused

FAR_EAST = timezone(timedelta(hours=14))


async def test_arguments_that_do_not_fit_are_refused_and_nothing_is_written(
    app: App, plain: Task[..., Any], face: Face
) -> None:
    refusals: list[tuple[dict[str, Any], str]] = [
        ({}, "argument 'to' is missing"),
        ({"to": "ada", "copy": 2}, "argument 'copy' is unknown, did you mean 'copies'?"),
        ({"to": 1}, "argument 'to' got 1: .* valid string"),
        ({"to": "ada", "copies": "many"}, "argument 'copies' got 'many': .* valid integer"),
        ({"to": "a\0b"}, r"argument 'to' got 'a\\x00b': .* NUL"),
        ({"to": "\ud800"}, r"argument 'to' got '\\ud800'"),
        ({"to": "ada", "copies": float("nan")}, "argument 'copies' got nan"),
    ]
    for kwargs, message in refusals:
        with pytest.raises(InvalidArguments, match=f"^task 'plain': {message}"):
            await face.defer(plain, **kwargs)
        with pytest.raises(InvalidArguments, match=f"call 1 of the batch: task 'plain': {message}"):
            await face.batch(plain, {"to": "ada"}, kwargs, {"to": "bob"})
    assert app.job_manager.count_jobs() == {}


async def test_arguments_by_position_are_refused(
    app: App, plain: Task[..., Any], face: Face
) -> None:
    with pytest.raises(InvalidArguments, match=r"task 'plain' takes .* by name, .*\('ada'\)"):
        await face.defer(plain, "ada")
    with pytest.raises(InvalidArguments, match=r"task 'plain' takes .* by name"):
        plain.args("ada")  # type: ignore[arg-type]
    assert app.job_manager.count_jobs() == {}


async def test_a_call_of_a_batch_that_is_none_is_refused_with_its_index(
    app: App, send: Task[..., Any], plain: Task[..., Any], face: Face
) -> None:
    for call, message in [
        ("ada", r"'ada' is neither task.args\(…\) nor a mapping"),
        ({1: 2}, "task 'plain': 1 is not the name of an argument"),
        (send.args(to="ada"), "arguments of task 'send' in a batch of 'plain'"),
    ]:
        with pytest.raises(InvalidArguments, match=f"call 1 of the batch: {message}"):
            await face.batch(plain, {"to": "ada"}, call)
    assert app.job_manager.count_jobs() == {}


NAIVE = datetime(2100, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lock": ""}, "lock=''"),
        ({"lock": "x" * 501}, "lock='xxx"),
        ({"queueing_lock": "a\0b"}, r"queueing_lock='a\\x00b'.*NUL"),
        ({"queue": ""}, "queue=''"),
        ({"queue": None}, "queue=None"),
        ({"priority": 2**31}, "priority=2147483648"),
        ({"priority": None}, "priority=None"),
        ({"schedule_at": NAIVE}, "schedule_at=.*, which has no time zone: .*UTC"),
        ({"schedule_at": "tomorrow"}, "schedule_at='tomorrow', which is no datetime: give one"),
        ({"schedule_at": date(2100, 1, 1)}, "schedule_at=.*, which is no datetime"),
        ({"schedule_at": datetime.max.replace(tzinfo=UTC)}, "is not in the years 2 to 9998"),
        ({"schedule_at": datetime.min.replace(tzinfo=FAR_EAST)}, "not in the years 2 to 9998"),
        ({"schedule_in": 5}, "schedule_in=5, which is no wait: give"),
        (
            {"schedule_in": {"minute": 5}},
            "schedule_in={'minute': 5}, which is no wait \\('minute' is none of weeks, ",
        ),
        ({"schedule_in": {"days": float("nan")}}, "schedule_in={'days': nan}, which is no wait"),
        ({"schedule_in": {"days": float("inf")}}, "schedule_in={'days': inf}, which is no wait"),
        ({"schedule_in": timedelta.max}, "schedule_in=.*, which is more than a hundred years"),
        ({"schedule_at": LATER, "schedule_in": timedelta(1)}, "schedule_at=.*schedule_in=.*one of"),
        ({"task_kwargs": ["to"]}, r"task_kwargs=\['to'\]: give a mapping"),
        ({"on_conflict": "ignore"}, "on_conflict='ignore': it is 'raise', 'skip' or 'replace'"),
        ({"priorty": 1}, "'priorty': did you mean 'priority'?"),
    ],
)
def test_an_option_that_no_job_can_have_is_refused_when_configured(
    options: dict[str, Any], message: str
) -> None:
    app = App("postgresql://nobody.is.asked")

    @app.task(name="known")
    def known(to: str) -> None: ...

    ways: list[tuple[str, Callable[..., object]]] = [
        ("known", known.configure),
        ("known", known.configure(queue="x").configure),
        ("unknown", lambda **options: app.configure_task("unknown", **options)),
    ]
    kinds = {
        **dict.fromkeys(["lock", "queueing_lock", "queue"], InvalidName),
        **dict.fromkeys(["schedule_at", "schedule_in"], InvalidSchedule),
    }
    for name, configure in ways:
        with pytest.raises(InvalidJob, match=f"task '{name}' .*{message}") as refused:
            configure(**options)
        assert type(refused.value) is kinds.get(next(iter(options)), InvalidJob)


@pytest.mark.parametrize("name", ["", "x" * 501, "a\0b", 3, None])
def test_a_name_that_no_task_can_have_is_refused(name: Any) -> None:
    with pytest.raises(InvalidName, match="name="):
        App("postgresql://").configure_task(name)


async def test_task_kwargs_that_do_not_fit_are_refused_when_deferred(
    app: App, plain: Task[..., Any]
) -> None:
    with pytest.raises(InvalidArguments, match="argument 'cc' is unknown"):
        plain.configure(task_kwargs={"cc": 1}).defer(to="ada")
    with pytest.raises(InvalidArguments, match="1 is not the name of an argument"):
        plain.configure(task_kwargs={1: 2}).defer(to="ada")  # type: ignore[dict-item]
    assert app.job_manager.count_jobs() == {}
