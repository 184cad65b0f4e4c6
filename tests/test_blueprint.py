"""Blueprints: tasks that are declared before, or apart from, the app that they will belong to."""

from typing import Any

import pytest

from taskq import App, Blueprint
from taskq.exceptions import (
    InvalidArguments,
    InvalidJob,
    TaskAlreadyRegistered,
    UnboundTaskError,
)


def clash() -> None: ...


def blueprint_of_mails() -> Blueprint:
    mails = Blueprint()

    @mails.task(name="send", aliases=["mail"])
    def send(to: str) -> None: ...

    @mails.periodic(cron="0 3 * * *")
    @mails.task(name="tidy")
    def tidy(timestamp: int) -> None: ...

    return mails


def test_an_app_puts_the_namespace_in_front_of_names_and_aliases() -> None:
    mails, app = blueprint_of_mails(), App("postgresql://")
    app.add_tasks_from(mails, namespace="shop")
    assert set(app.tasks) == {"shop:send", "shop:mail", "shop:tidy"}
    send = mails.tasks["send"]
    assert app.tasks["shop:send"] is app.tasks["shop:mail"] is send
    assert (send.name, send.aliases) == ("shop:send", ("shop:mail",))


def test_blueprints_nest() -> None:
    shop, app = Blueprint(), App("postgresql://")
    shop.add_tasks_from(blueprint_of_mails(), namespace="mails")
    app.add_tasks_from(shop, namespace="shop")
    assert set(app.tasks) == {"shop:mails:send", "shop:mails:mail", "shop:mails:tidy"}
    assert [period.task.name for period in app.periodics] == ["shop:mails:tidy"]


def test_a_task_is_unbound_until_an_app_takes_it_in(database_url: str) -> None:
    mails = blueprint_of_mails()
    send = mails.tasks["send"]
    before = send.configure(queue="mail")
    call = send.args(to="ada")
    with pytest.raises(UnboundTaskError, match=r"task 'send' .*app.add_tasks_from"):
        before.defer(to="ada")
    with App(database_url) as app:
        app.add_tasks_from(mails, namespace="shop")
        ids = [send.defer(to="ada"), before.defer(to="ada"), *before.batch_defer(call)]
        jobs = [app.job_manager.get_job(id_) for id_ in ids]
    assert [job.task_name for job in jobs] == ["shop:send"] * 3
    assert [job.queue for job in jobs] == ["default", "mail", "mail"]


async def test_a_task_is_unbound_for_the_async_methods_too() -> None:
    with pytest.raises(UnboundTaskError):
        await blueprint_of_mails().tasks["send"].defer_async(to="ada")


def test_a_periodic_task_of_a_blueprint_is_deferred_by_its_new_name() -> None:
    app = App("postgresql://")
    app.add_tasks_from(blueprint_of_mails(), namespace="shop")
    [period] = app.periodics
    job = period.job(7)
    assert (job.task_name, job.args) == ("shop:tidy", {"timestamp": 7})


def test_a_refusal_after_taking_in_names_the_task_by_its_new_name() -> None:
    mails = blueprint_of_mails()
    App("postgresql://").add_tasks_from(mails, namespace="shop")
    with pytest.raises(InvalidArguments, match="task 'shop:send': argument 'to' is missing"):
        mails.tasks["send"].configure().prepare()


def test_a_blueprint_belongs_to_one_app() -> None:
    mails = blueprint_of_mails()
    App("postgresql://").add_tasks_from(mails, namespace="shop")
    second = App("postgresql://")
    with pytest.raises(TaskAlreadyRegistered, match=r"<Task shop:send> belongs to an app already"):
        second.add_tasks_from(mails, namespace="other")
    assert second.tasks == {}


def test_a_name_that_is_taken_leaves_everything_as_it_was() -> None:
    app, mails = App("postgresql://"), blueprint_of_mails()
    taken = app.task(name="shop:tidy")(clash)
    with pytest.raises(TaskAlreadyRegistered, match="'shop:tidy' is the name of <Task shop:tidy>"):
        app.add_tasks_from(mails, namespace="shop")
    assert app.tasks == {"shop:tidy": taken}
    assert app.periodics == []
    assert mails.tasks["send"].name == "send"


def test_the_same_name_or_alias_twice_is_refused() -> None:
    mails = blueprint_of_mails()
    for name, aliases in [("send", []), ("mail", []), ("new", ["send"]), ("new", ["mail"])]:
        with pytest.raises(TaskAlreadyRegistered, match=r"is the name of <Task send> already"):
            mails.task(name=name, aliases=aliases)(clash)
    for name, aliases in [("new", ["new"]), ("new", ["old", "old"])]:
        with pytest.raises(TaskAlreadyRegistered, match="has one of its names twice"):
            mails.task(name=name, aliases=aliases)(clash)
    assert set(mails.tasks) == {"send", "mail", "tidy"}


@pytest.mark.parametrize("name", ["", "x" * 501, "a\0b", "\ud800", 3, None])
def test_a_name_that_no_task_can_have_is_refused_and_nothing_is_registered(name: Any) -> None:
    mails = blueprint_of_mails()
    send = mails.tasks["send"]
    with pytest.raises(InvalidJob, match=r"task 'new' cannot have the name or alias="):
        mails.task(name="new", aliases=["fine", name])(clash)
    with pytest.raises(InvalidJob, match=r"task 'send' cannot have the name or alias="):
        mails.add_task_alias(send, name)
    with pytest.raises(InvalidJob, match=r"a blueprint cannot be added with namespace="):
        App("postgresql://").add_tasks_from(mails, namespace=name)
    assert set(mails.tasks) == {"send", "mail", "tidy"}
    assert (send.name, send.aliases) == ("send", ("mail",))


def test_a_namespace_that_makes_a_name_too_long_is_refused_before_anything_is_renamed() -> None:
    mails, app = blueprint_of_mails(), App("postgresql://")
    with pytest.raises(InvalidJob, match=r"task 'send' cannot have .*at most 500 characters"):
        app.add_tasks_from(mails, namespace="x" * 498)
    assert app.tasks == {}
    assert mails.tasks["send"].name == "send"


def test_an_alias_may_be_added_later() -> None:
    mails, app = blueprint_of_mails(), App("postgresql://")
    mails.add_task_alias(mails.tasks["send"], "post")
    app.add_tasks_from(mails, namespace="shop")
    app.add_task_alias(mails.tasks["send"], "older")
    assert app.tasks["shop:post"] is app.tasks["older"] is mails.tasks["send"]
    assert mails.tasks["send"].aliases == ("shop:mail", "shop:post", "older")
    with pytest.raises(TaskAlreadyRegistered, match="'shop:tidy' is the name of"):
        app.add_task_alias(mails.tasks["send"], "shop:tidy")
