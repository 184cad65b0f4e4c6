"""taskq_defer_jobs: the one way in, for taskq and for everybody else."""

import json
from typing import Any

import psycopg
import pytest

from taskq import App
from tests.sql.conftest import Connect, Ids, Notified, Run, until_mark


def jobs_in_table(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM taskq_jobs").fetchone()
    assert row
    return int(row[0])


def test_ids_follow_the_order_of_the_array(run: Run, defer: Ids) -> None:
    ids = defer(*({"args": {"n": n}} for n in range(1000)))
    assert ids == sorted(ids)
    assert [run("GetJob", id=id_)[0]["args"]["n"] for id_ in ids[::333]] == [0, 333, 666, 999]


def test_a_job_is_stored_with_everything_it_was_given(run: Run, defer: Ids) -> None:
    given = {
        "task_name": "shop.mail",
        "args": {"to": "ada@example.org"},
        "queue_name": 'a "queue", with spaces',
        "priority": -3,
        "lock": "ada",
        "queueing_lock": "mail-ada",
        "idempotency_key": "mail:ada:1",
        "metadata": {"trace": {"id": [1, None]}},
        "tags": ["b", 'a "tag", {with} spaces'],
    }
    [id_] = defer(given | {"scheduled_at": "2031-01-01T12:00:00+02:00"})
    [job] = run("GetJob", id=id_)
    assert {key: job[key] for key in given} == given
    assert job["scheduled_at"].isoformat() == "2031-01-01T10:00:00+00:00"
    assert (job["status"], job["worker_id"]) == ("todo", None)
    assert (job["claim"], job["attempt"]) == (0, 0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"args": None, "queue_name": None, "priority": None, "lock": None, "scheduled_at": None},
        {"args": {"n": [1]}, "queue_name": "mail", "priority": -3, "lock": "ada"},
        {"priority": "7", "lock": 7, "scheduled_at": "2031-01-01T12:00:00+02:00"},
        {"scheduled_at": "2001-01-01T12:00:00+02:00"},
        {"metadata": {}, "tags": ["a"]},
    ],
)
def test_a_job_by_itself_is_stored_as_in_a_batch(
    run: Run, defer: Ids, notified: Notified, given: dict[str, Any]
) -> None:
    [alone] = defer(given)
    heard = notified()
    [_, beside] = defer(given, given)
    assert heard == notified()
    [one], [other] = run("GetJob", id=alone), run("GetJob", id=beside)
    differing = {"id": other["id"], "deferred_at": other["deferred_at"]}
    assert one | differing == other


@pytest.mark.parametrize("on_conflict", ["raise", "skip"])
@pytest.mark.parametrize("many", [1, 3])
def test_a_wait_counts_from_the_call_and_not_from_the_beginning_of_the_transaction(
    run: Run, connection: psycopg.Connection, notified: Notified, many: int, on_conflict: str
) -> None:
    wait = {"task_name": "noop", "schedule_in": 90.5}
    with connection.transaction():
        connection.execute("SELECT 1")
        rows = run(
            "DeferJobs",
            on_conflict=on_conflict,
            share_notification=False,
            numbers_checked=False,
            jobs=json.dumps([wait] * many),
        )
        counted = connection.execute(
            "SELECT scheduled_at - interval '90.5 s' BETWEEN deferred_at AND clock_timestamp(), "
            "scheduled_at - interval '90.5 s' > deferred_at, due FROM taskq_jobs"
        ).fetchall()
    assert counted == [(True, True, False)] * many
    [job] = run("GetJob", id=rows[0]["id"])
    assert notified() == [f"later {job['scheduled_at'].timestamp():.6f} default"]


@pytest.mark.parametrize("wait", [0, -5, -3153600000])
def test_a_job_whose_wait_is_over_is_due(defer: Ids, notified: Notified, wait: int) -> None:
    defer({"schedule_in": wait})
    assert notified() == ["ready default"]
    defer({"schedule_in": wait}, {"schedule_in": None, "scheduled_at": "2001-01-01T00:00:00Z"})
    assert notified() == ["ready default"]


