"""Limits: what one says, the tasks and queues that have it, and the key that a job gets by it."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from taskq import App, Blueprint, Limit
from taskq.deferrer import Deferrer
from taskq.exceptions import InvalidLimit, InvalidName, InvalidOption
from taskq.task import Task

TENANT = Limit("tenant", concurrency=2, by="account")


@pytest.fixture
def app() -> App:
    return App("postgresql://")


def key_of(deferrer: Task[..., Any] | Deferrer[..., Any], **kwargs: Any) -> tuple[Any, Any]:
    """The limit and the key that a job would have."""
    job = deferrer.configure().prepare(**kwargs)
    return job.limit, job.limit_key


# What a limit is


def test_a_limit_says_what_it_allows_in_words() -> None:
    assert str(Limit("a", concurrency=1000).figures) == "1,000 at once"
    assert str(Limit("a", rate=100, per=timedelta(minutes=1)).figures) == "100 per 60 s"
    both = Limit("a", concurrency=2, rate=5, per=0.5, burst=3)
    assert str(both.figures) == "2 at once, 5 per 0.5 s, 3 of them at once"


def test_limits_are_compared_and_hashed_by_what_they_say() -> None:
    assert Limit("a", concurrency=1, by=["x", "y"]) == Limit("a", concurrency=1, by=("x", "y"))
    assert len({Limit("a", rate=1, per=2), Limit("a", rate=1, per=2), TENANT}) == 2
    assert Limit("a", rate=1, per=2).figures == Limit("a", rate=1, per=2.0, burst=1).figures


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "limits nothing: give concurrency=, or rate= and per="),
        ({"concurrency": 0}, "concurrency=0: it is a number from 1; to stop jobs, pause"),
        ({"concurrency": -1}, "concurrency=-1: it is a number from 1"),
        ({"concurrency": True}, "concurrency=True"),
        ({"concurrency": 1.5}, "concurrency=1.5"),
        ({"concurrency": 2**31}, "concurrency=2147483648"),
        ({"rate": 0, "per": 1}, "rate=0"),
        ({"rate": 5}, "got rate=5 alone: a rate is so many per time"),
        ({"per": 5}, "got per=5 alone"),
        ({"concurrency": 1, "burst": 2}, "burst=2 without a rate"),
        ({"rate": 5, "per": 1, "burst": 0}, "burst=0"),
        ({"rate": 5, "per": 0}, "per=0: it is a timedelta, or seconds"),
        ({"rate": 5, "per": timedelta(seconds=-1)}, "per="),
        ({"rate": 5, "per": float("nan")}, "per=nan"),
        ({"rate": 5, "per": float("inf")}, "per=inf"),
        ({"rate": 5, "per": True}, "per=True"),
        ({"rate": 5, "per": "1m"}, "per='1m'"),
        ({"rate": 5, "per": timedelta(days=40_000)}, "to a hundred years"),
        ({"concurrency": 1, "by": ()}, "the name of an argument, or several"),
        ({"concurrency": 1, "by": 3}, "by=3"),
        ({"concurrency": 1, "by": ["x", 3]}, "the name of an argument, or several"),
        ({"concurrency": 1, "name": ""}, "'' is no name of a limit"),
        ({"concurrency": 1, "name": "a:b"}, "no colon"),
        ({"concurrency": 1, "name": "a\0"}, "is no name of a limit"),
        ({"concurrency": 1, "name": "n" * 501}, "1 to 500 characters"),
        ({"concurrency": 1, "name": 3}, "3 is no name of a limit"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_said(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidLimit) as refused:
        Limit(**{"name": "tenant"} | given)
    assert said in str(refused.value)


# Tasks that have one


def test_the_key_of_a_job_is_the_value_of_its_argument_or_its_default(app: App) -> None:
    @app.task(limit=TENANT)
    def sync(account: str = "nobody", full: bool = False) -> None: ...

    assert key_of(sync, account="acme", full=True) == ("tenant", "acme")
    assert key_of(sync) == ("tenant", "nobody")
    assert key_of(sync.configure(task_kwargs={"account": "of all"})) == ("tenant", "of all")


def test_of_several_arguments_the_key_has_all_and_no_two_combinations_the_same(app: App) -> None:
    @app.task(limit=Limit("both", concurrency=1, by=("account", "region")))
    def sync(account: str, region: str) -> None: ...

    assert key_of(sync, account="acme", region="eu") == ("both", "acme:eu")
    pairs = [("a:b", "c"), ("a", "b:c"), ("a\\", "b"), ("a", "\\b"), ("a\\:b", "c")]
    keys = [key_of(sync, account=account, region=region)[1] for account, region in pairs]
    assert len({*keys}) == len(keys)


@pytest.mark.parametrize(
    ("value", "key"),
    [(7, "7"), (True, "true"), (None, "null"), ("7", "7"), (["b", 1], '["b",1]'), ("ü", "ü")],
)
def test_what_is_no_text_is_a_key_as_json_writes_it(app: App, value: object, key: str) -> None:
    @app.task(limit=TENANT)
    def sync(account: Any) -> None: ...

    assert key_of(sync, account=value) == ("tenant", key)


def test_a_key_is_that_of_the_argument_as_it_is_stored(app: App) -> None:
    @app.task(limit=Limit("day", concurrency=1, by="day"))
    def sum_up(day: date) -> None: ...

    @app.task(limit=Limit("object", concurrency=1, by="of"))
    def count(of: Mapping[str, int]) -> None: ...

    assert key_of(sum_up, day=date(2030, 1, 31)) == ("day", "2030-01-31")
    assert key_of(count, of={"b": 1, "a": 2}) == key_of(count, of={"a": 2, "b": 1})


def test_a_job_may_have_another_key_another_limit_or_none(app: App) -> None:
    @app.task(limit=TENANT)
    def sync(account: str) -> None: ...

    vip = sync.configure(limit_key="vip")
    assert key_of(vip, account="acme") == ("tenant", "vip")
    assert key_of(vip.configure(limit_key=None), account="acme") == ("tenant", "acme")
    assert key_of(sync.configure(limit=None), account="acme") == (None, None)
    # A key is one of a limit, and goes with it.
    assert key_of(vip.configure(limit=None), account="acme") == (None, None)
    other = Limit("other", rate=1, per=60)
    assert key_of(vip.configure(limit=other), account="acme") == ("other", None)
    assert key_of(sync.configure(limit=other, limit_key="k"), account="acme") == ("other", "k")
    assert key_of(vip.configure(queue="mail"), account="acme") == ("tenant", "vip")


def test_a_task_with_a_context_is_by_its_arguments_alone(app: App) -> None:
    @app.task(limit=TENANT, pass_context=True)
    def sync(context: Any, account: str) -> None: ...

    assert key_of(sync, account="acme") == ("tenant", "acme")
    with pytest.raises(InvalidLimit, match="by 'context': it takes no argument of that name"):
        app.task(limit=Limit("c", concurrency=1, by="context"), pass_context=True)(sync.func)


def test_by_what_a_task_does_not_take_is_refused_when_it_is_declared(app: App) -> None:
    def send(to: str) -> None: ...

    with pytest.raises(InvalidLimit, match=r"limit 'tenant', which is by 'account': it takes no"):
        app.task(limit=TENANT)(send)
    with pytest.raises(InvalidLimit, match="by 'region'"):
        app.task(limit=Limit("both", concurrency=1, by=("to", "region")))(send)
    with pytest.raises(InvalidLimit, match="which is by 'account'"):
        app.task(send).configure(limit=TENANT)


@pytest.mark.parametrize("limit", ["tenant", 3, {"concurrency": 1}])
def test_what_is_no_limit_is_refused(app: App, limit: Any) -> None:
    def send(to: str) -> None: ...

    with pytest.raises(InvalidLimit, match=r"give a taskq\.Limit, as in"):
        app.task(limit=limit)(send)
    with pytest.raises(InvalidLimit, match=r"give a taskq\.Limit, as in"):
        App("postgresql://", queue_limits={"mail": limit})


def test_a_key_without_a_limit_or_one_that_is_too_long_is_refused(app: App) -> None:
    @app.task
    def send(to: str) -> None: ...

    @app.task(limit=TENANT)
    def sync(account: str) -> None: ...

    with pytest.raises(InvalidLimit, match="limit_key='k' and has no limit"):
        send.configure(limit_key="k")
    sync.configure().prepare(account="a" * 493)
    for defer in (
        lambda: sync.configure().prepare(account="a" * 494),
        lambda: sync.configure(limit_key="a" * 494),
    ):
        with pytest.raises(InvalidLimit, match="have 500 characters at most, and these have 501"):
            defer()
    with pytest.raises(InvalidLimit, match="without NUL characters"):
        sync.configure(limit_key="a\0b")
    with pytest.raises(InvalidLimit, match="the key 3: it is text"):
        sync.configure(limit_key=3)  # type: ignore[call-overload]


# What an app knows


def declare(app: App, limit: Limit, name: str) -> None:
    @app.task(limit=limit, name=name)
    def task(account: str) -> None: ...


def test_an_app_knows_the_limits_of_its_tasks_queues_and_blueprints() -> None:
    app = App("postgresql://", queue_limits={"pay": Limit("bank", concurrency=1)})
    declare(app, TENANT, "one")
    blueprint = Blueprint()

    @blueprint.task(name="tidy", limit=Limit("of a blueprint", rate=1, per=1))
    def tidy() -> None: ...

    app.add_tasks_from(blueprint, namespace="house")
    assert {limit.name for limit in app.limits} == {"bank", "tenant", "of a blueprint"}
    assert key_of(app.tasks[f"house:{tidy.name.removeprefix('house:')}"]) == (
        "of a blueprint",
        None,
    )


@pytest.mark.parametrize(
    "clash",
    [
        lambda app: declare(app, Limit("bank", concurrency=2), "two"),
        lambda app: declare(app, Limit("bank", concurrency=1, rate=1, per=1), "two"),
        lambda app: (
            app.tasks["one"].configure(limit=Limit("bank", concurrency=2)).defer(account="a")
        ),
    ],
)
def test_two_limits_of_one_name_and_different_figures_are_refused_in_one_app(
    clash: Callable[[App], None],
) -> None:
    app = App("postgresql://", queue_limits={"pay": Limit("bank", concurrency=1)})
    # The same once more, and with a room for each account, is none.
    declare(app, Limit("bank", concurrency=1, by="account"), "one")
    with pytest.raises(InvalidLimit, match="'bank' is declared twice: with 1 at once, and with "):
        clash(app)
    assert len(app.limits) == 1


def test_two_queues_of_an_app_cannot_have_different_limits_of_one_name() -> None:
    with pytest.raises(InvalidLimit, match="declared twice"):
        App(
            "postgresql://",
            queue_limits={"a": Limit("x", concurrency=1), "b": Limit("x", concurrency=2)},
        )


def test_a_queue_has_no_limit_by_an_argument_and_a_name_that_one_can_have() -> None:
    with pytest.raises(
        InvalidLimit, match="queue 'mail' got limit 'tenant', which is by 'account'"
    ):
        App("postgresql://", queue_limits={"mail": TENANT})
    with pytest.raises(InvalidName):
        App("postgresql://", queue_limits={"": Limit("x", concurrency=1)})
    with pytest.raises(InvalidOption, match="give a dictionary"):
        App("postgresql://", queue_limits=[TENANT])  # type: ignore[arg-type]


def test_an_app_knows_the_limits_of_its_periods_and_those_of_a_blueprint() -> None:
    app, blueprint = App(), Blueprint()

    @app.periodic(cron="@daily", limit=Limit("own", concurrency=1))
    @app.task(name="own")
    def own(timestamp: int) -> None: ...

    @blueprint.periodic(cron="@daily", limit=Limit("taken in", concurrency=1))
    @blueprint.task(name="taken in")
    def taken_in(timestamp: int) -> None: ...

    assert [limit.name for limit in app.limits] == ["own"]
    app.add_tasks_from(blueprint, namespace="b")
    assert [limit.name for limit in app.limits] == ["own", "taken in"]
