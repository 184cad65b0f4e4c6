"""Tests of the shop, on the database that SHOP_DATABASE_URL names: they apply the schema there."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from shop.jobs import app
from shop.web import web


@pytest.fixture
def client() -> Iterator[TestClient]:
    app.schema_manager.apply_schema()
    with TestClient(web) as client:
        yield client


def test_an_order_comes_with_the_job_for_its_receipt(client: TestClient) -> None:
    answer = client.post("/orders", params={"customer": "ada@example.org"})
    assert answer.status_code == 200
    receipt = client.get(f"/receipts/{answer.json()['job_id']}")
    assert receipt.json() == {"status": "todo"}


def test_an_order_that_is_refused_leaves_no_job(client: TestClient) -> None:
    answer = client.post("/orders", params={"customer": "no address"})
    assert answer.status_code == 422
    assert "no address" not in client.get("/jobs/jobs").text


def test_the_dashboard_shows_what_waits(client: TestClient) -> None:
    client.post("/orders", params={"customer": "bob@example.org"})
    assert "send_receipt" in client.get("/jobs/jobs").text
