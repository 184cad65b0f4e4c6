"""Rubbish is the same in each run, and the time that it may take is bounded by the number of examples."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings

from taskq import App, Job, TaskqException

Test = TypeVar("Test", bound=Callable[..., Any])

# Each test has one database for all of its examples.
_KEPT = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def examples(number: int) -> Callable[[Test], Test]:
    """So many examples, the same in each run; for a test."""
    return settings(
        max_examples=number,
        derandomize=True,
        deadline=None,
        database=None,
        # Without shrinking, which runs a worker hundreds of times: to shrink a failure, take this line away.
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=_KEPT,
    )


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    """An app without tasks, on the test's database."""
    with App(database_url) as app:
        yield app


def drain(app: App, **options: Any) -> None:
    """Run a worker until no job is left for it, for a while at most."""

    async def run() -> None:
        async with asyncio.timeout(30):
            await app.run_worker_async(
                **{"wait": False, "install_signal_handlers": False, "unknown_job_timeout": 0}
                | options
            )

    asyncio.run(run())


def left(app: App) -> list[Job]:
    """The jobs that have not ended."""
    return list(app.job_manager.list_jobs(status=["todo", "doing"]))


def count(connection: psycopg.Connection, table: str = "taskq_jobs") -> int:
    """How many rows a table has."""
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row
    return int(row[0])


class Door:
    """Counts what is written by calls that are taken or refused.

    Args:
        connection: Where to look.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._seen = count(connection)

    def is_taken(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """What a call answers; None if it is refused, in taskq's own words and with nothing written."""
        try:
            answer = call(*args, **kwargs)
        except TaskqException as error:
            refusal = str(error)
        else:
            self._seen = count(self._connection)
            return answer
        assert refusal.isprintable(), ascii(refusal)
        assert len(refusal) < 2_000
        assert count(self._connection) == self._seen, "it was refused, and something is written"
        return None