@pytest.mark.parametrize("on_conflict", ["raise", "skip"])
@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        (None, None),
        ([], None),
        (["b", "a"], ["b", "a"]),
        (["b", "a", "b", "c", "a"], ["b", "a", "c"]),
        (["ü" * 500, "null"], ["ü" * 500, "null"]),
        ([str(n) for n in range(100)], [str(n) for n in range(100)]),
    ],
)
def test_each_tag_is_kept_once_in_the_order_given(
    run: Run, tags: list[str] | None, kept: list[str] | None, on_conflict: str
) -> None:
    tagged: dict[str, Any] = {"task_name": "noop", "tags": tags}
    noted: dict[str, Any] = {"task_name": "noop", "args": {"n": 1}, "metadata": None}
    for jobs in ([tagged], [noted, tagged, noted]):
        rows = run(
            "DeferJobs",
            on_conflict=on_conflict,
            share_notification=False,
            numbers_checked=False,
            jobs=json.dumps(jobs),
        )
        deferred = [run("GetJob", id=row["id"])[0] for row in rows]
        of_each = [(job["args"], job["metadata"], job["tags"]) for job in deferred]
        assert of_each == [
            (job.get("args", {}), None, kept if job is tagged else None) for job in jobs
        ]


def test_a_plain_job_is_as_wide_as_one_that_sets_its_labels_to_null(
    connection: psycopg.Connection, defer: Ids
) -> None:
    defer({}, {"metadata": None, "tags": [], "idempotency_key": None}, {"tags": ["a"]})
    widths = connection.execute(
        "SELECT pg_column_size(job.*) FROM taskq_jobs AS job ORDER BY id"
    ).fetchall()
    assert widths[0] == widths[1] < widths[2]


def test_a_plain_job_gets_the_defaults(run: Run, defer: Ids) -> None:
    [id_] = defer({})
    [job] = run("GetJob", id=id_)
    assert (job["queue_name"], job["priority"], job["args"]) == ("default", 0, {})
    assert job["lock"] is job["queueing_lock"] is job["scheduled_at"] is None
    assert job["idempotency_key"] is None
    assert job["metadata"] is job["tags"] is None


GOOD = {"task_name": "noop"}


def nested(deep: int, *, in_the_end: int | None = None) -> dict[str, Any]:
    """Arguments that are so many objects and arrays deep."""
    value: list[Any] = [] if in_the_end is None else [in_the_end]
    for _ in range(deep - 2):
        value = [value]
    return {"value": value}


WRONG_LABELS: list[tuple[dict[str, Any], str]] = [
    ({"metadata": [1]}, "metadata of type array"),
    ({"metadata": "a"}, "metadata of type string"),
    ({"tags": "a"}, "tags of type string"),
    ({"tags": {"a": 1}}, "tags of type object"),
    ({"tags": [str(n) for n in range(101)]}, "more than 100 tags"),
    ({"tags": ["a", ""]}, 'the tag "", which is no string of 1 to 500 characters'),
    ({"tags": ["t" * 501]}, 'the tag "ttt'),
    ({"tags": ["a", None]}, "the tag null, "),
    ({"tags": [1]}, "the tag 1, "),
    ({"tags": [["a"]]}, r'the tag \["a"\], '),
]


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        (GOOD, "takes a JSON array of jobs, not object"),
        (None, "takes a JSON array of jobs, not null"),
        ([GOOD, "noop"], "job 1 of the array is not a JSON object but a string"),
        ([GOOD, GOOD, {"args": {}}], "job 2 of the array has no task_name"),
        ([{"task_name": None}], "job 0 of the array has no task_name"),
        ([GOOD, GOOD | {"queue": "mail"}], 'job 1 of the array has the unknown key "queue"'),
        (
            [GOOD, GOOD | {"args": nested(202)}],
            "job 1 of the array has args that are nested more than 201 deep",
        ),
        ([GOOD | {"args": nested(201, in_the_end=1)}], "nested more than 201 deep"),
        ([GOOD, {"task_name": ""}], "taskq_jobs_task_name_length"),
        ([GOOD, GOOD | {"queue_name": "q" * 501}], "taskq_jobs_queue_name_length"),
        ([GOOD, GOOD | {"lock": ""}], "taskq_jobs_lock_length"),
        ([GOOD, GOOD | {"queueing_lock": ""}], "taskq_jobs_queueing_lock_length"),
        ([GOOD, GOOD | {"args": [1]}], "taskq_jobs_args_is_object"),
        ([GOOD, GOOD | {"priority": "high"}], 'invalid input syntax for type integer: "high"'),
        ([GOOD, GOOD | {"scheduled_at": "soon"}], "timestamp with time zone"),
        *(
            (jobs, rf"job \d of the array has schedule_in {shown}, which is no number of seconds")
            for wait, shown in [
                ("300", "300"),
                ("infinity", "infinity"),
                (True, "true"),
                ([300], r"\[300\]"),
                ([], r"\[\]"),
                ({}, "{}"),
                (3153600001, "3153600001"),
                (-3153600001, "-3153600001"),
            ]
            for jobs in ([GOOD | {"schedule_in": wait}], [GOOD, GOOD | {"schedule_in": wait}])
        ),
        *(
            (jobs, r"job \d of the array has both scheduled_at and schedule_in")
            for both in [GOOD | {"schedule_in": 5, "scheduled_at": "2100-01-01T00:00:00Z"}]
            for jobs in ([both], [GOOD, both])
        ),
        ([GOOD, GOOD | {"args": {"text": "\0"}}], "unsupported Unicode escape sequence"),
        (
            [GOOD, GOOD | {"metadata": nested(202)}],
            "job 1 of the array has metadata that are nested more than 201 deep",
        ),
        *(
            (jobs, rf"job \d of the array has {fault}")
            for labels, fault in WRONG_LABELS
            for jobs in ([GOOD | labels], [GOOD, GOOD | labels, GOOD | {"tags": 5}])
        ),
    ],
)
def test_a_faulty_job_is_refused_with_its_whole_batch(
    run: Run, connection: psycopg.Connection, jobs: Any, message: str
) -> None:
    with pytest.raises(psycopg.Error, match=message):
        run(
            "DeferJobs",
            on_conflict="raise",
            share_notification=False,
            numbers_checked=False,
            jobs=json.dumps(jobs),
        )
    assert jobs_in_table(connection) == 0


