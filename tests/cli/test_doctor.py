"""The doctor: each cause is made, and found by the program."""

import json
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from tests.cli.conftest import SHOP, OnATerminal, Taskq, ended

Found = Callable[..., list[dict[str, Any]]]

SERVED = "INSERT INTO taskq_workers (id, name) VALUES (1, 'alive')"


@pytest.fixture
def found(taskq: Taskq) -> Found:
    """What the doctor finds of one check; everything else has to be well."""

    def examine(check: str, *options: str, url: str | None = None) -> list[dict[str, Any]]:
        env = {"TASKQ_DATABASE_URL": url} if url else {}
        done = taskq("doctor", "--app", SHOP, "--json", *options, env=env)
        findings: list[dict[str, Any]] = json.loads(done.stdout)
        assert {finding["check"] for finding in findings} <= {check}
        critical = any(finding["severity"] == "critical" for finding in findings)
        assert done.exit_code == int(critical), done.output
        return findings

    return examine


@pytest.fixture
def other(database_url: str) -> Iterator[psycopg.Connection]:
    """The session of another client."""
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        yield connection


def insert(connection: psycopg.Connection, jobs: int = 1, /, **values: str) -> None:
    """Insert jobs past ``taskq_defer_jobs``, with SQL expressions that may speak of ``n``."""
    columns = {"task_name": "'add'", "queue_name": "'default'", "args": "'{}'"} | values
    connection.execute(
        f"INSERT INTO taskq_jobs ({', '.join(columns)}) SELECT {', '.join(columns.values())} "
        f"FROM generate_series(1, {jobs}) AS n"
    )


def test_where_all_is_well_it_says_what_it_looked_at() -> None:
    done = ended("doctor", "--app", SHOP)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "well: schema, indexes, workers, queues, locks, limits, rows, tasks, horizon, vacuum, bloat, "
        "notifications\n"
        "0 critical, 0 warning, 0 note\n"
    )


def test_to_people_it_says_what_is_wrong_and_what_to_do_and_scripts_get_1(
    connection: psycopg.Connection,
) -> None:
    insert(connection, queue_name="'mail order'", deferred_at="now() - interval '1 hour 9 seconds'")
    done = ended("doctor", "--app", SHOP)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "critical  queues: no worker serves the queue 'mail order', with 1 job in it; the first has "
        "waited for 1h\n"
        "          → start one; or, if the name is a slip, cancel the jobs and retry them into another "
        "queue\n"
        f"            python -m taskq worker --queues 'mail order' --app {SHOP}\n"
        "well: schema, indexes, workers, locks, limits, rows, tasks, horizon, vacuum, bloat, notifications\n"
        "1 critical, 0 warning, 0 note\n"
    )


def test_what_it_says_to_run_can_be_pasted(
    taskq: Taskq, on_a_terminal: OnATerminal, connection: psycopg.Connection
) -> None:
    insert(connection, queue_name="'mail order'", args="""'{"a": 1}'""")
    connection.execute("ALTER TABLE taskq_jobs SET (autovacuum_enabled = off)")
    connection.execute("DROP INDEX taskq_jobs_queueing_lock")
    shown = on_a_terminal("doctor", "--app", SHOP, env={"COLUMNS": "80"})[0].splitlines()
    commands = [line.strip() for line in shown if line.startswith("            python -m taskq")]
    assert len(commands) == 3
    assert all(len(line) <= 80 for line in shown if line.strip() not in commands)
    for command in commands:
        _, _, _, *arguments = shlex.split(command)
        assert SHOP in arguments
        if arguments[0] == "worker":
            assert ended(*arguments, "--no-wait").returncode == 0
        else:
            assert ended(*arguments).returncode == 0
    assert "0 critical" in taskq("doctor", "--app", SHOP).stdout.splitlines()[-1]


def test_what_it_says_to_run_names_the_database_in_use_and_no_password(
    taskq: Taskq, database_url: str, connection: psycopg.Connection
) -> None:
    insert(connection)
    connection.execute("ALTER TABLE taskq_jobs SET (autovacuum_enabled = off)")
    secret = "geheim"  # noqa: S105
    url = make_url(database_url).set(password=secret).render_as_string(hide_password=False)
    shown = taskq("doctor", "--database", url, "--app", SHOP).stdout
    assert secret not in shown
    pasted = [line for line in shown.splitlines() if line.startswith("            python -m")]
    [vacuum] = [shlex.split(line)[3:] for line in pasted if " database " in line]
    given = vacuum[vacuum.index("--database") + 1].replace("***", secret)
    assert taskq("schema", "check", "--database", given).exit_code == 0
    # It takes its database from the app alone.
    assert [line for line in pasted if " worker " in line and "--database" not in line]


