"""Deferring: new jobs."""

import re
from collections.abc import Sequence
from typing import Literal

from taskq.job import NewJob, to_json
from taskq.queries.connection import Connection, on_any
from taskq.queries.encodings import as_ascii
from taskq.queries.rows import bounded_document
from taskq_sql import job_insert

_querier = on_any(job_insert.Querier)

# In digits: Python reads no longer one.
_LONGEST_NUMBER = 4_300
_MANY_DIGITS = re.compile(f"[0-9]{{{_LONGEST_NUMBER // 2}}}")
# What becomes of a job whose queueing lock a job that waits already has.
OnConflict = Literal["raise", "skip", "replace"]


def defer_jobs(
    connection: Connection,
    new_jobs: Sequence[NewJob],
    *,
    on_conflict: OnConflict,
    own_transaction: bool,
) -> list[int | None]:
    """Defer jobs, all or none; returns their ids in the same order, None for those skipped."""

    def defer(document: str) -> list[int | None]:
        rows = _querier(connection).defer_jobs(
            jobs=document,
            on_conflict=on_conflict,
            share_notification=own_transaction,
            numbers_checked=has_short_numbers(document),
        )
        return [id_ or None for id_ in rows]

    document = bounded_document(to_json(new_jobs, exclude_none=True).decode(), len(new_jobs))
    try:
        return defer(document)
    except UnicodeEncodeError:
        # A caller's connection has another client_encoding, and nothing was sent.
        return defer(as_ascii(document))


def has_short_numbers(document: str) -> bool:
    """Whether no number in a document can have more digits than Python reads."""
    # Of more digits than that, half as many follow at one of these places; a few thousand of them take some
    # microseconds. The server checks what may be one, as a text of digits is no number.
    return len(document) <= _LONGEST_NUMBER or not any(
        _MANY_DIGITS.match(document, at) for at in range(0, len(document), _LONGEST_NUMBER // 2)
    )
