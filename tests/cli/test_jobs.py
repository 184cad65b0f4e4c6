"""The commands on jobs."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import JobManager, JobStatus
from tests.cli.conftest import SHOP, Taskq, ended, process
from tests.cli.terminal import on_terminal
from tests.cli.test_worker import deferred

Insert = Callable[..., None]
Listed = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def insert(connection: psycopg.Connection) -> Insert:
    """Inserts a job past the front get_manager, with SQL expressions for what differs from a plain one."""

    def insert_job(**values: str) -> None:
        columns = {"task_name": "'add'", "queue_name": "'default'", "args": "'{}'"} | values
        connection.execute(
            f"INSERT INTO taskq_jobs ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
        )

    return insert_job


@pytest.fixture
def one_of_each(insert: Insert) -> None:
    """A job of each status, with the ids 1 to 6 in the order of the statuses."""
    ended = {
        "finished_at": "'2025-01-02T03:04:05Z'",
        "claim": "1",
        "attempt": "1",
        "worker_id": "7",
    }
    insert(args="""'{"a": 1}'""", deferred_at="'2025-01-01T00:00:00Z'")
    insert(
        status="'doing'",
        queue_name="'mail'",
        lock="'l'",
        limit_key="'tenant:acme'",
        tags="'{a,b}'",
        metadata='\'{"trace": "ü"}\'',
        worker_id="8",
        claim="2",
        attempt="2",
        started_at="'2025-01-02T00:00:00Z'",
    )
    insert(status="'succeeded'", result="'3'", tags="'{b,c}'", **ended)
    insert(
        status="'failed'",
        task_name="'shout'",
        args="""'{"text": "\\u001b[2J\\u202e ü"}'""",
        **ended,
    )
    insert(status="'cancelled'", queueing_lock="'ql'", finished_at="now()")
    insert(status="'aborted'", **ended)


@pytest.fixture
def listed(taskq: Taskq) -> Listed:
    """The jobs that are listed as JSON."""

    def run(*options: str) -> list[dict[str, Any]]:
        done = taskq("jobs", "list", "--json", *options)
        assert done.exit_code == 0, done.output
        jobs: list[dict[str, Any]] = json.loads(done.stdout)
        return jobs

    return run


def local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().isoformat(sep=" ", timespec="seconds")


# list


def test_people_see_a_table(one_of_each: None) -> None:
    done = ended("jobs", "list", "--finished-before", "1h", "-v")
    assert (done.returncode, done.stderr) == (0, "")
    at = local("2025-01-02T03:04:05Z")
    assert [line.rstrip() for line in done.stdout.splitlines()][::2] == [
        "id   status      task    arguments                       queue     lock   attempt   at",
        f"3    succeeded   add     {{}}                              default                1   {at}",
        f"6    aborted     add     {{}}                              default                1   {at}",
    ]
    # What steers a terminal comes out as JSON writes it, and what turns it about as Python does.
    assert r'4    failed      shout   {"text": "\u001b[2J\u202e ü"}' in done.stdout


def test_a_limit_of_a_job_is_shown_where_there_is_one(taskq: Taskq, insert: Insert) -> None:
    insert(task_name="'add'")
    insert(task_name="'add'", limit_key="'tenant:acme'")
    heading, *_ = taskq("jobs", "list").stdout.splitlines()
    assert "limit" in heading.split()
    assert "tenant:acme" in taskq("jobs", "show", "2").stdout
    assert "limit" not in taskq("jobs", "list", "--id", "1").stdout


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], [1, 2, 3, 4, 5, 6]),
        (["--newest-first"], [6, 5, 4, 3, 2, 1]),
        (["--id", "2", "--id", "5", "--id", "99"], [2, 5]),
        (["--queue", "mail"], [2]),
        (["--task", "shout"], [4]),
        (["--status", "failed", "--status", "aborted"], [4, 6]),
        (["--status", "todo"], [1]),
        (["--lock", "l"], [2]),
        (["--queueing-lock", "ql"], [5]),
        (["--limit-key", "tenant"], [2]),
        (["--limit-key", "tenant:acme", "--status", "doing"], [2]),
        (["--limit-key", "tenant:other"], []),
        (["--worker", "7"], [3, 4, 6]),
        (["--args", '{"a": 1}'], [1]),
        (["--tag", "b"], [2, 3]),
        (["--tag", "b", "--tag", "a"], [2]),
        (["--deferred-before", "2025-06-01T00:00Z"], [1]),
        (["--deferred-after", "1h"], [2, 3, 4, 5, 6]),
        (["--finished-after", "1h"], [5]),
        (["--finished-before", "2025-01-02T03:04:06Z"], [3, 4, 6]),
        (["--status", "failed", "--queue", "mail"], []),
        (["--after", "4"], [5, 6]),
        (["--after", "3", "--newest-first"], [2, 1]),
    ],
)
def test_options_choose_jobs(
    listed: Listed, one_of_each: None, options: list[str], ids: list[int]
) -> None:
    assert [job["id"] for job in listed(*options)] == ids


@pytest.mark.usefixtures("late_clock")
def test_how_long_ago_goes_by_the_servers_clock(taskq: Taskq, insert: Insert) -> None:
    insert(deferred_at="now() - interval '30 min'")
    insert(deferred_at="now() - interval '90 min'")
    done = taskq("jobs", "list", "--deferred-after", "1h")
    assert re.findall(r"^(\d+) .* (\d+ min) ago", done.stdout, re.MULTILINE) == [("1", "30 min")]
    assert taskq("jobs", "cancel", "--deferred-before", "1h", "--yes").output == "cancelled 1 job\n"


def test_json_has_all_of_a_job(listed: Listed, one_of_each: None) -> None:
    [job] = listed("--id", "3")
    assert datetime.now(UTC) - datetime.fromisoformat(job.pop("deferred_at")) < timedelta(minutes=5)
    assert job == {
        "id": 3,
        "task_name": "add",
        "task_kwargs": {},
        "queue": "default",
        "priority": 0,
        "lock": None,
        "queueing_lock": None,
        "idempotency_key": None,
        "limit_key": None,
        "status": "succeeded",
        "scheduled_at": None,
        "started_at": None,
        "finished_at": "2025-01-02T03:04:05Z",
        "attempt": 1,
        "crashes": 0,
        "given_back": 0,
        "worker_id": 7,
        "abort_requested": False,
        "result": 3,
        "metadata": None,
        "tags": ["b", "c"],
        "progress": None,
        "expires_at": None,
        "claim": 1,
    }


def test_a_list_that_goes_on_says_how(taskq: Taskq, listed: Listed, one_of_each: None) -> None:
    done = taskq("jobs", "list", "--limit", "4", "--json")
    assert [job["id"] for job in json.loads(done.stdout)] == [1, 2, 3, 4]
    assert done.stderr == "more: --after 4\n"
    done = taskq("jobs", "list", "--limit", "2", "--after", "4", "--json")
    assert [job["id"] for job in json.loads(done.stdout)] == [5, 6]
    assert done.stderr == ""


def test_a_list_of_nothing_says_so(taskq: Taskq, insert: Insert) -> None:
    insert(queue_name="'mail'")
    done = taskq("jobs", "list", "--queue", "mail", "--status", "failed")
    assert (done.exit_code, done.stdout) == (0, "no job fits\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--queue", "mial"],
            "no job has the queue 'mial', and nothing else has: did you mean 'mail'?",
        ),
        (["--queue", "\x1b[2J"], r"no job has the queue '\x1b[2J', and nothing else has: look at"),
        (
            ["--task", "adds"],
            "no job has the task 'adds', and nothing else has: did you mean 'add'?",
        ),
        (["--status", "done"], "'done' is not one of 'todo', 'doing', 'succeeded'"),
        (["--worker", "w"], "'w' is not a valid integer"),
        (["--worker", str(2**70)], "worker_id"),
        (["--deferred-after", "yesterday"], "'yesterday' is no time"),
        (["--deferred-after", "2025-01-01T00:00"], "in which time zone"),
        (["--finished-before", "999999w"], "before any calendar"),
        (["--args", "{a: 1}"], "is not JSON"),
        (["--args", "[1]"], "is not a JSON object"),
        (["--args", r'{"a": "\u0000"}'], "NUL"),
        (["--tag", ""], "tags"),
        (["--limit", "0"], "0 is not in the range"),
    ],
)
def test_what_no_job_can_be_chosen_by_is_refused(
    taskq: Taskq, insert: Insert, options: list[str], said: str
) -> None:
    insert(queue_name="'mail'")
    done = taskq("jobs", "list", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_queue_is_known_that_a_worker_serves_or_a_task_is_linked_to(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO taskq_workers (name, queue_names) VALUES ('w', '{served}')")
    assert taskq("jobs", "list", "--queue", "served").exit_code == 0
    assert taskq("jobs", "list", "--queue", "night").exit_code == 2
    assert taskq("jobs", "list", "--queue", "night", "--app", SHOP).exit_code == 0
    assert taskq("jobs", "list", "--task", "sweep", "--app", SHOP).exit_code == 0


# show


def test_people_see_all_of_a_job_and_why_it_failed(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    taskq("defer", "--app", SHOP, "shout", '{"text": "[red]x\\nforged: \\u001b[2J"}')
    connection.execute("UPDATE taskq_jobs SET claim = 2")  # as if it had snoozed twice
    assert taskq("worker", "--app", SHOP, "--no-wait").exit_code == 0
    done = ended("jobs", "show", "1")
    assert (done.returncode, done.stderr) == (0, "")
    facts, attempt, *traceback = re.split(r"\n(?=attempt \d+ failed|  )", done.stdout.rstrip())
    assert [line.split()[0] for line in facts.split("\n") if line] == [
        *("id", "status", "task", "arguments", "queue", "priority"),
        *("deferred", "started", "finished", "attempt", "worker"),
    ]
    assert re.search(r"^status +failed *$", facts, re.MULTILINE)
    assert r'{"text": "[red]x\nforged: \u001b[2J"}' in facts
    assert re.match(
        r"attempt 1 failed at \S+ \S+ in worker \d+, after \d+s: ValueError: \[red\]x\\nforged: \\x1b\[2J",
        attempt,
    )
    assert traceback[0] == "  Traceback (most recent call last):"
    assert "raise ValueError(text)" in done.stdout
    assert "\x1b" not in done.stdout


def test_that_a_job_has_expired_is_shown(taskq: Taskq, insert: Insert) -> None:
    insert(expires_at="'2025-01-02T03:04:05Z'", status="'cancelled'", finished_at="now()")
    shown = taskq("jobs", "show", "1").stdout
    assert re.search(
        r"^which means +it has ended, as cancelled: it had not begun by 2025-01-0",
        shown,
        re.MULTILINE,
    )
    assert re.search(r"^expires at +2025-01-0", shown, re.MULTILINE)


def test_tags_and_metadata_are_shown(taskq: Taskq, one_of_each: None) -> None:
    shown = taskq("jobs", "show", "2").stdout
    assert re.search(r"^tags +a, b *$", shown, re.MULTILINE)
    assert re.search(r'^metadata +{"trace": "ü"} *$', shown, re.MULTILINE)
    said = json.loads(taskq("jobs", "show", "2", "--json").stdout)
    assert (said["tags"], said["metadata"]) == (["a", "b"], {"trace": "ü"})
    done = taskq("jobs", "cancel", "--tag", "c", "--yes")
    assert (done.exit_code, done.stdout) == (0, "cancelled 0 jobs\n")
    assert taskq("jobs", "delete", "--tag", "c", "--yes").stdout == "deleted 1 job\n"


def test_progress_is_shown_of_jobs_that_have_reported_it(taskq: Taskq, insert: Insert) -> None:
    insert()
    assert "progress" not in taskq("jobs", "list").stdout
    insert(
        status="'doing'",
        worker_id="1",
        claim="2",
        progress="""jsonb_build_object(
            'done', 30, 'total', 120, 'message', E'\\x1b[2J', 'claim', 2, 'reported_at', now()
        )""",
    )
    lines = taskq("jobs", "list").stdout.splitlines()
    assert "progress" in lines[0]
    assert r"30 of 120 (25 %): \x1b[2J" in lines[-1]
    assert r"30 of 120 (25 %): \x1b[2J" in taskq("jobs", "show", "2").stdout
    shown = json.loads(taskq("jobs", "show", "2", "--json").stdout)["progress"]
    assert (shown["done"], shown["total"]) == (30, 120)
    watched = taskq("watch", "--once", "--interval", "0.1").stdout.splitlines()
    assert watched[-1].split()[:4] == ["2", "add", "30", "of"]


def test_json_has_the_job_with_its_failed_attempts(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    taskq("defer", "--app", SHOP, "shout", '{"text": "x"}')
    connection.execute("UPDATE taskq_jobs SET claim = 2")  # as if it had snoozed twice
    taskq("worker", "--app", SHOP, "--no-wait")
    shown = json.loads(taskq("jobs", "show", "1", "--json").stdout)
    assert (shown["id"], shown["status"]) == (1, "failed")
    [attempt] = shown["failed_attempts"]
    assert (attempt["claim"], attempt["attempt"]) == (3, 1)
    assert (attempt["error_type"], attempt["error_message"]) == ("ValueError", "x")


def test_it_says_why_a_job_does_not_run(taskq: Taskq) -> None:
    taskq("defer", "--app", SHOP, "shout", '{"text": "x"}')
    taskq("queues", "pause", "default", "--by", "a\x1bda")
    shown = taskq("jobs", "show", "1").stdout
    assert re.search(
        r"^which means +its queue 'default' is paused, since .* by a\\x1bda *$", shown, re.M
    )
    why = json.loads(taskq("jobs", "show", "1", "--json").stdout)["explanation"]
    assert (why["reason"], why["pause"]["paused_by"]) == ("queue_paused", "a\x1bda")


# What changes jobs


@pytest.mark.parametrize(
    ("command", "ids", "status"),
    [
        (["retry"], [4, 5, 6], JobStatus.TODO),
        (["cancel"], [1], JobStatus.CANCELLED),
        (["abort"], [1], JobStatus.CANCELLED),
        (["delete"], [1, 3, 4, 5, 6], None),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and value else None,
)
def test_by_ids_or_by_options_it_changes_those_that_can_be_changed(
    taskq: Taskq,
    manager: JobManager,
    one_of_each: None,
    command: list[str],
    ids: list[int],
    status: JobStatus | None,
) -> None:
    said = {"retry": "retried", "cancel": "cancelled", "delete": "deleted"}.get(
        command[0], "cancelled or asked to abort"
    )
    before = {job.id: job.status for job in manager.list_jobs()}
    done = taskq("jobs", *command, str(ids[0]))
    assert (done.exit_code, done.output) == (0, f"{said} job {ids[0]}\n")
    done = taskq("jobs", *command, "--deferred-before", "0s", "--yes")
    others = len(ids) - 1 + (command == ["abort"])
    assert (done.exit_code, done.output) == (
        0,
        f"{said} {others} job{'' if others == 1 else 's'}\n",
    )
    after = {job.id: job.status for job in manager.list_jobs()}
    expected = before | dict.fromkeys(ids, status)
    assert after == {job_id: status for job_id, status in expected.items() if status is not None}
    assert manager.get_job(2).abort_requested is (command == ["abort"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "99"], "no job has the id 99"),
        (["show", str(2**70)], "no job can have that id"),
        (["retry", "99"], "no job has the id 99"),
        (["cancel", "99"], "no job has the id 99"),
        (["abort", "99"], "no job has the id 99"),
        (["delete", "99"], "no job has the id 99"),
        (["reschedule", "99", "--in", "1h"], "no job has the id 99"),
        (["retry", "1"], "job 1 is todo"),
        (["retry", "2"], "job 2 is doing"),
        (["retry", "3"], "job 3 is succeeded"),
        (
            ["cancel", "2"],
            "job 2 is doing: only a job that waits is cancelled; jobs abort 2 aborts",
        ),
        (["cancel", "3"], "job 3 is succeeded: it has ended already"),
        (["abort", "4"], "job 4 is failed: it has ended already"),
        (
            ["delete", "2"],
            "job 2 is doing: a job that runs is not deleted; jobs abort 2 comes first",
        ),
        (["reschedule", "4", "--in", "1h"], "job 4 is failed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_to_a_job_fails_with_its_real_status(
    taskq: Taskq, manager: JobManager, one_of_each: None, arguments: list[str], said: str
) -> None:
    before = manager.list_jobs().jobs
    done = taskq("jobs", *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {said}")
    assert done.stderr.count("\n") == 1
    assert manager.list_jobs().jobs == before


def test_one_of_several_that_cannot_be_changed_stops_no_other(
    taskq: Taskq, one_of_each: None
) -> None:
    done = taskq("jobs", "retry", "4", "3", "5")
    assert (done.exit_code, done.stdout) == (1, "retried job 4\nretried job 5\n")
    assert done.stderr.startswith("Error: job 3 is succeeded")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["retry"], "which jobs?"),
        (["delete", "--yes"], "which jobs?"),
        (["cancel", "1", "--queue", "mail"], "say one of the two"),
        (["delete", "one"], "'one' is not a valid integer"),
        (
            ["delete", "--queue", "default"],
            "jobs delete would ask, and nobody can answer here: say --yes",
        ),
        (["delete", "--queue", "mial", "--yes"], "did you mean 'mail'?"),
        (["retry", "--status", "succeeded", "--yes"], "status"),
        (["retry", "4", "--at", "2100-01-01T00:00Z", "--in", "1s"], "give one of them"),
        (["retry", "4", "--in", "soon"], "'soon' is no length of time"),
        (["retry", "4", "--priority", "9999999999"], "9999999999 is not in the range"),
        (["retry", "--queue", "mail", "--into", "other", "--yes"], "named by their ids"),
        (["reschedule", "1"], "nothing about it is to be changed"),
        (["reschedule", "1", "--at", "2100-01-01T00:00Z", "--in", "1s"], "give one of them"),
        (["reschedule", "--in", "1s"], "Missing argument"),
        (["reschedule", "1", "--queue", ""], "queue"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    taskq: Taskq, manager: JobManager, one_of_each: None, arguments: list[str], said: str
) -> None:
    before = manager.list_jobs().jobs
    done = taskq("jobs", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert manager.list_jobs().jobs == before


def test_a_retry_may_be_for_later_with_another_priority_in_another_queue(
    manager: JobManager, one_of_each: None
) -> None:
    done = ended("jobs", "retry", "4", "--in", "1h", "--priority", "-3", "--into", "slow")
    assert (done.returncode, done.stdout, done.stderr) == (0, "retried job 4\n", "")
    job = manager.get_job(4)
    assert (job.status, job.priority, job.queue) == (JobStatus.TODO, -3, "slow")
    assert job.scheduled_at
    assert job.scheduled_at - datetime.now(UTC) == pytest.approx(
        timedelta(hours=1), abs=timedelta(seconds=60)
    )


def test_a_job_that_waits_gets_another_time_priority_and_queue(
    manager: JobManager, one_of_each: None
) -> None:
    options = ("--at", "2100-01-31T18:00:00+01:00", "--priority", "7", "--queue", "slow")
    done = ended("jobs", "reschedule", "1", *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "rescheduled job 1\n", "")
    job = manager.get_job(1)
    assert (job.status, job.priority, job.queue) == (JobStatus.TODO, 7, "slow")
    assert job.scheduled_at == datetime(2100, 1, 31, 17, tzinfo=UTC)


def test_a_job_that_runs_is_aborted_by_its_worker(manager: JobManager) -> None:
    job_id = deferred("wait")
    with process("worker", "--app", SHOP) as running:
        assert running.stderr
        assert any("waits" in line for line in running.stderr)
        done = ended("jobs", "abort", str(job_id))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"cancelled or asked to abort job {job_id}\n"
        assert any("abort" in line for line in running.stderr)
        running.terminate()
        assert running.wait(20) == 0
    assert manager.get_job_status(job_id) is JobStatus.ABORTED


@pytest.mark.slow
def test_on_a_terminal_it_asks_before_it_changes_many(
    manager: JobManager, one_of_each: None
) -> None:
    with on_terminal("jobs", "delete", "--queue", "default") as terminal:
        terminal.until(r"delete 5 jobs\? \[y/N\]: ")
        terminal.type("n\n")
        assert "Aborted!" in terminal.rest()
    assert len(manager.list_jobs()) == 6
    with on_terminal("jobs", "delete", "--queue", "default") as terminal:
        terminal.until(r"delete 5 jobs\? \[y/N\]: ")
        terminal.type("y\n")
        assert "deleted 5 jobs" in terminal.rest()
    assert [job.id for job in manager.list_jobs()] == [2]