# What keeps dead rows from being removed


def test_a_session_that_is_idle_in_a_transaction(found: Found, other: psycopg.Connection) -> None:
    other.execute("SET application_name = 'left open'")
    other.execute("SELECT pg_current_xact_id()")
    assert found("horizon") == []
    [finding] = found("horizon", "--held", "0.001")
    facts = finding["facts"]
    assert (facts["pid"], facts["application"]) == (other.info.backend_pid, "left open")
    assert facts["state"] == "idle in transaction"
    assert facts["seconds"] > 0
    assert facts["query"] == "SELECT pg_current_xact_id()"
    assert f"pg_terminate_backend({other.info.backend_pid})" in finding["remedy"]


def test_a_snapshot_alone_is_enough(found: Found, other: psycopg.Connection) -> None:
    other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    other.execute("SELECT 1")
    [finding] = found("horizon", "--held", "0")
    assert finding["facts"]["pid"] == other.info.backend_pid
    other.rollback()
    assert found("horizon", "--held", "0") == []


def test_a_prepared_transaction(
    found: Found, connection: psycopg.Connection, other: psycopg.Connection, database_url: str
) -> None:
    row = connection.execute("SHOW max_prepared_transactions").fetchone()
    assert row
    if row[0] == "0":
        pytest.skip("the server named by TASKQ_TEST_DATABASE_URL allows no prepared transactions")
    gid = f"{other.info.dbname} it's"
    quoted = gid.replace("'", "''")
    other.execute("SELECT pg_current_xact_id()")
    other.execute(f"PREPARE TRANSACTION '{quoted}'")
    other.commit()
    try:
        assert found("horizon") == []
        [finding] = found("horizon", "--held", "0")
    finally:
        connection.execute(f"ROLLBACK PREPARED '{quoted}'")
    assert finding["severity"] == "critical"
    assert finding["facts"]["prepared_transaction"] == gid
    assert f"ROLLBACK PREPARED '{quoted}'" in finding["remedy"]


# What becomes of dead rows


@pytest.fixture
def dead_rows(connection: psycopg.Connection, other: psycopg.Connection) -> None:
    """Dead jobs, which cannot be removed while the test runs."""
    other.execute("SELECT pg_current_xact_id()")
    insert(connection, 2_000)
    connection.execute("DELETE FROM taskq_jobs")
    connection.execute("SELECT pg_stat_force_next_flush()")


def test_dead_rows_that_are_not_vacuumed(found: Found, dead_rows: None) -> None:
    assert found("vacuum") == []
    [finding] = found("vacuum", "--dead-rows", "1000")
    facts = finding["facts"]
    assert (facts["table"], facts["dead_rows"]) == ("taskq_jobs", 2_000)
    assert "it has never been vacuumed" in finding["what"]
    assert "VACUUM taskq_jobs now" in finding["remedy"]


def test_dead_rows_that_a_vacuum_could_not_remove(
    found: Found, connection: psycopg.Connection, dead_rows: None
) -> None:
    connection.execute("VACUUM taskq_jobs")
    [finding] = found("vacuum", "--dead-rows", "1000")
    assert finding["facts"]["vacuumed_seconds_ago"] < 60
    assert "they cannot be removed" in finding["what"]