@pytest.mark.parametrize("args", [nested(201), nested(200, in_the_end=1)])
def test_the_deepest_arguments_that_are_taken_can_be_read(
    defer: Ids, database_url: str, args: dict[str, Any]
) -> None:
    [id_] = defer(GOOD | {"args": args})
    with App(database_url) as app:
        assert app.job_manager.get_job(id_).task_kwargs == args


# As JSON has them, whose exponents a shorter text hides; and whether Python reads them.
NUMBERS = {
    "9" * 4300: True,
    "-" + "9" * 4300: True,
    "1e4299": True,
    "1e-5000": True,
    "0." + "3" * 5000: True,
    "9" * 4301: False,
    "-" + "9" * 4301: False,
    "1e4300": False,
    "-1e5000": False,
    "1e5000": False,
    "9" * 4301 + ".5": False,
}


def with_number(number: str, *, deep: bool, on_conflict: str = "raise") -> dict[str, Any]:
    """What a query takes that defers three jobs, or one, with a number in their arguments."""
    args = f'{{"n": [{{"m": [{number}]}}]}}' if deep else f'{{"n": {number}}}'
    job = f'{{"task_name": "noop", "args": {args}}}'
    return {
        "on_conflict": on_conflict,
        "share_notification": False,
        "numbers_checked": False,
        "jobs": f'[{{"task_name": "noop"}}, {job}]' if deep else f"[{job}]",
    }


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_taken_if_python_can_read_it(
    run: Run, connection: psycopg.Connection, database_url: str, number: str, deep: bool
) -> None:
    if not NUMBERS[number]:
        for on_conflict in ("raise", "skip"):
            given = with_number(number, deep=deep, on_conflict=on_conflict)
            with pytest.raises(
                psycopg.errors.InvalidParameterValue,
                match=f"job {int(deep)} of the array has a number of more than 4,300 digits",
            ):
                run("DeferJobs", **given)
        assert jobs_in_table(connection) == 0
        return
    [*_, row] = run("DeferJobs", **with_number(number, deep=deep))
    with App(database_url) as app:
        assert app.job_manager.get_job(row["id"]).unreadable == {}


def test_a_long_text_of_digits_is_taken(run: Run, connection: psycopg.Connection) -> None:
    run("DeferJobs", **with_number(f'"{"9" * 9000}"', deep=False))
    run("DeferJobs", **with_number(f'"{"9" * 9000}"', deep=True))
    assert jobs_in_table(connection) == 3


