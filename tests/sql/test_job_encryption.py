"""ListEncryptedJobs and ReencryptJobs: what an old key has encrypted, batch by batch."""

import json
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Ids, JobOf, Notified, Run

LATER = "2100-01-01T00:00:00Z"
OLD, NEW, OTHER = ({"$encrypted": name} for name in ("old", "new", "other"))


def renewed(*ids: int, **values: Any) -> str:
    return json.dumps([{"id": id_, "args": OLD, "new_args": NEW, **values} for id_ in ids])


def test_a_page_has_what_is_encrypted_and_where_it_ends(
    run: Run, defer: Ids, connection: psycopg.Connection
) -> None:
    ids = defer({"args": OLD}, {"args": {"a": 1}}, {"args": {"a": 1}}, {"args": {"a": 2}})
    connection.execute("UPDATE taskq_jobs SET result = %s WHERE id = %s", [json.dumps(OLD), ids[1]])
    connection.execute("UPDATE taskq_jobs SET result = %s WHERE id = %s", ["[1]", ids[3]])
    rows = run("ListEncryptedJobs", after=0, max_scanned=3)
    assert [(row["id"], row["args"], row["result"]) for row in rows] == [
        (ids[0], OLD, None),
        (ids[1], None, OLD),
        (ids[2], None, None),
    ]
    [edge] = run("ListEncryptedJobs", after=ids[2], max_scanned=3)
    assert (edge["id"], edge["args"], edge["result"]) == (ids[3], None, None)
    assert run("ListEncryptedJobs", after=ids[3], max_scanned=3) == []


@pytest.mark.parametrize(
    ("job", "heard"),
    [
        ({}, ["ready default"]),
        ({"lock": "l"}, ["ready default"]),
        ({"scheduled_at": LATER}, []),
    ],
)
def test_arguments_are_written_anew_and_workers_hear_of_what_they_may_have_passed_over(
    run: Run, defer: Ids, job_of: JobOf, notified: Notified, job: dict[str, Any], heard: list[str]
) -> None:
    [id_] = defer({"args": OLD, **job})
    notified()
    assert [row["id"] for row in run("ReencryptJobs", renewed=renewed(id_))] == [id_]
    assert notified() == heard
    assert job_of(id_)["args"] == NEW


def test_a_job_with_a_lock_can_be_claimed_afterwards(run: Run, defer: Ids, claim: Ids) -> None:
    ids = defer({"args": OLD, "lock": "l"}, {"args": OLD})
    run("ReencryptJobs", renewed=renewed(*ids))
    assert sorted(claim()) == ids


def test_a_job_that_runs_or_has_other_arguments_by_now_is_left_alone(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf
) -> None:
    [runs] = defer({"args": OLD})
    assert claim() == [runs]
    [changed, gone] = defer({"args": OTHER}, {"args": OLD})
    run("DeleteJobs", ids=[gone], statuses=["todo"])
    assert run("ReencryptJobs", renewed=renewed(runs, changed, gone)) == []
    assert [job_of(id_)["args"] for id_ in (runs, changed)] == [OLD, OTHER]


def test_a_result_is_written_anew_beside_the_arguments(
    run: Run, defer: Ids, job_of: JobOf, connection: psycopg.Connection
) -> None:
    [id_] = defer({"args": OLD})
    connection.execute(
        "UPDATE taskq_jobs SET status = 'succeeded', result = %s WHERE id = %s",
        [json.dumps(OLD), id_],
    )
    run("ReencryptJobs", renewed=renewed(id_, result=OLD, new_result=NEW))
    assert (job_of(id_)["args"], job_of(id_)["result"]) == (NEW, NEW)
    only_result = {"id": id_, "result": NEW, "new_result": OTHER}
    run("ReencryptJobs", renewed=json.dumps([only_result]))
    assert (job_of(id_)["args"], job_of(id_)["result"]) == (NEW, OTHER)