def test_autovacuum_that_is_off_for_a_table(found: Found, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE taskq_open_gates SET (autovacuum_enabled = off)")
    [finding] = found("vacuum")
    assert (finding["severity"], finding["facts"]["table"]) == ("critical", "taskq_open_gates")
    connection.execute(finding["remedy"])
    assert found("vacuum") == []


def test_a_table_most_of_which_is_empty(found: Found, connection: psycopg.Connection) -> None:
    connection.execute("ALTER TABLE taskq_jobs SET (fillfactor = 10)")
    insert(connection, 3_000, status="'succeeded'")
    connection.execute("VACUUM ANALYZE taskq_jobs")
    # As they are asked for, empty pages are none that is wasted.
    assert found("bloat", "--bloat", "1") == []
    # The last one stays, and with it the pages before it.
    connection.execute("DELETE FROM taskq_jobs WHERE id < 3000")
    connection.execute("VACUUM ANALYZE taskq_jobs")
    assert found("bloat") == []
    [finding] = found("bloat", "--bloat", "1")
    assert finding["facts"]["table"] == "taskq_jobs"
    assert finding["facts"]["bytes"] > 2**20 > finding["facts"]["needed_bytes"]


def test_an_index_most_of_which_is_empty(found: Found, connection: psycopg.Connection) -> None:
    insert(connection, 5_000, queue_name="repeat(md5(n::text), 12)")
    connection.execute("UPDATE taskq_jobs SET status = 'succeeded' WHERE id > 1")
    connection.execute("VACUUM ANALYZE taskq_jobs")
    connection.execute(SERVED)
    [finding] = [one for one in found("bloat", "--bloat", "1") if "index" in one["facts"]]
    assert finding["facts"]["index"] == "taskq_jobs_ready"
    connection.execute(finding["remedy"])
    assert all("table" in one["facts"] for one in found("bloat", "--bloat", "1"))


# Indexes


def test_an_index_that_is_missing_and_how_to_make_it(
    found: Found, connection: psycopg.Connection
) -> None:
    names = [
        row[0]
        for row in connection.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename LIKE 'taskq_%' AND NOT EXISTS "
            "(SELECT FROM pg_constraint WHERE conname = indexname)"
        )
    ]
    assert names
    for name in names:
        connection.execute(f"DROP INDEX {name}")
    findings = found("indexes")
    assert {finding["facts"]["index"] for finding in findings} == set(names)
    assert {finding["severity"] for finding in findings} == {"critical"}
    for finding in findings:
        connection.execute(finding["remedy"])
    assert found("indexes") == []


def test_an_index_that_is_invalid(found: Found, connection: psycopg.Connection) -> None:
    connection.execute("DROP INDEX taskq_jobs_queueing_lock")
    insert(connection, 2, queueing_lock="'twice'")
    connection.execute(SERVED)
    [missing] = found("indexes")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(missing["remedy"])
    [finding] = found("indexes")
    assert finding["severity"] == "critical"
    assert finding["facts"] == {
        "index": "taskq_jobs_queueing_lock",
        "table": "taskq_jobs",
        "missing": False,
    }
    connection.execute("DELETE FROM taskq_jobs WHERE id > 1")
    for statement in finding["remedy"].split("; "):
        connection.execute(statement)
    assert found("indexes") == []


def test_an_invalid_index_that_is_not_taskqs(found: Found, connection: psycopg.Connection) -> None:
    insert(connection, 2)
    connection.execute(SERVED)
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY mine ON taskq_jobs (task_name)")
    [finding] = found("indexes")
    assert (finding["severity"], finding["facts"]["index"]) == ("warning", "mine")
    connection.execute(finding["remedy"])
    assert found("indexes") == []


# Workers, queues, locks, tasks


def test_a_worker_that_died_with_jobs_in_hand(found: Found, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO taskq_workers (id, name, last_heartbeat) VALUES "
        "(1, 'idle', now() - interval '1 hour'), (2, 'busy', now() - interval '1 hour')"
    )
    insert(connection, 3, status="'doing'", worker_id="2", started_at="now()")
    busy, idle = found("workers")
    assert (busy["severity"], busy["facts"]["worker_id"], busy["facts"]["jobs"]) == (
        "critical",
        2,
        3,
    )
    assert (idle["severity"], idle["facts"]["worker_id"]) == ("warning", 1)
    assert "no sign of life for 1h" in idle["what"]
    assert found("workers", "--stalled", "2h") == []


def test_jobs_whose_worker_is_gone(found: Found, connection: psycopg.Connection) -> None:
    insert(connection, 2, status="'doing'", worker_id="7", started_at="now() - interval '1 day'")
    [finding] = found("workers")
    assert finding["severity"] == "critical"
    assert finding["what"] == "worker 7 is gone; it claimed a job 1d ago, with 2 jobs in hand"


