"""What a worker and the process of a task say to one another, pickled, over a pair of sockets.

Neither reads what the other side of a network wrote: both are the same program on the same machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from taskq.context import AbortReason
from taskq.job import FailedAttempt, Job
from taskq.progress import NewProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a process begins with.

    Attributes:
        app_path: Where the app is, as in ``shop.jobs:app``.
        levels: The levels of the loggers that have one, by name; "" is the root.
    """

    app_path: str
    levels: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextValues:
    """What the context of a job has, and can cross.

    Attributes:
        additional: What ``additional_context`` has, each value pickled, by name.
        left_out: Why others cannot cross, by name.
    """

    worker_name: str
    worker_queues: Sequence[str] | None
    start_timestamp: float
    failed_attempts: Sequence[FailedAttempt]
    additional: Mapping[str, bytes] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run the task of a job.

    Attributes:
        job: The job.
        module: That of the task's function.
        stored: The arguments, as JSON carries them, and decrypted.
        conceals: Whether no message may quote one.
        context: For a task that takes a context.
    """

    job: Job
    module: str
    stored: Mapping[str, JsonValue]
    conceals: bool
    context: ContextValues | None


@dataclass(frozen=True, slots=True)
class Abort:
    """The job is asked to abort."""

    reason: AbortReason


@dataclass(frozen=True, slots=True)
class Begun:
    """The call has been received."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of the log, as its attributes."""

    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reported:
    """How far the job is."""

    progress: NewProgress


@dataclass(frozen=True, slots=True)
class Returned:
    """The task has returned.

    Attributes:
        value: Pickled; None: it cannot be.
        problem: Why not.
    """

    value: bytes | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """The task has raised an exception.

    Attributes:
        error: Pickled; None: it cannot be.
        error_type: Its class, with its module.
        message: What it says.
        traceback: Its traceback, as Python prints it.
    """

    error: bytes | None
    error_type: str
    message: str
    traceback: str


Ended = Returned | Raised
