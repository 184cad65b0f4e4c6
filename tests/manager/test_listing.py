"""Lists of jobs, page by page: whatever is asked for, by whichever index it is found."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus, queries
from taskq.exceptions import InvalidFilter
from taskq.job import Job
from taskq.manager import JobManager
from taskq.queries.filters import ALIVE, UNSUCCESSFUL

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
JOBS = 600


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as app:
        yield app


@pytest.fixture
def jobs(app: App) -> JobManager:
    return app.job_manager


@pytest.fixture
def crowd(connection: psycopg.Connection) -> None:
    """Jobs of all kinds, in no order."""
    chance = random.Random(1)
    rows = []
    for number in range(JOBS):
        status = chance.choice(list(JobStatus))
        finished = status not in ALIVE
        due = status is not JobStatus.TODO or chance.random() < 0.6
        rows.append(
            {
                "queue_name": chance.choice("abc"),
                "task_name": chance.choice(["one", "two"]),
                "status": status,
                "priority": chance.choice([0, 0, 0, 5, -3]),
                "lock": chance.choice([None, None, "l1", "l2"]),
                "queueing_lock": f"q{number}" if chance.random() < 0.5 else None,
                "limit_key": chance.choice([None, "tenant", "tenant:a", "tenant:b", "tenants"]),
                "due": due,
                "scheduled_at": None if due else LONG_AGO,
                "worker_id": None if status is JobStatus.TODO else chance.choice([1, 2]),
                "args": {"n": number % 7, "more": [1, 2]},
                "tags": chance.choice([None, ["a"], ["b", "a"], ["c", "b"]]),
                "deferred_at": LONG_AGO + timedelta(seconds=chance.randrange(100)),
                "finished_at": LONG_AGO + timedelta(seconds=chance.randrange(100))
                if finished
                else None,
            }
        )
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO taskq_jobs ({', '.join(rows[0])}) "
            f"VALUES ({', '.join(f'%({name})s' for name in rows[0])})".encode(),
            [row | {"args": json.dumps(row["args"])} for row in rows],
        )


def everything(jobs: JobManager, **options: Any) -> list[Job]:
    """All pages of a list."""
    found: list[Job] = []
    after = None
    for _ in range(10 * JOBS):
        page = jobs.list_jobs(after=after, **options)
        assert len(page) <= options.get("limit", JOBS)
        found.extend(page)
        after = page.next_after
        if after is None:
            return found
    pytest.fail("the pages never end")


def fits(job: Job, filters: dict[str, Any]) -> bool:
    """What the filters mean, said once more."""
    checks: dict[str, Callable[[Any], object]] = {
        "ids": lambda wanted: job.id in wanted,
        "queue": lambda wanted: job.queue == wanted,
        "task": lambda wanted: job.task_name == wanted,
        "status": lambda wanted: job.status in wanted,
        "lock": lambda wanted: job.lock == wanted,
        "queueing_lock": lambda wanted: job.queueing_lock == wanted,
        "limit_key": lambda wanted: wanted in {job.limit_key, (job.limit_key or "").split(":")[0]},
        "worker_id": lambda wanted: job.worker_id == wanted,
        "deferred_after": lambda wanted: job.deferred_at >= wanted,
        "deferred_before": lambda wanted: job.deferred_at < wanted,
        "finished_after": lambda wanted: job.finished_at and job.finished_at >= wanted,
        "finished_before": lambda wanted: job.finished_at and job.finished_at < wanted,
        "task_kwargs": lambda wanted: job.task_kwargs["n"] == wanted["n"],
        "tags": lambda wanted: set(wanted) <= set(job.tags),
    }
    return all(checks[name](wanted) for name, wanted in filters.items())


def random_filters(chance: random.Random) -> dict[str, Any]:
    times = [LONG_AGO + timedelta(seconds=seconds) for seconds in (20, 50, 80)]
    statuses = chance.choice([list(JobStatus), list(ALIVE), list(UNSUCCESSFUL)])
    possible: dict[str, Any] = {
        "ids": chance.sample(range(1, JOBS + 50), 200),
        "queue": chance.choice("abcd"),
        "task": chance.choice(["one", "two", "three"]),
        "status": chance.sample(statuses, chance.randint(1, len(statuses))),
        "lock": chance.choice(["l1", "l2", "l3"]),
        "queueing_lock": f"q{chance.randrange(JOBS)}",
        "limit_key": chance.choice(["tenant", "tenant:a", "t"]),
        "worker_id": chance.choice([1, 2, 3]),
        "deferred_after": chance.choice(times),
        "deferred_before": chance.choice(times),
        "finished_after": chance.choice(times),
        "finished_before": chance.choice(times),
        "task_kwargs": {"n": chance.randrange(8)},
        "tags": chance.choice([["a"], ["a", "b"], {"d"}, ("b",)]),
    }
    names = chance.sample(list(possible), chance.choice([1, 1, 2, 3]))
    if chance.random() < 0.6:
        names.append("status")
    return {name: possible[name] for name in set(names)}


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(("looked", "limit"), [(10_000, 1000), (10_000, 7), (5, 7), (1, 1)])
def test_the_pages_of_a_list_have_each_job_that_fits_once_and_in_order(
    jobs: JobManager,
    crowd: None,
    monkeypatch: pytest.MonkeyPatch,
    looked: int,
    limit: int,
    newest_first: bool,
) -> None:
    """However little of the table a page may look at."""
    every = everything(jobs, limit=1000)
    assert [job.id for job in every] == list(range(1, JOBS + 1))
    if looked < 100:
        for name in ("_MAX_SCANNED", "_MAX_SCANNED_BY_INDEX", "_MAX_SCANNED_IN_LINE"):
            monkeypatch.setattr(queries.job_list, name, looked)
    chance = random.Random(int(newest_first))
    for _ in range(20 if looked > 100 else 5 if looked > 1 else 2):
        filters = random_filters(chance)
        listed = everything(jobs, limit=limit, newest_first=newest_first, **filters)
        expected = [job for job in every if fits(job, filters)]
        assert listed == (expected[::-1] if newest_first else expected), filters


def test_jobs_that_wait_are_listed_though_they_are_in_very_many_queues(
    jobs: JobManager, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, priority, lock) "
        "SELECT 'q' || n % 1500, 'noop', '{}', n % 3, CASE WHEN n % 2 = 0 THEN 'l' || n END "
        "FROM generate_series(1, 9000) AS n"
    )
    ids = [job.id for job in everything(jobs, status="todo", limit=1000)]
    assert ids == list(range(1, 9001))
    newest = jobs.list_jobs(status="todo", newest_first=True, limit=3)
    assert [job.id for job in newest] == [9000, 8999, 8998]


def test_without_a_limit_a_page_has_a_hundred_jobs_and_one_of_ids_has_all(
    app: App, jobs: JobManager
) -> None:
    ids = app.configure_task("noop").batch_defer(*[{}] * 150)
    page = jobs.list_jobs()
    assert [job.id for job in page] == ids[:100]
    assert page.next_after == ids[99]
    assert [job.id for job in jobs.list_jobs(after=page.next_after)] == ids[100:]
    assert [job.id for job in jobs.list_jobs(ids=reversed(ids))] == ids
    empty = jobs.list_jobs(ids=[])
    assert (list(empty), empty.next_after) == ([], None)


def test_a_page_is_the_sequence_of_its_jobs(app: App, jobs: JobManager) -> None:
    ids = app.configure_task("noop").batch_defer(*[{}] * 3)
    page = jobs.list_jobs()
    assert len(page) == 3
    assert page[1].id == ids[1]
    assert [job.id for job in page[1:]] == ids[1:]
    assert page[0] in page


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"que": "mail"}, "cannot be filtered by 'que': there are ids, queue, task"),
        ({"status": "done"}, r"status='done' makes no sense.*todo"),
        ({"status": ["todo", 4]}, r"status=\['todo', 4\] makes no sense"),
        ({"queue": ""}, "queue='' makes no sense: .*at least 1 character"),
        ({"lock": "a\0b"}, "lock=.*NUL"),
        ({"ids": [1, "2"]}, r"ids=\[1, '2'\] makes no sense"),
        ({"ids": 3}, "ids=3 makes no sense"),
        ({"worker_id": 2**63}, "worker_id=9223372036854775808 makes no sense"),
        ({"deferred_after": datetime(2020, 1, 1)}, "deferred_after.*no time zone"),  # noqa: DTZ001
        ({"finished_before": "yesterday"}, "finished_before='yesterday' makes no sense"),
        ({"task_kwargs": {"a": float("nan")}}, "task_kwargs.*NaN|JSON cannot carry it"),
        ({"task_kwargs": [1]}, r"task_kwargs=\[1\] makes no sense"),
        ({"tags": "a"}, "tags='a' makes no sense"),
        ({"tags": []}, r"tags=\[\] makes no sense: .* at least 1 item"),
        ({"limit": 0}, "limit=0 is none: it goes from 1 to 1,000"),
        ({"limit": 1001}, "limit=1001"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused_with_its_value(
    jobs: JobManager, filters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidFilter, match=message):
        jobs.list_jobs(**filters)
    with pytest.raises(InvalidFilter, match=message):
        await jobs.list_jobs_async(**filters)
