"""Checks: what the server and the workers have logged."""

import re
from collections.abc import Iterable, Iterator

from tests.stress.log import AFTER_A_PAUSE, Signal, Violation

# What a session that is killed, or paused for too long, gives rise to; and a statement that takes longer than
# a worker waits on a busy machine: it tries again.
_EXPECTED = re.compile(
    "terminating connection due to administrator command"
    "|canceling statement due to statement timeout"
    "|canceling statement due to user request"
    "|connection to client lost"
)

_BAD_ACTIONS = frozenset({"worker_broken", "loop_interrupted", "job_unwritable"})

# A worker logs these when it has missed its heartbeat.
_LATE_ACTIONS = frozenset({"heartbeat_overdue", "heartbeat_withheld", "worker_registered_again"})


def of_server(lines: Iterable[str]) -> list[Violation]:
    """The errors in the server's log that nothing explains."""
    return [
        Violation("server", text)
        for text in _errors(lines)
        if not _EXPECTED.search(text.split("\n", 1)[0])
    ]


def of_worker(name: str, lines: Iterable[str]) -> list[Violation]:
    """What a worker's log has that no worker should log."""
    violations = []
    for line in lines:
        _, level, action, _ = _fields(line)
        if level == "CRITICAL" or action in _BAD_ACTIONS or line.startswith("Fatal Python error"):
            violations.append(Violation("worker", f"{name} logged: {line.strip()}"))
    return violations


def late(name: str, lines: Iterable[str]) -> list[Signal]:
    """When a worker missed its own heartbeat."""
    signals = []
    for line in lines:
        created, _, action, _ = _fields(line)
        if action in _LATE_ACTIONS:
            until = float(created)
            signals.append(
                Signal(process=name, kind="starve", at=until - AFTER_A_PAUSE, until=until)
            )
    return signals


def _fields(line: str) -> list[str]:
    # As ``worker.FORMAT`` has them; a traceback has others.
    return [*line.split(" ", 3), "", "", "", ""][:4]


def _errors(lines: Iterable[str]) -> Iterator[str]:
    """Each error, with what the server says to it on the next lines."""
    error: list[str] = []
    for line in lines:
        begins = re.match(r"\S+ \S+ \S+ \[\d+\] .*?: +([A-Z]+[0-9]?): ", line)
        if begins is None or begins[1] in {"DETAIL", "HINT", "CONTEXT", "STATEMENT"}:
            if error and len(error) < 12:
                error.append(line.rstrip())
            continue
        if error:
            yield "\n  ".join(error)
        error = [line.rstrip()] if begins[1] in {"ERROR", "FATAL", "PANIC"} else []
    if error:
        yield "\n  ".join(error)
