"""The tutorial, from its first command to the retry in the dashboard."""

import socket
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from taskq import App, JobStatus
from tests.walk import Walk

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def answering(address: str, client: httpx.Client) -> httpx.Response:
    """The page of a server that is starting, once it is there."""
    transport = httpx.HTTPTransport(retries=8)  # with waits that double, a minute in all
    with httpx.Client(transport=transport, auth=client.auth) as waiting:
        return waiting.get(address)


@pytest.mark.slow
def test_the_tutorial_ends_with_a_dashboard(tmp_path: Path, bare_url: str) -> None:
    port = free_port()
    walk = Walk(PAGE, tmp_path, bare_url, TASKQ_DASHBOARD_PORT=str(port))
    install, apply, order, worker, ask, checkout, label, show, dashboard, mkdir = walk.commands
    for command in (install, apply, order):
        walk.follow(command)
    with walk.following(worker) as serving:
        for command in (ask, checkout, label, show):
            walk.follow(command)
        with (
            walk.following(dashboard),
            httpx.Client(
                auth=("ada", "tutorial"), headers={"Sec-Fetch-Site": "same-origin"}
            ) as web,
        ):
            address = f"http://127.0.0.1:{port}"
            overview = answering(address, web)
            assert overview.status_code == 200
            job = web.get(f"{address}/jobs/5")
            assert "labels/17.txt" in job.text
            assert "Retry" in job.text
            walk.follow(mkdir)
            retried = web.post(f"{address}/jobs/change", data={"do": "retry", "id": "5"})
            assert retried.status_code == 303
            with App(bare_url).open() as app:
                assert app.job_manager.wait_for_job(5, timeout=30).status is JobStatus.SUCCEEDED
            assert "succeeded" in web.get(urljoin(address, "/jobs/5")).text
            assert "count_orders" in web.get(f"{address}/periodic").text
        serving.terminate()
        assert serving.stdout
        assert serving.stdout.read().splitlines() == [
            "receipt of order 18 to bob@example.org",
            "receipt of order 19 to eve@example.org",
        ]
    assert (tmp_path / "labels" / "17.txt").read_text() == "order 17"