def test_a_job_that_waits_too_long(found: Found, connection: psycopg.Connection) -> None:
    connection.execute(SERVED)
    insert(connection, 2, deferred_at="now() - n * interval '15 minutes'")
    [finding] = found("queues")
    assert finding["severity"] == "warning"
    assert finding["facts"]["queue"] == "default"
    assert (finding["facts"]["jobs"], finding["facts"]["workers"]) == (2, 1)
    assert finding["facts"]["seconds"] == pytest.approx(1800, abs=60)
    assert found("queues", "--waiting", "5m")[0]["severity"] == "critical"
    assert found("queues", "--waiting", "1h") == []


@pytest.mark.parametrize(
    "values",
    [
        {"scheduled_at": "now()"},
        {"started_at": "now()"},
        {"scheduled_at": "now() + interval '1 hour'", "due": "false"},
    ],
    ids=["scheduled", "retried", "for later"],
)
def test_a_job_has_not_waited_before_it_could_run(
    found: Found, connection: psycopg.Connection, values: dict[str, str]
) -> None:
    connection.execute(SERVED)
    insert(connection, deferred_at="now() - interval '1 day'", **values)
    assert found("queues") == []


def test_a_queue_that_no_worker_serves(found: Found, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO taskq_workers (name, queue_names) VALUES ('w', '{mail}')")
    insert(connection, queue_name="'mail'")
    insert(connection, 2, queue_name="'mial'")
    insert(
        connection,
        queue_name="'late'",
        scheduled_at="now() - interval '1 hour'",
        due="false",
        lock="'l'",
    )
    findings = found("queues")
    assert [finding["facts"]["queue"] for finding in findings] == ["late", "mial"]
    assert {finding["severity"] for finding in findings} == {"critical"}
    assert findings[1]["facts"]["jobs"] == 2


def test_a_queue_that_is_paused_for_long_with_jobs_in_it(
    found: Found, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO taskq_pauses VALUES ('queue', 'mail', now() - interval '2 h', 'ada', 'relay'), "
        "('queue', 'empty', now() - interval '2 h', NULL, NULL), ('queue', 'new', now(), NULL, NULL)"
    )
    for queue in ("mail", "new"):
        insert(connection, queue_name=f"'{queue}'", deferred_at="now() - interval '1 day'")
    [finding] = found("queues")
    assert finding["severity"] == "note"
    assert (
        finding["what"]
        == "the queue 'mail' has been paused for 2h by ada (relay), with 1 job in it"
    )
    assert finding["facts"]["paused_by"] == "ada"
    assert "queues resume mail" in finding["commands"][0]


def test_a_task_that_is_paused_for_long_with_jobs_that_wait(
    found: Found, connection: psycopg.Connection
) -> None:
    connection.execute(SERVED)
    connection.execute(
        "INSERT INTO taskq_pauses VALUES ('task', 'add', now() - interval '2 h', 'ada', 'twice'), "
        "('task', 'wait', now() - interval '2 h', NULL, NULL), ('task', 'who', now(), NULL, NULL)"
    )
    for task in ("add", "who"):
        insert(connection, task_name=f"'{task}'")
    [finding] = found("tasks")
    assert finding["severity"] == "note"
    assert (
        finding["what"]
        == "the task 'add' has been paused for 2h by ada (twice), with 1 job waiting"
    )
    assert finding["facts"] == {
        "task": "add",
        "jobs": 1,
        "paused_seconds": finding["facts"]["paused_seconds"],
        "paused_by": "ada",
        "reason": "twice",
    }
    assert "tasks resume add" in finding["commands"][0]


def test_a_limit_that_is_not_declared(found: Found, connection: psycopg.Connection) -> None:
    connection.execute(SERVED)
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, concurrency) VALUES "
        "('said', false, 1), ('told:a', true, 1)"
    )
    connection.execute(
        "INSERT INTO taskq_queue_limits VALUES ('mail', 'bank'), ('pay', 'said'), ('night', 'no')"
    )
    for key in ("said", "said:a", "told:a", "tenant", "tenant:acme", "tenant:acme"):
        insert(connection, limit_key=f"'{key}'")
    insert(connection, queue_name="'mail'")
    bank, tenant, idle = found("limits")
    assert (bank["severity"], tenant["severity"], idle["severity"]) == (
        "critical",
        "critical",
        "warning",
    )
    assert bank["facts"] == {"limit": "bank", "key": None, "queues": ["mail"], "jobs": 1}
    assert "limits unset-queue mail" in bank["commands"][0]
    assert tenant["facts"] == {"limit": "tenant", "key": "acme", "queues": [], "jobs": 3}
    assert tenant["what"] == (
        "nobody has declared the limit 'tenant': 3 jobs waiting for it, as with the key 'acme', and none of "
        "them starts"
    )
    assert idle["facts"]["queues"] == ["night"]


