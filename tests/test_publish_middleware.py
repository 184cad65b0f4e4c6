"""Publish middleware: what sees each event before it is published, and notes something about its jobs."""

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from taskq import App, EventDraft, JobDraft, queries
from taskq.exceptions import InvalidJob, MiddlewareKindMismatch
from tests.conftest import Face

PAID = "order.paid"

tenant: ContextVar[str] = ContextVar("tenant", default="none")


def noted(event: EventDraft) -> None:
    event.metadata["tenant"] = tenant.get()


@pytest.fixture(autouse=True)
def other(database_url: str) -> Iterator[App]:
    """Another program, whose workers have declared what it subscribes to."""
    with App(database_url) as other:
        other.on(PAID, metadata={"by": "books"})(other.task(name="book")(takes_anything))
        with other.database.engine.begin() as connection:
            queries.subscriptions.declare_subscriptions(
                connection, [each.declared for each in other.subscribers], declared_by="w"
            )
        yield other


def takes_anything(**arguments: object) -> None: ...


async def publish(face: Face, app: App, **arguments: Any) -> dict[str, Any]:
    """Publish an event; returns the metadata of its jobs by the names of their tasks."""
    publishing = app.publish_async if face.is_async else app.publish
    ids = publishing(PAID, **arguments)
    jobs = app.job_manager.list_jobs(ids=ids if isinstance(ids, list) else await ids)
    return {job.task_name: job.metadata for job in jobs}


async def test_what_it_notes_each_job_has_whichever_programs_task_it_is_of(
    database_url: str, face: Face
) -> None:
    seen: list[object] = []

    def looked(event: EventDraft) -> None:
        seen.extend([event.event, event.arguments, dict(event.metadata), repr(event)])

    def of_job(job: JobDraft) -> None:
        seen.append(dict(job.metadata))
        job.metadata["tenant"] = f"{job.metadata['tenant']} Inc."

    with App(database_url, publish_middleware=[noted, looked], defer_middleware=of_job) as app:
        app.on(PAID)(app.task(name="thank")(takes_anything))
        token = tenant.set("acme")
        found = await publish(face, app, order=7)
        tenant.reset(token)
    assert found == {
        "book": {"tenant": "acme", "by": "books", "event": PAID},
        "thank": {"tenant": "acme Inc.", "event": PAID},
    }
    assert seen == [
        PAID,
        {"order": 7},
        {"tenant": "acme"},
        f"<EventDraft of {PAID!r}>",
        {"tenant": "acme", "event": PAID},
    ]


async def test_what_a_subscriber_has_declared_holds(database_url: str, face: Face) -> None:
    def noted(event: EventDraft) -> None:
        event.metadata |= {"by": "shop", "event": "another", "é": "ü"}

    with App(database_url, publish_middleware=noted) as app:
        app.on(PAID, metadata={"by": "thanks"})(app.task(name="thank")(takes_anything))
        assert await publish(face, app) == {
            "book": {"by": "books", "event": PAID, "é": "ü"},
            "thank": {"by": "thanks", "event": PAID, "é": "ü"},
        }


async def test_if_it_raises_or_notes_what_no_job_can_have_nothing_is_published(
    database_url: str, face: Face
) -> None:
    def refuses(event: EventDraft) -> None:
        raise LookupError("no tenant")

    def breaks(event: EventDraft) -> None:
        event.metadata["at"] = float("nan")

    for middleware, refusal, why in (
        (refuses, LookupError, "no tenant"),
        (breaks, InvalidJob, "event 'order.paid' cannot be published with metadata="),
    ):
        with App(database_url, publish_middleware=middleware) as app:
            with pytest.raises(refusal, match=why):
                await publish(face, app)
            assert app.job_manager.count_jobs() == {}


async def test_one_that_is_async_or_returns_something_is_refused(database_url: str) -> None:
    async def later(event: EventDraft) -> None: ...

    wrong: Any
    for wrong, why in (
        (later, "publish_middleware got .* which is async"),
        (7, "publish_middleware got 7, which cannot be called: give .* takes an EventDraft"),
    ):
        with pytest.raises(MiddlewareKindMismatch, match=why):
            App(database_url, publish_middleware=wrong)
    for wrong in (lambda event: event, lambda event: asyncio.sleep(0)):
        with (
            App(database_url, publish_middleware=wrong) as app,
            pytest.raises(MiddlewareKindMismatch, match=r"change the EventDraft .* return nothing"),
        ):
            app.publish(PAID)
