"""Telemetry: who is told what, whatever the others do."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator
from inspect import getmembers, isclass
from pathlib import Path
from typing import Any

import pytest

from taskq import telemetry
from taskq.exceptions import InvalidOption
from taskq.job import Job
from taskq.outcome import Ending
from taskq.telemetry import (
    DatabaseFailed,
    Event,
    JobEnded,
    JobFailed,
    JobStarted,
    JobSucceeded,
    Telemetry,
    ThreadLeftBehind,
    WorkerStopping,
)
from taskq.telemetry.jobs import JOB_ENDED
from taskq.worker.log import subscribe_log
from tests.worker.test_decide import job

STOPPING = WorkerStopping(worker_id=1)


def ended(kind: type[JobEnded]) -> JobEnded:
    return kind(worker_name="w", job=job(), outcome=None, error=None, seconds=0.1)


def test_a_subscriber_is_told_of_its_kind_and_of_those_below_it_until_it_unsubscribes() -> None:
    hub = Telemetry()
    heard: dict[str, list[Event]] = {"failed": [], "ended": [], "all": []}
    hub.subscribe(JobFailed, heard["failed"].append)
    unsubscribe = hub.subscribe(JobEnded, heard["ended"].append)
    hub.subscribe(Event, heard["all"].append)
    failed, succeeded = ended(JobFailed), ended(JobSucceeded)
    for event in (failed, succeeded, STOPPING):
        hub.emit(event)
    expected: dict[str, list[Event]] = {
        "failed": [failed],
        "ended": [failed, succeeded],
        "all": [failed, succeeded, STOPPING],
    }
    assert heard == expected
    unsubscribe()
    unsubscribe()
    hub.emit(succeeded)
    expected["all"].append(succeeded)
    assert heard == expected


def test_what_no_subscriber_wants_at_the_moment_need_not_be_made() -> None:
    hub = Telemetry()
    heard: list[Event] = []
    sampled = True
    assert not hub.wants(JobStarted)
    unsubscribe = hub.subscribe(JobEnded, heard.append, only_if=lambda: sampled)
    assert hub.wants(JobSucceeded)
    assert not hub.wants(JobStarted)
    sampled = False
    assert not hub.wants(JobSucceeded)
    hub.emit(ended(JobSucceeded))
    assert heard == []
    sampled = True
    unsubscribe()
    assert not hub.wants(JobSucceeded)


@pytest.mark.parametrize(
    "error", [ValueError("no"), asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt()]
)
@pytest.mark.parametrize("where", ["subscriber", "only_if"])
def test_a_subscriber_that_raises_hurts_no_other_and_is_logged_once_for_each_kind(
    error: BaseException, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> Any:
        raise error

    hub = Telemetry()
    heard: list[Event] = []
    if where == "subscriber":
        hub.subscribe(Event, fail)
    else:
        hub.subscribe(Event, heard.append, only_if=fail)
    hub.subscribe(Event, heard.append)
    told = [STOPPING, STOPPING, ThreadLeftBehind(service="Heartbeat")]
    for event in told:
        assert hub.wants(type(event))
        hub.emit(event)
    assert heard == told
    logged = [(record.levelno, record.name, vars(record)["event"]) for record in caplog.records]
    assert logged == [
        (logging.ERROR, "taskq.telemetry", "WorkerStopping"),
        (logging.ERROR, "taskq.telemetry", "ThreadLeftBehind"),
    ]
    assert all(record.exc_info and record.exc_info[1] is error for record in caplog.records)


def test_a_log_that_fails_hurts_no_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(record: logging.LogRecord) -> None:
        raise OSError("the disk is full")

    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", fail)
    monkeypatch.setattr(logging.getLogger("taskq"), "handlers", [handler])
    hub = Telemetry()
    heard: list[Event] = []
    subscribe_log(hub)
    hub.subscribe(Event, heard.append)
    failed = DatabaseFailed(purpose="claims", error=ValueError("no"))
    hub.emit(failed)
    assert heard == [failed]


async def count(event: Event) -> None: ...


@pytest.mark.parametrize(
    ("kind", "subscriber", "why"),
    [
        (count, JobEnded, "is no kind of event"),
        (Job, print, "is no kind of event"),
        ("JobEnded", print, "'JobEnded' is no kind of event"),
        (JobEnded, count, "give a plain function"),
        (JobEnded, 7, "7 cannot subscribe to JobEnded: give a plain function"),
    ],
)
def test_what_cannot_subscribe_is_refused_with_what_can(
    kind: Any, subscriber: Callable[..., Any], why: str
) -> None:
    with pytest.raises(InvalidOption, match=why):
        Telemetry().subscribe(kind, subscriber)


def below(kind: type[Event]) -> Iterator[type[Event]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def test_each_event_is_public_and_the_docs_have_it_with_its_fields() -> None:
    page = (Path(__file__).parents[1] / "docs" / "telemetry.md").read_text()
    public = {
        name
        for name, kind in getmembers(telemetry, isclass)
        if issubclass(kind, Event) and kind is not Event
    }
    assert public == {kind.__name__ for kind in below(Event)}
    assert public < set(telemetry.__all__)
    rows = {
        name: row
        for row in page.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert rows.keys() == public
    lacking = {
        (name, field)
        for name, row in rows.items()
        for field in vars(telemetry)[name].__dict__.get("__dataclass_fields__", {})
        if f"`{field}`" not in row
    }
    assert lacking == set()


def test_an_attempt_has_an_event_for_each_way_in_which_it_ends() -> None:
    assert set(JOB_ENDED) == set(Ending)
    assert set(JOB_ENDED.values()) == set(JobEnded.__subclasses__())
