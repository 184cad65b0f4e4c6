from fastapi.testclient import TestClient

from shop.tasks import pack, send_receipt
from taskq.pytest import Jobs


def test_an_order_is_packed_and_shipped(client: TestClient, jobs: Jobs) -> None:
    order = client.post("/orders", json={"to": "ada@example.org", "seconds_to_pack": 0}).json()
    jobs.assert_deferred(send_receipt, order_id=order["order_id"], to="ada@example.org")
    assert client.get(f"/orders/{order['order_id']}").json()["state"] == "placed"
    assert jobs.drain() == {"succeeded": 3}
    assert client.get(f"/orders/{order['order_id']}").json()["state"] == "shipped"


def test_an_order_that_is_refused_leaves_no_job(client: TestClient, jobs: Jobs) -> None:
    assert client.post("/orders", json={"to": ""}).status_code == 422
    jobs.assert_not_deferred(send_receipt)
    jobs.assert_not_deferred(pack)


def test_operators_see_the_jobs(client: TestClient) -> None:
    client.post("/orders", json={"to": "ada@example.org"})
    assert "shop.tasks.pack" in client.get("/jobs/jobs").text
