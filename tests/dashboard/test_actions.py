"""What operators do by the pages, on a real database, with a worker where one is needed."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from taskq import App
from taskq.job import JobStatus
from taskq.manager import JobManager
from taskq.telemetry import JobStarted
from tests.dashboard import shop
from tests.dashboard.conftest import text_of


@pytest.fixture
def jobs(app: App) -> JobManager:
    return app.job_manager


@pytest.fixture
async def failed(app: App) -> list[int]:
    """Three jobs that failed, and one that succeeded."""
    ids = await shop.charge.batch_defer_async(
        *({"account": account, "cents": 7} for account in ("acme", "globex", "initech"))
    )
    await shop.sync_stock.defer_async()
    await app.run_worker_async(wait=False, concurrency=4)
    return ids


async def send(client: httpx.AsyncClient, address: str, /, **form: object) -> httpx.Response:
    """Send a form, and follow to where it leads."""
    answer = await client.post(address, data=form)
    assert answer.status_code == 303, text_of(answer)
    return await client.get(answer.headers["location"])


async def test_one_job_is_retried_cancelled_rescheduled_and_deleted(
    client: httpx.AsyncClient, jobs: JobManager, failed: list[int]
) -> None:
    [job, *_] = failed
    page = await send(client, "/jobs/change", do="retry", id=job)
    assert "Put back into the queue." in text_of(page)
    assert await jobs.get_job_status_async(job) is JobStatus.TODO
    await send(
        client, "/jobs/change", do="reschedule", id=job, when="2h", priority="7", new_queue="slow"
    )
    moved = await jobs.get_job_async(job)
    assert (moved.priority, moved.queue) == (7, "slow")
    assert moved.scheduled_at
    assert abs(moved.scheduled_at - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=5)
    page = await send(client, "/jobs/change", do="cancel", id=job)
    assert "cancelled" in text_of(page)
    page = await send(client, "/jobs/change", do="delete", id=job)
    assert "1 job deleted." in text_of(page)
    assert (await client.get(f"/jobs/{job}")).status_code == 404


async def test_a_job_that_runs_is_aborted(
    client: httpx.AsyncClient, app: App, jobs: JobManager
) -> None:
    job = await shop.wait.defer_async(seconds=60)
    began = asyncio.Event()
    app.telemetry.subscribe(JobStarted, lambda event: began.set())
    worker = app.worker(wait=False)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(began.wait(), 30)
    asked = await client.get(f"/jobs/change?do=abort&id={job}")
    assert "Abort 1 job?" in text_of(asked)
    await send(client, "/jobs/change", do="abort", id=job)
    await asyncio.wait_for(running, 30)
    page = await client.get(f"/jobs/{job}")
    assert "It has ended, as aborted." in text_of(page)


async def test_those_that_are_selected_are_changed_and_the_question_says_how_many(
    client: httpx.AsyncClient, jobs: JobManager, failed: list[int]
) -> None:
    succeeded = 4
    asked = await client.get(
        "/jobs/change", params={"do": "retry", "id": [*failed[:2], succeeded], "status": "failed"}
    )
    assert "Retry 2 jobs?" in text_of(asked)
    assert "1 other job stays as it is" in text_of(asked)
    page = await send(client, "/jobs/change", do="retry", id=[*failed[:2], succeeded])
    assert "2 jobs put back into the queue." in text_of(page)
    statuses = [await jobs.get_job_status_async(job) for job in failed]
    assert statuses == [JobStatus.TODO, JobStatus.TODO, JobStatus.FAILED]


async def test_all_that_fit_the_filters_are_changed_and_no_others(
    client: httpx.AsyncClient, jobs: JobManager, failed: list[int]
) -> None:
    fits = {"status": "failed", "error": "bank of acme", "queue": "payments"}
    asked = await client.get("/jobs/change", params={"do": "retry", "all": "1", **fits})
    assert "Retry 1 job?" in text_of(asked)
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', asked.text))
    answer = await client.post("/jobs/change", data=hidden)
    # Back on the same filters.
    said = parse_qs(urlsplit(answer.headers["location"]).query)
    assert said == {name: [value] for name, value in fits.items()} | {
        "done": ["retry"],
        "jobs": ["1"],
    }
    assert [job.id for job in await jobs.list_jobs_async(status="todo")] == failed[:1]


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"do": "delete", "all": "1"}, "without a filter that would be every job"),
        ({"do": "delete"}, "no job is selected"),
        ({"do": "explode", "id": "1"}, "nothing that is done to jobs"),
        ({"do": "delete", "id": "one"}, "ids are numbers"),
        ({"do": "retry", "all": "1", "status": "succeeded"}, "leaves none of these"),
        ({"do": "delete", "all": "1", "stauts": "failed"}, "cannot be filtered by"),
        ({"do": "delete", "all": "1", "queue": ["a", "b"]}, "said twice"),
    ],
)
async def test_what_makes_no_sense_changes_nothing(
    client: httpx.AsyncClient,
    jobs: JobManager,
    failed: list[int],
    form: dict[str, object],
    says: str,
) -> None:
    answer = await client.post("/jobs/change", data=form)
    assert answer.status_code == 400
    assert says in text_of(answer)
    assert len(await jobs.list_jobs_async()) == 4


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"when": "tomorrow"}, "'tomorrow' is no time"),
        ({"when": "2030-01-31T18:00"}, "does not say in which time zone"),
        ({"priority": "high"}, "is no number"),
        ({"priority": str(2**40)}, "priority"),
        ({}, "nothing about it is to be changed"),
        ({"new_queue": "q" * 501}, "at most 500"),
    ],
)
async def test_a_form_that_is_wrong_is_shown_again_with_what_was_typed(
    client: httpx.AsyncClient, form: dict[str, str], says: str
) -> None:
    job = await shop.wait.defer_async(seconds=1)
    answer = await client.post("/jobs/change", data={"do": "reschedule", "id": job, **form})
    assert answer.status_code == 422
    assert says in text_of(answer)
    assert all(f'value="{typed}"' in answer.text for typed in form.values())


@pytest.mark.parametrize("do", ["retry", "cancel", "abort", "reschedule"])
async def test_a_job_that_has_moved_on_stays_as_it_is_and_the_page_says_so(
    client: httpx.AsyncClient, jobs: JobManager, failed: list[int], do: str
) -> None:
    succeeded = 4
    form = {"do": do, "id": succeeded, "when": "1h"}
    answer = await client.post("/jobs/change", data=form)
    assert answer.status_code == 409
    assert f"job {succeeded} is succeeded" in text_of(answer)
    assert await jobs.get_job_status_async(succeeded) is JobStatus.SUCCEEDED
    answer = await client.post("/jobs/change", data=form | {"id": 10**6})
    assert answer.status_code == 404


async def test_another_job_like_one_is_deferred(
    client: httpx.AsyncClient, app: App, jobs: JobManager
) -> None:
    first = await shop.send_receipt.configure(
        lock="l", tags=["a", "b"], metadata={"x": 1}, priority=3, queue="fast"
    ).defer_async(to="ada", order=1)
    page = await send(client, f"/jobs/{first}/again")
    assert "Deferred." in text_of(page)
    one, two = await jobs.list_jobs_async()
    assert two.id != one.id
    for name in ("task_name", "task_kwargs", "lock", "tags", "metadata", "priority", "queue"):
        assert getattr(two, name) == getattr(one, name)


async def test_another_one_of_a_queueing_lock_that_waits_is_refused(
    client: httpx.AsyncClient, jobs: JobManager
) -> None:
    job = await shop.daily_report.configure(schedule_in={"hours": 1}).defer_async()
    answer = await client.post(f"/jobs/{job}/again", data={})
    assert answer.status_code == 409
    assert f"job {job} with the queueing lock 'daily' waits already" in text_of(answer)
    answer = await client.post(
        "/periodic/run", data={"task": "shop.reports.daily", "periodic_id": ""}
    )
    assert answer.status_code == 409
    assert len(await jobs.list_jobs_async()) == 1


async def test_a_job_is_edited_and_run_again(client: httpx.AsyncClient, jobs: JobManager) -> None:
    job = await shop.send_receipt.configure(tags=["a"], priority=2).defer_async(
        to="a@example.org", order=1, note='say "hi"'
    )
    form = await client.get(f"/defer?like={job}")
    fields = dict(
        re.findall(r'<(?:input|textarea)[^>]* name="([^"]+)"[^>]*?value="([^"]*)"', form.text)
    )
    assert fields["arg:to"] == "a@example.org"
    assert fields["arg:order"] == "1"
    assert (fields["tags"], fields["priority"], fields["queue"]) == ("a", "2", "mail")
    await send(client, "/defer", **fields | {"arg:order": "2", "arg:copy": "true"})
    _, again = await jobs.list_jobs_async()
    assert again.task_kwargs["order"] == 2
    assert again.task_kwargs["copy"] is True
    assert (again.tags, again.priority) == (("a",), 2)


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"task": "wait", "arg:seconds": "soon"}, 422, "the argument 'seconds' is not JSON"),
        ({"task": "wait", "arg:seconds": ""}, 422, "argument 'seconds' is missing"),
        ({"task": "wait", "arg:seconds": "[1]"}, 422, "argument 'seconds' got"),
        ({"task": "wait", "arg:seconds": "1", "when": "x"}, 422, "is no time"),
        ({"task": "wait", "arg:seconds": "1", "metadata": "[1]"}, 422, "metadata"),
        ({"task": "anything", "raw": "1", "arguments": "[1]"}, 422, "has to be a JSON object"),
        ({"task": "anything", "raw": "1", "arguments": '{"a": NaN}'}, 422, "JSON has no NaN"),
        ({"task": "x" * 501, "raw": "1"}, 422, "at most 500"),
        ({"task": ""}, 422, "at least 1"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_what_was_typed(
    client: httpx.AsyncClient, jobs: JobManager, form: dict[str, str], status: int, says: str
) -> None:
    answer = await client.post("/defer", data=form)
    assert answer.status_code == status
    assert says in text_of(answer)
    assert len(await jobs.list_jobs_async()) == 0


async def test_a_task_that_the_app_does_not_have_gets_its_arguments_as_json(
    client: httpx.AsyncClient, jobs: JobManager
) -> None:
    page = await client.get("/defer", params={"task": "other.program"})
    assert "The app has no task of that name" in text_of(page)
    await send(
        client,
        "/defer",
        task="other.program",
        raw="1",
        arguments='{"a": [1, null]}',
        queue="q",
        when="10m",
        key="once",
    )
    [job] = await jobs.list_jobs_async()
    assert (job.task_name, job.task_kwargs, job.queue) == ("other.program", {"a": [1, None]}, "q")
    assert job.idempotency_key == "once"
    assert job.scheduled_at


async def test_a_periodic_task_is_run_now(client: httpx.AsyncClient, jobs: JobManager) -> None:
    page = await client.get("/periodic")
    assert "*/15 * * * *" in text_of(page)
    assert "never" in text_of(page)
    await send(client, "/periodic/run", task="shop.carts.remind", periodic_id="carts")
    [job] = await jobs.list_jobs_async()
    assert job.task_name == "shop.carts.remind"
    assert abs(int(str(job.task_kwargs["timestamp"])) - job.deferred_at.timestamp()) < 5
    answer = await client.post("/periodic/run", data={"task": "wait", "periodic_id": ""})
    assert answer.status_code == 404


async def test_queues_and_tasks_are_paused_and_resumed(
    client: httpx.AsyncClient, jobs: JobManager
) -> None:
    page = await send(client, "/queues/pause", do="pause", name="mail", reason="the relay")
    assert "Queue mail is paused." in text_of(page)
    assert "by 127.0.0.1: the relay" in text_of(page)
    page = await send(client, "/tasks/pause", do="pause", name="shop.stock.sync")
    assert {pause.name for pause in await jobs.list_pauses_async()} == {
        "mail",
        "shop.stock.sync",
        "stock.sync",
    }
    await send(client, "/tasks/pause", do="resume", name="shop.stock.sync")
    await send(client, "/queues/pause", do="resume", name="mail")
    assert await jobs.list_pauses_async() == []
    for address in ("/queues/pause", "/tasks/pause"):
        answer = await client.post(address, data={"do": "stop", "name": "mail"})
        assert answer.status_code == 400


async def test_a_limit_is_set_and_unset(
    client: httpx.AsyncClient, app: App, jobs: JobManager
) -> None:
    await app.run_worker_async(wait=False)
    await send(
        client, "/limits", do="set", name="tenant", key="acme", rate="5", per="1m", burst="2"
    )
    page = await client.get("/queues")
    assert "5 per 60 s, 2 of them at once" in text_of(page)
    await send(client, "/limits", do="unset", name="tenant", key="acme")
    assert [limit.by_operator for limit in await jobs.list_limits_async("tenant")] == [False]
    for wrong, status in (
        ({"name": "tenant", "do": "set", "concurrency": "many"}, 422),
        ({"name": "tenant", "do": "set"}, 422),
        ({"name": "tenant", "do": "set", "rate": "1", "per": "soon"}, 422),
        ({"name": "none", "do": "set", "concurrency": "1"}, 404),
        ({"name": "tenant", "do": "drop"}, 400),
    ):
        assert (await client.post("/limits", data=wrong)).status_code == status
