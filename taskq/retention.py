"""Retention: how long jobs are kept once they are final."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, TypedDict

from taskq.job import JobStatus

FinalStatus = Literal["succeeded", "failed", "cancelled", "aborted"]


class Retention(TypedDict, total=False):
    """How long jobs are kept after they have finished; None, or nothing said: for ever.

    Attributes:
        succeeded: Those that succeeded.
        failed: Those that failed, with why their attempts did; so below.
        cancelled: Those that were cancelled.
        aborted: Those that were aborted.
    """

    succeeded: timedelta | None
    failed: timedelta | None
    cancelled: timedelta | None
    aborted: timedelta | None


_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_KEPT = re.compile(r"\s*(?P<status>\w+)\s*=\s*(?P<number>\d+)(?P<unit>[wdhms])\s*")


def retention_of(value: object) -> object:
    """Read what an environment variable says: ``succeeded=1d,failed=4w``; anything else as it is.

    Raises:
        ValueError: It says something else.
    """
    if not isinstance(value, str):
        return value
    kept = {}
    for part in filter(str.strip, value.split(",")):
        match = _KEPT.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{part.strip()!r} does not say how long jobs of which status are kept: write it as in "
                "succeeded=1d,failed=4w (w, d, h, m or s)"
            )
        kept[match["status"]] = timedelta(**{_UNITS[match["unit"]]: int(match["number"])})
    return kept


def kept_for(
    retention: Mapping[FinalStatus, timedelta | None] | None,
) -> dict[JobStatus, timedelta]:
    """Which jobs are not kept for ever, and how long."""
    return {
        JobStatus(status): kept for status, kept in (retention or {}).items() if kept is not None
    }
