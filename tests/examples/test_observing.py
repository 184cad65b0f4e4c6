"""The examples with Sentry and structlog, run for real; what Sentry would be sent is recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

# Runs the example, with a transport that prints what it is given.
RECORDING = """
import json, runpy, sys
import sentry_sdk
from sentry_sdk.transport import Transport

class Recording(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            if item.type in ("event", "transaction"):
                print(json.dumps(item.payload.json, default=str))

init = sentry_sdk.init
sentry_sdk.init = lambda **options: init(dsn="http://key@127.0.0.1:9/1", transport=Recording, **options)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run(database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "TASKQ_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_sentry_is_told_of_what_fails_for_good_with_the_job_and_of_each_attempt(
    database_url: str,
) -> None:
    done = run(database_url, "-c", RECORDING, str(EXAMPLES / "sentry_errors.py"))
    told: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [one for one in told if one.get("exception")]
    assert len(errors) == 1, [error["exception"]["values"] for error in errors]
    [error] = errors
    assert error["exception"]["values"][-1]["value"] == "that would be a refund"
    assert error["contexts"]["job"] == {"id": 2, "attempt": 2}
    assert error["tags"]["taskq.task"] == "charge"
    messages = [one for one in told if one.get("message") == "a refund was tried"]
    assert [one["contexts"]["job"]["attempt"] for one in messages] == [1, 2], "said in a thread"
    spans = [one for one in told if one.get("type") == "transaction"]
    statuses = [(one["transaction"], one["contexts"]["trace"]["status"]) for one in spans]
    assert sorted(statuses) == [("charge", "internal_error")] * 2 + [("charge", "ok")]


@pytest.mark.slow
def test_with_structlog_each_line_is_an_object_and_those_of_a_task_name_its_job(
    database_url: str,
) -> None:
    done = run(database_url, str(EXAMPLES / "structlog_json.py"))
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines()]
    charging = {line["job_id"]: line for line in lines if line["event"] == "charging"}
    assert {job_id: line["cents"] for job_id, line in charging.items()} == {1: 100, 2: -1}
    assert all(
        (line["task_name"], line["attempt"], line["logger"]) == ("charge", 1, "shop")
        for line in charging.values()
    )
    ended = {line.get("action"): line for line in lines}
    assert ended["job_succeeded"]["job_id"] == 1
    assert "ValueError: that would be a refund" in ended["job_failed"]["exception"]
