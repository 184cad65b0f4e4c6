"""What the notifications of taskq's channel say. 0002_pre_notifications.sql writes them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ready:
    """A queue has jobs to claim.

    Attributes:
        queue: Which.
        transaction: The number of the transaction that made them ready, by which workers agree on who claims.
    """

    queue: str
    transaction: str


@dataclass(frozen=True, slots=True)
class Later:
    """A queue has a job for later.

    Attributes:
        queue: Which.
        due_at: When, in seconds since 1970 by the server's clock.
    """

    queue: str
    due_at: float


@dataclass(frozen=True, slots=True)
class Abort:
    """A worker runs a job that is to be aborted."""

    worker_id: int


@dataclass(frozen=True, slots=True)
class QueuePaused:
    """A queue is paused."""

    queue: str


@dataclass(frozen=True, slots=True)
class TaskPaused:
    """A task is paused."""

    task_name: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that is waited for has ended, or was deleted."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Missed:
    """Notifications of any kind may have been missed, so a subscriber has to check for itself.

    The database does not send it. It comes when listening begins, and begins again after a lost connection,
    and in place of more notifications than an event loop that is blocked can be given.
    """


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing is notified for a while: listening failed, and is tried again. Once for each bad moment.

    The database does not send it, either.
    """

    error: Exception


Notification = Ready | Later | Abort | QueuePaused | TaskPaused | Ended | Missed | Failed


def parse(payload: str) -> Notification | None:
    """Read a payload; None if it is of no kind that this version knows."""
    kind, _, rest = payload.partition(" ")
    key, _, queue = rest.partition(" ")
    try:
        match kind:
            case "ready":
                return Ready(queue, key)
            case "later":
                return Later(queue, float(key))
            case "abort":
                return Abort(int(key))
            case "pause-queue":
                return QueuePaused(rest)
            case "pause-task":
                return TaskPaused(rest)
            case "ended":
                return Ended(int(key))
    except ValueError:
        pass  # anyone may notify
    return None
