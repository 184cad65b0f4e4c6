"""Live parts: read once for all who look, and sent when they change."""

import asyncio

import httpx
import pytest

from taskq import App
from taskq.contrib.dashboard import Access, Dashboard
from taskq.contrib.dashboard.live import Board, Boards
from taskq.exceptions import DatabaseUnavailable
from tests.dashboard import shop
from tests.dashboard.serving import serving


class Counter:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.fails = False

    async def read(self) -> int:
        await asyncio.sleep(0)
        self.reads += 1
        if self.fails:
            raise DatabaseUnavailable("away")
        return self.reads


async def test_many_who_look_at_once_are_one_read() -> None:
    counter = Counter()
    board = Board(counter.read, 60)
    found = await asyncio.gather(*(board.latest() for _ in range(20)))
    assert {reading.value for reading in found} == {1}
    assert (await board.after(0)).value == 1
    assert counter.reads == 1


async def test_all_who_wait_get_the_next_one_also_if_the_first_of_them_leaves() -> None:
    counter = Counter()
    board = Board(counter.read, 0.05)
    number = (await board.latest()).number
    waiting = [asyncio.create_task(board.after(number)) for _ in range(5)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    found = await asyncio.gather(*waiting[1:])
    assert {reading.value for reading in found} == {2}
    assert counter.reads == 2


async def test_what_cannot_be_read_is_tried_again_once_for_all() -> None:
    counter = Counter()
    counter.fails = True
    board = Board(counter.read, 0.05)
    found = await asyncio.gather(*(board.latest() for _ in range(5)))
    for reading in found:
        with pytest.raises(DatabaseUnavailable):
            reading.get()
    assert counter.reads == 1
    counter.fails = False
    assert (await board.after(found[0].number)).get() == 2


def test_of_very_many_boards_those_looked_at_last_are_kept() -> None:
    boards = Boards(lambda key: Board(Counter().read, 1), most=2)
    one, two = boards[1], boards[2]
    assert boards[1] is one
    boards[3]
    assert boards[1] is one
    assert boards[2] is not two


async def events(response: httpx.Response) -> list[tuple[str, str]]:
    """The next events, up to one that is more than a sign of life."""
    found: list[tuple[str, str]] = []
    name, data = "", []
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data.append(line[6:])
        elif line == "" and name:
            found.append((name, "\n".join(data)))
            if name in {"over", "away"}:
                break
            name, data = "", []
    return found


async def test_a_job_is_shown_as_it_goes_on_until_it_has_ended(app: App) -> None:
    job = await shop.resize.defer_async(path="/a.png", size=shop.Size.SMALL)
    dashboard = Dashboard(app, authorize=lambda request: Access.READ)
    with serving(dashboard) as url:
        async with (
            httpx.AsyncClient(base_url=url, timeout=30) as client,
            client.stream("GET", f"/jobs/{job}/live") as response,
        ):
            assert response.headers["content-type"].startswith("text/event-stream")
            assert "default-src 'none'" in response.headers["content-security-policy"]
            listening = asyncio.create_task(events(response))
            await asyncio.sleep(0.3)
            await app.run_worker_async(wait=False)
            found = await asyncio.wait_for(listening, 30)
    heads = [data for name, data in found if name == "part" and data.startswith("head\n")]
    assert "todo" in heads[0]
    assert "succeeded" in heads[-1]
    assert any(
        name == "part" and data.startswith("facts\n") and "/a.png" in data for name, data in found
    )
    assert found[-1][0] == "over"


async def test_a_job_that_was_retried_is_not_shown_as_it_was_before(app: App) -> None:
    job = await shop.charge.defer_async(account="acme", cents=1)
    await app.run_worker_async(wait=False)
    with serving(Dashboard(app)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            async with client.stream("GET", f"/jobs/{job}/live") as response:
                assert (await events(response))[-1][0] == "over"
            await app.job_manager.retry_job_by_id_async(job)
            async with client.stream("GET", f"/jobs/{job}/live") as response:
                listening = asyncio.create_task(events(response))
                await asyncio.sleep(0.3)
                await app.run_worker_async(wait=False)
                found = await asyncio.wait_for(listening, 30)
    attempts = [data for name, data in found if name == "part" and data.startswith("attempts\n")]
    assert "Attempt 2" in attempts[-1]


async def test_a_viewer_that_leaves_is_not_served_any_longer(app: App) -> None:
    dashboard = Dashboard(app)
    with serving(dashboard) as url:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            async with client.stream("GET", "/live") as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: queues"):
                        break
            # The server ends within a second at the end of the block, which it could not with a stream.
            assert (await client.get("/jobs")).status_code == 200
