"""What is typed after a command is taken as it is, or refused in one line that no terminal obeys."""

import json
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import App
from tests.cli.conftest import SHOP, Taskq, environment, taskq
from tests.rubbish import strategies
from tests.rubbish.conftest import count, examples
from tests.rubbish.lines import check_lines

__all__ = ["environment", "taskq"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

# What a shell can pass: no NUL, and bytes that are no text as lone surrogates.
typed = strategies.any_texts.filter(lambda text: "\0" not in text)

TIMES = st.sampled_from(
    [
        "0001-01-01T00:00Z",
        "9999-12-31T23:59:59Z",
        "1e400",
        "-1",
        "9" * 5_000,
        "1h" * 100,
        "inf",
        "\u0663d",
    ]
)

OPTIONS = st.lists(
    st.sampled_from(["--queue", "--lock", "--queueing-lock", "--idempotency-key"]).flatmap(
        lambda name: st.tuples(st.just(name), typed)
    )
    | st.tuples(
        st.just("--priority"), st.sampled_from(["0", "-1", "9" * 5_000, "1e3", "0x1", "\u0661"])
    )
    | st.sampled_from(["--at", "--in", "--expire-at", "--expire-in"]).flatmap(
        lambda name: st.tuples(st.just(name), TIMES | typed)
    ),
    max_size=2,
    unique_by=lambda option: option[0],
)


@examples(30)
@given(
    typed,
    strategies.several(strategies.objects | strategies.values, 1),
    st.none() | typed,
    OPTIONS,
)
def test_a_job_is_deferred_as_it_was_typed_or_not_at_all(
    taskq: Taskq,
    app: App,
    connection: psycopg.Connection,
    task: str,
    values: list[Any],
    raw: str | None,
    options: list[tuple[str, str]],
) -> None:
    connection.execute("TRUNCATE taskq_jobs CASCADE")
    arguments = strategies.as_json(values[0]) if raw is None else raw
    named = [f"{name}={value}" for name, value in options]
    said = taskq("defer", "--app", SHOP, "--unknown", *named, "--", task, arguments)
    check_lines(said.output)
    assert said.exception is None or isinstance(said.exception, SystemExit), ascii(arguments[:500])
    if said.exit_code:
        assert said.stdout == ""
        assert said.stderr.startswith("Error: ")
        assert len(said.stderr.splitlines()) == 1
        assert len(said.stderr) < 2_000
        assert count(connection) == 0
        return
    job = app.job_manager.get_job(int(said.stdout))
    assert job.task_name == task
    [(as_stored,)] = connection.execute("SELECT %s::text::jsonb", [arguments]).fetchall()
    assert strategies.same(job.task_kwargs, as_stored)


FILTERS = [
    *(
        "--queue",
        "--task",
        "--lock",
        "--queueing-lock",
        "--limit-key",
        "--error",
        "--tag",
        "--args",
    ),
    *("--worker", "--status", "--deferred-after", "--deferred-before", "--finished-after"),
]
NAMES = [
    ["queues", "pause"],
    ["queues", "resume"],
    ["tasks", "pause"],
    ["tasks", "resume"],
    ["limits", "set", "--concurrency", "1"],
    ["limits", "unset"],
    ["events", "remove"],
    ["jobs", "show"],
    ["jobs", "cancel"],
    ["schema", "grants", "--as", "worker", "--role"],
]


@examples(40)
@given(
    st.sampled_from(FILTERS).map(lambda name: ["jobs", "list", f"{name}=%s"])
    | st.sampled_from(FILTERS).map(lambda name: ["jobs", "retry", "--yes", f"{name}=%s"])
    | st.sampled_from(NAMES).map(lambda names: [*names, "%s"]),
    typed | strategies.objects.map(strategies.as_json) | TIMES,
)
def test_whatever_is_typed_for_a_name_or_a_filter(
    taskq: Taskq, command: list[str], text: str
) -> None:
    said = taskq(*(part.replace("%s", text) if part.endswith("%s") else part for part in command))
    assert said.exception is None or isinstance(said.exception, SystemExit), (command, text[:500])
    check_lines(said.output)
    if said.exit_code:
        assert len(said.stderr) < 2_000


def test_json_of_commands_is_ascii_whatever_is_in_it(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    for text in filter(None, strategies.HOSTILE):
        connection.execute(
            "INSERT INTO taskq_jobs (task_name, queue_name, lock, args) "
            "VALUES (%s, %s, %s, jsonb_build_object(%s::text, %s::text))",
            [text] * 5,
        )
    for command in (["jobs", "list"], ["jobs", "show", "3"], ["queues", "list"], ["locks", "list"]):
        said = taskq(*command, "--json").stdout
        assert said.isascii()
        check_lines(said)
        assert json.loads(said)
