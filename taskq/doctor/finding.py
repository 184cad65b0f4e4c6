"""What the doctor says: a finding, and how bad it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue


class Severity(StrEnum):
    """How bad it is, the worst first.

    ``critical``: jobs do not run, or will not soon, and it does not pass by itself; ``warning``: it
    costs, or will; ``note``: nothing to do, or what could not be checked.
    """

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that slows or endangers the queue.

    Attributes:
        severity: How bad it is.
        check: The check that found it, such as ``horizon``; the doctor fills it in.
        what: What was found, in a sentence.
        remedy: What to do about it.
        commands: What ``python -m taskq`` does of the remedy: the arguments, as a shell reads them.
        statements: What is to be run in the database for the remedy.
        facts: The same for programs: names, and numbers with their units in the keys.
    """

    severity: Severity
    check: str = ""
    what: str
    remedy: str
    commands: Sequence[str] = ()
    statements: Sequence[str] = ()
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
