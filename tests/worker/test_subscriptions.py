"""What workers declare of the tasks that subscribe to events, and that these get their jobs."""

import pytest

from taskq import App, JobContext, JobStatus
from taskq.exceptions import InvalidArguments
from tests.worker.conftest import Drain, Finished, MakeApp, Start

PAID = "order.paid"


async def test_a_worker_declares_who_subscribes_before_it_claims_and_runs_what_is_published(
    app: App, make_app: MakeApp, start: Start, finished: Finished
) -> None:
    publisher, seen = make_app(), []

    @app.on(PAID)
    @app.task(name="thank", pass_context=True)
    async def thank(context: JobContext, order_id: int) -> None:
        assert context.job.metadata is not None
        seen.append((order_id, context.job.metadata["event"]))

    assert await publisher.publish_async(PAID, order_id=1) == []
    await start(app, name="one")
    [subscription] = await publisher.job_manager.list_subscriptions_async()
    assert (subscription.task_name, subscription.declared_by) == ("thank", "one")
    [job_id] = await publisher.publish_async(PAID, order_id=7)
    assert (await finished(job_id)).status is JobStatus.SUCCEEDED
    assert seen == [(7, PAID)]


async def test_what_does_not_fit_a_subscriber_of_another_program_fails_there_alone(
    app: App, make_app: MakeApp, start: Start, finished: Finished
) -> None:
    @app.on(PAID)
    @app.task(name="takes text")
    async def text(order_id: str) -> None: ...

    @app.on(PAID)
    @app.task(name="takes numbers")
    async def number(order_id: int) -> None: ...

    await start(app)
    ids = await make_app().publish_async(PAID, order_id="seven")
    jobs = [await finished(id_) for id_ in ids]
    assert {job.task_name: job.status for job in jobs} == {
        "takes text": JobStatus.SUCCEEDED,
        "takes numbers": JobStatus.FAILED,
    }
    with pytest.raises(InvalidArguments, match="task 'takes numbers'"):
        await app.publish_async(PAID, order_id="seven")


async def test_a_subscription_stays_when_its_task_is_gone_and_when_a_worker_has_it_no_more(
    app: App, make_app: MakeApp, drain: Drain
) -> None:
    @app.on(PAID)
    @app.task(name="thank")
    async def thank(order_id: int) -> None: ...

    await drain(app)
    await drain(make_app())
    assert len(await app.job_manager.list_subscriptions_async()) == 1
    assert await app.job_manager.remove_subscription_async(PAID, "thank")
    await drain(make_app())
    assert await app.job_manager.list_subscriptions_async() == []


async def test_in_a_tasks_transaction_an_event_is_published_if_it_commits(
    app: App, start: Start, finished: Finished
) -> None:
    @app.on(PAID)
    @app.task(name="thank")
    async def thank(order_id: int) -> None: ...

    @app.task(name="pay", pass_context=True)
    async def pay(context: JobContext, order_id: int) -> None:
        async with context.transaction() as connection:
            await app.publish_async(PAID, order_id=order_id, connection=connection)
            if order_id < 0:
                raise ValueError(order_id)

    await start(app)
    good = await finished(await pay.defer_async(order_id=7))
    bad = await finished(await pay.defer_async(order_id=-7))
    assert (good.status, bad.status) == (JobStatus.SUCCEEDED, JobStatus.FAILED)
    page = await app.job_manager.list_jobs_async(task="thank")
    assert [job.task_kwargs for job in page] == [{"order_id": 7}]