def test_a_long_chain_behind_a_job_that_runs(found: Found, connection: psycopg.Connection) -> None:
    connection.execute(SERVED)
    insert(
        connection,
        status="'doing'",
        worker_id="1",
        started_at="now() - interval '2 hours'",
        lock="'l'",
    )
    insert(connection, 30, lock="'l'")
    assert found("locks", "--chain", "31") == []
    [finding] = found("locks", "--chain", "30")
    facts = finding["facts"]
    assert (facts["lock"], facts["jobs"], facts["holder_id"], facts["head_id"]) == ("l", 30, 1, 2)
    assert "job 1 of task 'add' holds it, and has run for 2h" in finding["what"]


def test_a_long_chain_behind_a_job_that_is_for_later(
    found: Found, connection: psycopg.Connection
) -> None:
    connection.execute(SERVED)
    insert(connection, lock="'l'", due="false", scheduled_at="now() + interval '1 day 30 seconds'")
    insert(connection, 30, lock="'l'")
    [finding] = found("locks", "--chain", "30")
    assert "its first job, 1, is scheduled for 1d from now" in finding["what"]


def test_a_task_that_the_app_does_not_know(
    found: Found, taskq: Taskq, connection: psycopg.Connection
) -> None:
    connection.execute(SERVED)
    insert(connection, 2, task_name="'adds'", due="n = 1", scheduled_at="now() + interval '1 hour'")
    insert(connection, task_name="'\x1b[2J'", lock="'l'")
    strange, slip = found("tasks")
    assert (slip["severity"], slip["facts"]) == ("critical", {"task": "adds", "jobs": 2})
    assert "it knows 'add'" in slip["what"]
    assert strange["facts"]["task"] == "\x1b[2J"
    shown = taskq("doctor", "--app", SHOP).stdout
    assert "\x1b" not in shown
    assert r"the task '\x1b[2J'" in shown


def test_a_task_that_a_worker_did_not_know(
    found: Found, taskq: Taskq, connection: psycopg.Connection
) -> None:
    taskq("defer", "--app", SHOP, "ship", "--unknown")
    connection.execute(
        "INSERT INTO taskq_subscriptions VALUES ('order.paid', 'ship', 'mail'), ('two words', 'ship', 'mail')"
    )
    # One that is given back for others has not failed: that it waits says so.
    assert taskq("worker", "--app", SHOP, "--no-wait").exit_code == 0
    [waits] = found("tasks")
    assert (waits["severity"], waits["facts"]) == ("critical", {"task": "ship", "jobs": 1})
    connection.execute("UPDATE taskq_jobs SET due = true")
    at_once = ("--no-wait", "--unknown-job-timeout", "0")
    assert taskq("worker", "--app", SHOP, *at_once).exit_code == 0
    [finding] = found("tasks")
    assert finding["severity"] == "warning"
    assert (finding["facts"]["task"], finding["facts"]["failed_jobs"]) == ("ship", 1)
    assert finding["facts"]["events"] == ["order.paid", "two words"]
    assert (
        "; it subscribes to 'order.paid', 'two words', and so gets more of them" in finding["what"]
    )
    assert "events remove 'two words' ship" in finding["commands"][2]
    # It was retried, by a worker that knew it.
    connection.execute("UPDATE taskq_jobs SET claim = claim + 1")
    assert found("tasks") == []


def test_a_task_that_a_worker_did_not_know_at_first(
    found: Found, taskq: Taskq, connection: psycopg.Connection
) -> None:
    taskq("defer", "--app", SHOP, "ship", "--unknown")
    assert taskq("worker", "--app", SHOP, "--no-wait").exit_code == 0
    connection.execute("UPDATE taskq_jobs SET status = 'failed', finished_at = now()")
    assert found("tasks") == []


def test_without_an_app_it_says_what_it_could_not_look_at(taskq: Taskq) -> None:
    done = taskq("doctor", "--json")
    [finding] = json.loads(done.stdout)
    assert (done.exit_code, finding["severity"], finding["check"]) == (0, "note", "tasks")
    assert "--app" in finding["remedy"]


