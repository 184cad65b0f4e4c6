"""Pausing and resuming a queue, by an app's job manager."""

import pytest
from sqlalchemy import create_engine

from taskq import App
from taskq.exceptions import InvalidName
from taskq.manager import PauseKind


async def test_a_pause_can_be_read_and_ended_sync_and_async(app: App) -> None:
    jobs = app.job_manager
    assert jobs.pause_queue("mail", by="ada", reason="the relay is down")
    assert not await jobs.pause_queue_async("mail", by="grace")
    [pause] = await jobs.list_pauses_async()
    assert (pause.kind, pause.name) == (PauseKind.QUEUE, "mail")
    assert (pause.paused_by, pause.reason) == ("ada", "the relay is down")
    assert pause.paused_at.tzinfo is not None
    assert await jobs.resume_queue_async("mail")
    assert not jobs.resume_queue("mail")
    assert jobs.list_pauses() == []


def test_a_pause_is_in_the_transaction_of_a_connection(app: App, database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        assert app.job_manager.on(connection).pause_queue("mail")
        assert app.job_manager.list_pauses() == []
        connection.commit()
        assert [pause.name for pause in app.job_manager.list_pauses()] == ["mail"]
        assert app.job_manager.on(connection).resume_queue("mail")
        connection.rollback()
        assert [pause.name for pause in app.job_manager.list_pauses()] == ["mail"]
    engine.dispose()


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"name": ""}, "name=''"),
        ({"name": "q" * 501}, "name='qqq"),
        ({"name": "a\0b"}, "NUL"),
        ({"name": "mail", "by": ""}, "by=''"),
        ({"name": "mail", "reason": 5}, "reason=5"),
    ],
)
def test_what_no_queue_can_be_called_is_refused(
    app: App, given: dict[str, str], wrong: str
) -> None:
    with pytest.raises(InvalidName, match=wrong):
        app.job_manager.pause_queue(**given)


def test_a_claim_by_hand_gets_nothing_of_a_paused_queue(app: App) -> None:
    @app.task(queue="mail")
    def send() -> None: ...

    job_id = send.defer()
    app.job_manager.pause_queue("mail")
    assert app.job_manager.fetch(1, ["mail"]) == []
    assert app.job_manager.fetch(1) == []
    app.job_manager.resume_queue("mail")
    assert [job.id for job in app.job_manager.fetch(1)] == [job_id]
