"""The command that serves the dashboard."""

import builtins
import re
import signal
from typing import Any

import httpx
import pytest

from tests.cli.conftest import SHOP, Taskq, process


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "db.example"])  # noqa: S104
def test_at_another_address_than_this_machines_own_it_wants_a_password(
    taskq: Taskq, host: str
) -> None:
    done = taskq("dashboard", "--app", SHOP, "--host", host)
    assert done.exit_code == 2
    assert "give --user and --password" in done.stderr


@pytest.mark.parametrize("half", [["--user", "ada"], ["--password", "x"]], ids=str)
def test_a_user_without_a_password_is_refused(taskq: Taskq, half: list[str]) -> None:
    done = taskq("dashboard", "--app", SHOP, *half)
    assert done.exit_code == 2
    assert "--user and --password go together" in done.stderr


@pytest.mark.parametrize("missing", ["starlette", "jinja2", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(
    taskq: Taskq, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    load = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == missing or name.startswith("taskq.contrib.dashboard"):
            raise ImportError(f"no module named {missing}", name=missing)
        return load(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    done = taskq("dashboard", "--app", SHOP)
    assert done.exit_code == 1
    assert f"needs {missing}" in done.stderr
    assert "pip install 'taskq-sql[dashboard]'" in done.stderr


@pytest.mark.parametrize(
    ("options", "variables", "status"),
    [
        ([], {}, 200),
        ([], {"TASKQ_DASHBOARD_USER": "ada", "TASKQ_DASHBOARD_PASSWORD": "x"}, 401),
        (["--root-path", "/ops/"], {}, 200),
    ],
    ids=["for all here", "with a password", "behind a prefix"],
)
def test_it_is_served_until_it_is_told_to_stop(
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    variables: dict[str, str],
    status: int,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with process("dashboard", "--app", SHOP, "--port", "0", *options) as running:
        assert running.stderr
        found = None
        said = ""
        while found is None:
            line = running.stderr.readline()
            said += line
            assert line, said
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
        answer = httpx.get(found[0] + "/jobs")
        assert answer.status_code == status
        prefix = "/ops" if options else ""
        assert (f'href="{prefix}/jobs"' in answer.text) == (status == 200)
        # With SIGTERM as well, so that what is done at exit is done: an embedded server is stopped.
        running.send_signal(signal.SIGTERM if options else signal.SIGINT)
        assert running.wait(timeout=20) in ({0} if options else {0, 130})
