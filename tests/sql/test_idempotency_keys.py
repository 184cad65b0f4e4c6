"""taskq_defer_jobs with idempotency keys: while a job with the key is kept, it is answered, and none made."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import STATUSES, Connect, DeferOn, Ids, JobOf, Notified, Run, waiting_for

KEYED = {"idempotency_key": "k"}
FAR = "2100-01-01T00:00:00Z"
WAYS = ["raise", "skip", "replace"]


def rows(connection: psycopg.Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT id, idempotency_key, queueing_lock, args FROM taskq_jobs ORDER BY id"
    ).fetchall()


@pytest.mark.parametrize("on_conflict", WAYS)
@pytest.mark.parametrize("status", STATUSES)
def test_while_a_job_with_the_key_is_kept_its_id_is_answered_and_none_is_made(
    connection: psycopg.Connection,
    defer: Ids,
    defer_on: DeferOn,
    job_of: JobOf,
    notified: Notified,
    status: str,
    on_conflict: str,
) -> None:
    [first] = defer(KEYED | {"args": {"n": 1}, "queueing_lock": "x"})
    connection.execute(
        "UPDATE taskq_jobs SET status = %s, finished_at = now(), worker_id = 1", [status]
    )
    before = job_of(first)
    notified()
    again = KEYED | {"args": {"n": 2}, "queueing_lock": "x", "queue_name": "mail"}
    assert defer_on(connection, on_conflict, again) == [first]
    assert job_of(first) == before
    assert len(rows(connection)) == 1
    assert notified() == [], "nothing is to be done"


def test_the_key_is_free_once_its_job_is_deleted(
    run: Run, defer: Ids, claim: Ids, finish: Ids
) -> None:
    [first] = defer(KEYED)
    assert claim() == [first]
    finish(first)
    assert defer(KEYED) == [first]
    run("DeleteJobs", ids=[first], statuses=STATUSES)
    [second] = defer(KEYED)
    assert second > first


@pytest.mark.parametrize("on_conflict", ["raise", "skip"])
def test_in_one_array_the_first_one_counts_and_all_have_its_id(
    connection: psycopg.Connection, defer_on: DeferOn, notified: Notified, on_conflict: str
) -> None:
    keys = ["k", None, "j", "k", None, "k", "j"]
    jobs = [
        {"idempotency_key": key, "args": {"n": n}, "queue_name": f"q{n}"}
        for n, key in enumerate(keys)
    ]
    k, none, j, k2, other, k3, j2 = defer_on(connection, on_conflict, *jobs)
    assert (k, j) == (k2, j2)
    assert k == k3
    made = [(id_, key, args["n"]) for id_, key, _, args in rows(connection)]
    assert made == [(k, "k", 0), (none, None, 1), (j, "j", 2), (other, None, 4)], "in its order"
    assert notified() == ["ready q0", "ready q1", "ready q2", "ready q4"]


# With a queueing lock


def test_the_key_is_looked_at_before_the_queueing_lock(
    connection: psycopg.Connection, defer: Ids, defer_on: DeferOn
) -> None:
    [known, other] = defer(KEYED, {"queueing_lock": "x"})
    for on_conflict in WAYS:
        assert defer_on(connection, on_conflict, KEYED | {"queueing_lock": "x"}) == [known]
    assert rows(connection)[1] == (other, None, "x", {})


def test_a_new_key_does_not_open_a_queueing_lock(
    connection: psycopg.Connection, defer: Ids, defer_on: DeferOn
) -> None:
    [waits] = defer({"queueing_lock": "x"})
    locked = KEYED | {"queueing_lock": "x"}
    with pytest.raises(
        psycopg.errors.UniqueViolation, match=f"^job {waits} waits already"
    ) as refused:
        defer_on(connection, "raise", {}, locked)
    assert refused.value.diag.constraint_name == "taskq_jobs_queueing_lock"
    assert refused.value.diag.message_detail == f'{{"job_id" : {waits}, "queueing_lock" : "x"}}'
    [plain, skipped] = defer_on(connection, "skip", {}, locked)
    assert skipped is None
    assert [row[:3] for row in rows(connection)] == [(waits, None, "x"), (plain, None, None)]


def test_two_keys_of_one_queueing_lock_in_an_array_are_refused_without_an_id(
    connection: psycopg.Connection, defer_on: DeferOn
) -> None:
    jobs = [{"idempotency_key": key, "queueing_lock": "x"} for key in "kj"]
    with pytest.raises(psycopg.errors.UniqueViolation, match="another job of the array") as refused:
        defer_on(connection, "raise", *jobs)
    assert refused.value.diag.message_detail == '{"job_id" : null, "queueing_lock" : "x"}'
    assert rows(connection) == []


def test_a_job_that_is_replaced_takes_the_new_key_or_keeps_its_own(
    connection: psycopg.Connection, defer: Ids, defer_on: DeferOn
) -> None:
    [waits] = defer({"queueing_lock": "x", "args": {"n": 0}})

    def replace(n: int, **job: Any) -> list[tuple[Any, ...]]:
        replaced = {"queueing_lock": "x", "args": {"n": n}} | job
        assert defer_on(connection, "replace", replaced) == [waits]
        return rows(connection)

    assert replace(1, idempotency_key="k") == [(waits, "k", "x", {"n": 1})]
    assert replace(2, idempotency_key="k") == [(waits, "k", "x", {"n": 1})], "asked for before"
    assert replace(3) == [(waits, "k", "x", {"n": 3})]
    assert replace(4, idempotency_key="j") == [(waits, "j", "x", {"n": 4})]
    [second] = defer(KEYED)
    assert second != waits, "the key of what was replaced is free"


# In the same moment


@pytest.mark.parametrize("on_conflict", WAYS)
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_transaction_that_has_yet_to_commit_is_waited_for(
    connect: Connect,
    connection: psycopg.Connection,
    defer_on: DeferOn,
    ends: str,
    on_conflict: str,
) -> None:
    early, late = connect(), connect()
    early.autocommit = False
    with waiting_for(early, late, connect()) as run:
        [first] = defer_on(early, "raise", KEYED | {"args": {"n": 1}})
        waits = run(
            defer_on,
            late,
            on_conflict,
            KEYED | {"args": {"n": 2}, "queueing_lock": "x"},
            {"queueing_lock": "y"},
        )
        getattr(early, ends)()
        [second, _] = waits.result(timeout=10)
    if ends == "commit":
        assert second == first
        assert rows(connection)[0] == (first, "k", None, {"n": 1})
    else:
        assert rows(connection)[0] == (second, "k", "x", {"n": 2})
    assert len(rows(connection)) == 2


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_job_is_not_replaced_for_a_key_that_comes_in_the_same_moment(
    connect: Connect, connection: psycopg.Connection, defer: Ids, defer_on: DeferOn, ends: str
) -> None:
    [waits] = defer({"queueing_lock": "x", "args": {"n": 0}})
    early, late = connect(), connect()
    early.autocommit = late.autocommit = False
    with waiting_for(early, late, connect()) as run:
        [first] = defer_on(early, "raise", KEYED)
        answer = run(defer_on, late, "replace", KEYED | {"queueing_lock": "x", "args": {"n": 2}})
        getattr(early, ends)()
        [second] = answer.result(timeout=10)
    if ends == "commit":
        assert second == first
        # It is not even locked, by the transaction that is still open.
        assert defer_on(connection, "replace", {"queueing_lock": "x", "args": {"n": 3}}) == [waits]
        late.commit()
        assert rows(connection) == [(waits, None, "x", {"n": 3}), (first, "k", None, {})]
    else:
        assert second == waits
        late.commit()
        assert rows(connection) == [(waits, "k", "x", {"n": 2})]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("on_conflict", WAYS)
def test_where_snapshots_are_kept_a_key_that_came_meanwhile_is_a_serialization_failure(
    connect: Connect, defer: Ids, defer_on: DeferOn, on_conflict: str, waits: bool
) -> None:
    late = connect()
    late.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    late.autocommit = False
    if waits and on_conflict == "replace":
        defer({"queueing_lock": "x"})
    late.execute("SELECT 1 FROM taskq_jobs")
    defer(KEYED)
    with pytest.raises(psycopg.errors.SerializationFailure):
        defer_on(late, on_conflict, KEYED | {"queueing_lock": "x"})


@pytest.mark.parametrize("on_conflict", WAYS)
def test_many_at_once_make_one_job_of_each_key(
    connect: Connect, connection: psycopg.Connection, defer_on: DeferOn, on_conflict: str
) -> None:
    connection.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE 'a job that is known changes: %', NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON taskq_jobs FOR EACH ROW EXECUTE FUNCTION refuse();
        """
    )
    # In the same order, so that they meet at each of them.
    keys = [f"key {n}" for n in range(100)]

    def defer_all(n: int) -> dict[str, int | None]:
        answered = {}
        with connect() as own:
            for key in keys:
                job = {"idempotency_key": key, "queueing_lock": f"lock of {key}", "args": {"n": n}}
                [answered[key]] = defer_on(own, on_conflict, job)
        return answered

    with ThreadPoolExecutor() as pool:
        first, *others = pool.map(defer_all, range(6))
    assert all(other == first for other in others)
    assert {key: id_ for id_, key, _, _ in rows(connection)} == first


# What is refused


@pytest.mark.parametrize("key", ["", "k" * 501, "ü" * 501])
@pytest.mark.parametrize("on_conflict", WAYS)
def test_a_key_that_is_none_is_refused_with_its_whole_array(
    connection: psycopg.Connection, defer_on: DeferOn, key: str, on_conflict: str
) -> None:
    jobs = [{"queueing_lock": "x"}, {"queueing_lock": "y", "idempotency_key": key}]
    with pytest.raises(
        psycopg.errors.InvalidParameterValue,
        match=f"job 1 of the array has an idempotency_key of {len(key)} characters",
    ) as refused:
        defer_on(connection, on_conflict, *jobs)
    assert (
        refused.value.diag.message_hint == "It has 1 to 500. For what is longer, take a hash of it."
    )
    assert rows(connection) == []


def test_the_longest_key_is_taken(defer: Ids, job_of: JobOf) -> None:
    longest = "𝄞" * 500
    [first] = defer({"idempotency_key": longest})
    assert defer({"idempotency_key": longest}) == [first]
    assert job_of(first)["idempotency_key"] == longest