def test_a_user_who_may_see_little_is_told_what_was_not_looked_at(
    taskq: Taskq, connection: psycopg.Connection, database_url: str
) -> None:
    name = f"little_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {name}")
    connection.execute(f"GRANT SELECT ON taskq_jobs, taskq_migrations TO {name}")
    try:
        url = f"{database_url}&options=-crole%3D{name}"
        done = taskq("doctor", "--app", SHOP, "--json", env={"TASKQ_DATABASE_URL": url})
        findings = json.loads(done.stdout)
        assert (done.exit_code, {finding["severity"] for finding in findings}) == (0, {"note"})
        not_seen = {finding["check"] for finding in findings}
        assert not_seen == {"workers", "queues", "limits", "rows", "tasks", "horizon"}
    finally:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def test_it_needs_the_schema(taskq: Taskq, bare_url: str) -> None:
    done = taskq("doctor", "--app", SHOP, env={"TASKQ_DATABASE_URL": bare_url})
    assert (done.exit_code, done.stdout) == (1, "")
    assert "python -m taskq schema apply" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("--held", "long"), ("--waiting", "-1"), ("--chain", "0"), ("--bloat", "much")],
)
def test_a_threshold_that_makes_no_sense_is_refused(taskq: Taskq, option: str, value: str) -> None:
    done = taskq("doctor", "--app", SHOP, option, value)
    assert done.exit_code == 2
    assert option in done.stderr
    assert done.stderr.count("\n") == 1


# The schema


def test_a_migration_that_was_edited(found: Found, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE taskq_migrations SET checksum = 'edited' WHERE version = 1")
    [finding] = found("schema")
    assert finding["severity"] == "critical"
    facts = finding["facts"]
    assert (facts["version"], facts["state"], facts["phase"]) == (1, "edited", "pre")


def test_a_migration_that_is_missing(found: Found, connection: psycopg.Connection) -> None:
    connection.execute("DELETE FROM taskq_migrations WHERE version = 1")
    [finding] = found("schema")
    assert (finding["severity"], finding["facts"]["state"]) == ("critical", "pending")
    assert finding["commands"] == [f"python -m taskq schema apply --app {SHOP}"]


@pytest.mark.parametrize(
    ("name", "severity"), [("9998_pre_more.sql", "note"), ("9999_post_less.sql", "critical")]
)
def test_a_database_from_a_newer_taskq(
    found: Found, connection: psycopg.Connection, name: str, severity: str
) -> None:
    connection.execute("INSERT INTO taskq_migrations VALUES (9999, %s, 'unknown')", [name])
    [finding] = found("schema")
    assert (finding["severity"], finding["facts"]["state"]) == (severity, "unknown")


def test_rows_that_nothing_of_taskqs_writes_are_named_with_what_to_do(
    connection: psycopg.Connection, taskq: Taskq, unchecked: None
) -> None:
    connection.execute(SERVED)
    insert(connection, due="false")
    insert(connection, status="'doing'", started_at="now()")
    insert(connection, status="'doing'", started_at="'infinity'", worker_id="1")
    insert(connection, queue_name="''")
    [[ahead]] = connection.execute(
        "INSERT INTO taskq_workers (name, last_heartbeat) VALUES ('w', '9000-01-01') RETURNING id::text"
    ).fetchall()
    connection.execute("INSERT INTO taskq_periodic VALUES ('tick\n', '', 9223372036854775807)")
    done = taskq("doctor", "--app", SHOP, "--json")
    assert (done.exit_code, done.stderr) == (1, "")
    rows = [found for found in json.loads(done.stdout) if found["check"] == "rows"]
    assert {found["facts"]["fault"]: found["facts"]["names"] for found in rows} == {
        "timeless": ["1"],
        "unclaimed": ["2", "3"],
        "queueless": ["4"],
        "immortal": [ahead],
        "ahead": ["tick\n"],
    }
    for found in rows:
        if "UPDATE" in found["remedy"]:
            connection.execute(found["remedy"][found["remedy"].index("UPDATE") :])
    again = json.loads(taskq("doctor", "--app", SHOP, "--json").stdout)
    # A worker takes back the other two.
    left = [found["facts"]["names"] for found in again if found["check"] == "rows"]
    assert left == [["1"], ["2"]]