def test_two_jobs_of_one_queueing_lock_do_not_wait_at_once(
    connection: psycopg.Connection, defer: Ids, claim: Ids
) -> None:
    [first] = defer({"queueing_lock": "report"})
    with pytest.raises(psycopg.errors.UniqueViolation) as refused:
        defer({}, {"queueing_lock": "report"})
    assert refused.value.diag.constraint_name == "taskq_jobs_queueing_lock"
    assert jobs_in_table(connection) == 1

    assert claim() == [first]
    assert len(defer({"queueing_lock": "report"})) == 1, "the first one no longer waits"


def test_each_queue_is_notified_once_and_only_at_commit(
    connection: psycopg.Connection, defer: Ids, notified: Notified
) -> None:
    with connection.transaction(force_rollback=True):
        defer({"queue_name": "never"})
    with connection.transaction():
        defer({"queue_name": "mail"}, {"queue_name": "mail"}, {})
        defer({"queue_name": "mail"})
    assert notified() == ["ready default", "ready mail"]


def test_jobs_for_later_are_notified_apart_with_the_earliest_time_of_their_queue(
    defer: Ids, notified: Notified
) -> None:
    defer(
        {"queue_name": "mail", "scheduled_at": "2100-01-01T00:00:02Z"},
        {"queue_name": "mail", "scheduled_at": "2100-01-01T00:00:01.25Z"},
        {"queue_name": "mail", "scheduled_at": "2001-01-01T00:00:00Z"},
        {"queue_name": "a b", "scheduled_at": "2100-01-01T00:00:01Z"},
    )
    assert notified() == [
        "later 4102444801.000000 a b",
        "later 4102444801.250000 mail",
        "ready mail",
    ]


def test_a_notification_carries_the_number_of_its_transaction(
    connection: psycopg.Connection, connect: Connect, defer: Ids
) -> None:
    listener = connect()
    listener.execute("SELECT taskq_listen()")
    with connection.transaction():
        # A savepoint has a number of its own, which is not the one meant.
        with connection.transaction():
            defer({})
        number = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
        connection.execute("SELECT pg_notify(taskq_channel(), 'mark')")
    assert number
    assert until_mark(listener) == [f"ready {number[0]} default"]


def test_a_session_that_never_heard_of_taskq_reaches_the_right_namespace(
    connection: psycopg.Connection, database_url: str
) -> None:
    for namespace in ("east", "west"):
        connection.execute(f"CREATE SCHEMA {namespace}")
        app = App(f"{database_url}&options=-csearch_path%3D{namespace}")
        app.schema_manager.apply_schema()
        app.close()
    connection.execute("SET search_path TO pg_catalog")

    channels = connection.execute("SELECT east.taskq_channel(), west.taskq_channel()").fetchone()
    assert channels
    assert channels[0] != channels[1]

    connection.execute("SELECT east.taskq_listen()")
    connection.execute("""SELECT east.taskq_defer_jobs('[{"task_name": "e"}]')""")
    connection.execute("""SELECT west.taskq_defer_jobs('[{"task_name": "w"}]')""")
    connection.execute("SELECT pg_notify(east.taskq_channel(), 'mark')")
    assert len(until_mark(connection)) == 1, "the east hears the east alone"
    assert connection.execute("SELECT task_name FROM east.taskq_jobs").fetchall() == [("e",)]
    assert connection.execute("SELECT task_name FROM west.taskq_jobs").fetchall() == [("w",)]


def test_a_trigger_defers_a_job_in_the_transaction_of_its_row(
    connection: psycopg.Connection,
) -> None:
    connection.execute(
        """
        CREATE TABLE orders (id bigint PRIMARY KEY);
        CREATE FUNCTION send_receipt() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM taskq_defer_jobs(jsonb_build_array(jsonb_build_object(
                'task_name', 'shop.send_receipt',
                'args', jsonb_build_object('order_id', NEW.id)
            )));
            RETURN NEW;
        END $$;
        CREATE TRIGGER send_receipt AFTER INSERT ON orders
        FOR EACH ROW EXECUTE FUNCTION send_receipt();
        """
    )
    connection.execute("INSERT INTO orders VALUES (7)")
    with connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO orders VALUES (8)")
    rows = connection.execute("SELECT task_name, args FROM taskq_jobs").fetchall()
    assert rows == [("shop.send_receipt", {"order_id": 7})]
