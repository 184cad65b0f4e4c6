"""What is paused."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from taskq.exceptions import InvalidName
from taskq.job import Name
from taskq.messages import short_repr, validation_summary
from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import only_row
from taskq_sql import pauses

_querier = on_any(pauses.Querier)


class PauseKind(StrEnum):
    """What kind of thing is paused."""

    QUEUE = "queue"
    TASK = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What is paused, and what was given with the pause.

    Attributes:
        kind: What kind of thing it is.
        name: Its name.
        paused_at: When it was paused.
        paused_by: Who paused it; None: not given.
        reason: Why; None: not given.
    """

    kind: PauseKind
    name: str
    paused_at: datetime
    paused_by: str | None
    reason: str | None

    @property
    def note(self) -> str:
        """Who paused it and why, to follow a sentence about it; empty if neither was given."""
        by = "" if self.paused_by is None else f" by {self.paused_by}"
        return by if self.reason is None else f"{by}: {self.reason}"


class NewPause(BaseModel):
    """A pause that was checked."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True)

    name: Name
    by: Name | None = None
    reason: Name | None = None

    @classmethod
    def of(cls, kind: PauseKind, **given: Any) -> Self:
        """Check what is given for one.

        Raises:
            InvalidName: A name or a text is none, or too long.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            wrong = str(error.errors(include_url=False)[0]["loc"][0])
            raise InvalidName(
                f"no {kind} can be paused or resumed with {wrong}={short_repr(given[wrong])}: "
                f"{validation_summary(error, skip=1)}"
            ) from None


def pause(connection: Connection, kind: PauseKind, wanted: NewPause) -> bool:
    """Pause a queue or a task; False: it was paused already, and that pause stays as it is."""
    return bool(
        _querier(connection).pause(
            kind=kind, name=wanted.name, paused_by=wanted.by, reason=wanted.reason
        )
    )


def resume_queue(connection: Connection, name: str) -> bool:
    """Resume a queue; False: it was not paused."""
    return bool(_querier(connection).resume_queue(name=name))


def resume_task(connection: Connection, name: str) -> bool:
    """Resume a task; False: it was not paused."""
    return only_row(_querier(connection).resume_task(name=name)).done


def list_pauses(connection: Connection) -> list[Pause]:
    """What is paused, by kind and name."""
    return [
        Pause(
            kind=PauseKind(row.kind),
            name=row.name,
            paused_at=row.paused_at,
            paused_by=row.paused_by,
            reason=row.reason,
        )
        for row in _querier(connection).list_pauses()
    ]
