"""What the completer writes, and in which order."""

from typing import Any

import pytest

from taskq import App, queries
from taskq.outcome import Outcome
from tests.worker.conftest import Drain


async def test_ends_are_written_in_the_order_in_which_others_lock_several_jobs(
    app: App, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they and a session that cancels several jobs could each wait for the other."""
    finish = queries.job_finish.finish_jobs
    written: list[list[int]] = []

    def note(connection: Any, worker_id: int, outcomes: list[Outcome]) -> Any:
        written.append([outcome.job_id for outcome in outcomes])
        return finish(connection, worker_id, outcomes)

    monkeypatch.setattr(queries.job_finish, "finish_jobs", note)

    @app.task
    async def noop() -> None: ...

    # The last one ends first.
    ids = [await noop.configure(priority=n).defer_async() for n in range(5)]
    await drain(app, concurrency=5)
    assert sorted(id_ for batch in written for id_ in batch) == ids
    assert max(map(len, written)) > 1
    assert written == [sorted(batch) for batch in written]
