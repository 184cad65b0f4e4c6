"""What went wrong, as a page with the right status."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from taskq import exceptions


@dataclass(frozen=True, slots=True)
class Problem:
    """What a page says of something that went wrong.

    Attributes:
        status: The HTTP status.
        title: What kind of thing it is.
        text: What was wrong, and what to do.
        headers: What the answer has beside it.
    """

    status: int
    title: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


# Loads the page again by itself, also without script.
_AGAIN = {"refresh": "5", "retry-after": "5"}

_KINDS: tuple[tuple[tuple[type[Exception], ...], int, str], ...] = (
    ((exceptions.JobNotFound,), 404, "There is no such job"),
    ((exceptions.TaskNotFound,), 404, "There is no such task"),
    ((exceptions.UnknownLimit,), 404, "There is no such limit"),
    ((exceptions.InvalidTransition,), 409, "The job has moved on"),
    ((exceptions.AlreadyEnqueued,), 409, "Such a job waits already"),
    ((exceptions.InvalidFilter,), 400, "That makes no sense"),
    (
        (exceptions.InvalidArguments, exceptions.InvalidJob, exceptions.InvalidLimit),
        422,
        "That cannot be done",
    ),
    ((exceptions.EncryptionFailed,), 409, "That cannot be encrypted here"),
    ((exceptions.NotPermitted,), 403, "The database does not permit that"),
)

_AWAY = (
    exceptions.DatabaseUnavailable,
    exceptions.SchemaNotApplied,
    exceptions.SchemaTooNew,
    exceptions.EmbeddedServerError,
)


def problem_of(error: exceptions.TaskqException) -> Problem | None:
    """What to say of an error of taskq's; None: it is not one that a visitor can bring about."""
    if isinstance(error, _AWAY):
        return Problem(
            503,
            "The database is away",
            f"{error}. This page loads again by itself every five seconds.",
            _AGAIN,
        )
    for kinds, status, title in _KINDS:
        if isinstance(error, kinds):
            return Problem(status, title, str(error))
    return None
