"""What the pages of the dashboard take beside millions of finished jobs, and what many who look at it cost.

    python -m benchmarks.dashboard [URL]

on the server that URL names, as a user who may create databases, or on one of its own. Loading the jobs
takes a minute or two; machines are noisy: compare within one run.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg

from benchmarks.managing import FINISHED, load
from benchmarks.server import fresh_database, own_server
from taskq import App
from taskq.contrib.dashboard import Access, Dashboard
from tests.dashboard import shop

ROUNDS = 10
VIEWERS = 20
SECONDS = 30

# Newest first, as a page goes; what is asked for is nowhere, or far away.
PAGES = {
    "overview, read anew": "/",
    "jobs": "/jobs",
    "jobs, from the middle on": f"/jobs?after={FINISHED // 2}",
    "jobs of one queue": "/jobs?queue=queue+3",
    "jobs of a queue that is not there": "/jobs?queue=none",
    "jobs that failed": "/jobs?status=failed",
    "jobs with a text in their errors": "/jobs?status=failed&error=not+there",
    "jobs with an argument that none has": "/jobs?args=%7B%22n%22%3A+-1%7D",
    "jobs that wait": "/jobs?status=todo",
    "jobs that ended in the last hour": "/jobs?finished_after=1h",
    "a job": f"/jobs/{FINISHED // 1000 * 1000}",
    "a job that waits": f"/jobs/{FINISHED + 7}",
    "a question about all that failed": "/jobs/change?do=retry&all=1&status=failed",
    "a question about all of a queue": "/jobs/change?do=delete&all=1&queue=queue+3",
    "tasks": "/tasks",
    "queues": "/queues",
    "workers": "/workers",
    "periodic tasks": "/periodic",
    "a form": f"/defer?like={FINISHED}",
}


async def measure(app: App) -> None:
    """Print what each page takes, from the request to the end of the answer."""
    print(f"{'ms':44} {'first':>8} {'median':>8} {'longest':>8} {'kB':>8}")
    for name, address in PAGES.items():
        took = []
        size = 0
        for _ in range(ROUNDS):
            # Anew, so that nothing is known from before.
            dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
            transport = httpx.ASGITransport(dashboard)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                start = time.perf_counter()
                answer = await client.get(address)
                took.append((time.perf_counter() - start) * 1000)
            assert answer.status_code == 200, (address, answer.text)
            size = len(answer.content)
        print(
            f"{name:44} {took[0]:8.1f} {statistics.median(took):8.1f} {max(took):8.1f} {size / 1000:8.1f}"
        )


async def watch(address: str, seconds: float) -> int:
    """Look at the live overview for a while; how many bytes came."""
    size = 0
    async with (
        httpx.AsyncClient(timeout=None) as client,  # noqa: S113
        client.stream("GET", f"{address}/live") as response,
    ):
        ends = time.monotonic() + seconds
        async for part in response.aiter_bytes():
            size += len(part)
            if time.monotonic() > ends:
                break
    return size


def memory_of(pid: int) -> float:
    """What a process has in memory, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    assert found
    return int(found[1]) / 1024


def processor_of(pid: int) -> float:
    """For how many seconds a process has had a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_viewers(url: str) -> None:
    """Print what a process takes that serves the dashboard, without viewers and with many."""
    command = [sys.executable, "-m", "taskq", "dashboard", "--app", "tests.dashboard.shop:app"]
    with subprocess.Popen(
        [*command, "--database", url, "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as serving:
        try:
            assert serving.stderr
            found = None
            while found is None:
                found = re.search(r"http://[\d.]+:\d+", serving.stderr.readline())
            httpx.get(f"{found[0]}/", timeout=60).raise_for_status()
            alone, before = memory_of(serving.pid), processor_of(serving.pid)

            async def look() -> list[int]:
                views = [watch(found[0], SECONDS) for _ in range(VIEWERS)]
                return await asyncio.gather(*views)

            sizes = asyncio.run(look())
            used = processor_of(serving.pid) - before
            print(f"\nserved, without a viewer: {alone:.0f} MiB")
            print(
                f"served to {VIEWERS} live viewers for {SECONDS} s: {memory_of(serving.pid):.0f} MiB, "
                f"{100 * used / SECONDS:.1f} % of a core, "
                f"{sum(sizes) / VIEWERS / SECONDS / 1000:.1f} kB/s each"
            )
        finally:
            serving.terminate()


def main() -> None:
    with ExitStack() as stack:
        given = sys.argv[1:]
        server = given[0] if given else stack.enter_context(own_server())
        url = stack.enter_context(fresh_database(server, "taskq_dashboard"))
        app = shop.app
        stack.enter_context(app.replace_database(url))
        app.schema_manager.apply_schema()
        with psycopg.connect(url, autocommit=True) as connection:
            version = connection.info.server_version // 10000
            print(f"PostgreSQL {version}, {FINISHED:,} finished jobs\n")
            load(connection)
            connection.execute(
                "INSERT INTO taskq_failed_attempts "
                "(job_id, claim, attempt, worker_id, error_type, error_message, error_traceback) "
                "SELECT id, 1, 1, 1, 'builtins.ValueError', 'of job ' || id, repeat('line ', 200) "
                "FROM taskq_jobs WHERE status = 'failed'"
            )
            connection.execute("INSERT INTO taskq_workers (id, name) VALUES (1, 'w')")
            connection.execute("VACUUM ANALYZE")
        asyncio.run(measure(app))
        measure_viewers(url)


if __name__ == "__main__":
    main()
