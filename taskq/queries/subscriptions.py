"""Events that are published: who has subscribed, and a job for each of them."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import JsonValue

from taskq.job import NewJob, to_json
from taskq.queries.connection import Connection, on_any
from taskq.queries.encodings import as_ascii
from taskq.queries.job_insert import has_short_numbers
from taskq.queries.rows import bounded_document
from taskq_sql import subscriptions

_querier = on_any(subscriptions.Querier)

# What a row says of a job elsewhere, or what each event says anew.
_NOT_AMONG_OPTIONS = {"task_name", "queue_name", "args"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A task that gets a job for each event of a name, as the database has it.

    Attributes:
        event: The name of the event.
        task_name: The task.
        queue: The queue that its jobs go to.
        options: What else its jobs have, as ``taskq_defer_jobs`` takes it.
        declared_by: The worker whose app said so last; None: not given.
        declared_at: When it was declared first, or otherwise than before.
    """

    event: str
    task_name: str
    queue: str
    options: Mapping[str, JsonValue]
    declared_by: str | None
    declared_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscription:
    """A subscription that an app declares.

    Attributes:
        event: The name of the event.
        job: A job of the task as each event makes one, but for its arguments.
        aliases: Earlier names of the task, whose subscriptions it takes over.
        limit_by: The arguments by which its limit has a room each, and the text of each one's default, None
            if it has none.
    """

    event: str
    job: NewJob
    aliases: Sequence[str]
    limit_by: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """An event that is about to be published.

    Attributes:
        event: Its name.
        jobs: The jobs of the subscribers that its publisher knows.
        known_names: The names and aliases of their tasks, which get no other job.
        args: What all other subscribers get.
        key_texts: Each of these as the key of a limit has it.
        metadata: What is noted about their jobs, beside what they have declared.
    """

    event: str
    jobs: Sequence[NewJob]
    known_names: Collection[str]
    args: Mapping[str, JsonValue]
    key_texts: Mapping[str, str]
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


def declare_subscriptions(
    connection: Connection, declared: Sequence[NewSubscription], *, declared_by: str
) -> list[tuple[str, str]]:
    """Write the subscriptions of an app.

    Args:
        connection: The connection.
        declared: The subscriptions.
        declared_by: The name of the worker.

    Returns:
        Those that were not there, or not like this, by event and task.
    """
    if not declared:
        return []
    rows = _querier(connection).declare_subscriptions(
        subscriptions=json.dumps(
            [
                {
                    "event": each.event,
                    "task_name": each.job.task_name,
                    "aliases": list(each.aliases),
                    "queue_name": each.job.queue_name,
                    "options": each.job.model_dump(
                        mode="json", exclude_defaults=True, exclude=_NOT_AMONG_OPTIONS
                    ),
                    "limit_by": [
                        {"argument": name} | ({} if default is None else {"default": default})
                        for name, default in each.limit_by.items()
                    ]
                    or None,
                }
                for each in declared
            ]
        ),
        declared_by=declared_by,
    )
    return [(row.event, row.task_name) for row in rows]


def publish_event(
    connection: Connection, publication: Publication, *, own_transaction: bool
) -> dict[str, int]:
    """Defer a job for each subscriber of an event, in the order of their tasks' names.

    Returns:
        The id of each by the name of its task; without those that were skipped.
    """
    jobs = bounded_document(
        to_json(publication.jobs, exclude_none=True).decode(), len(publication.jobs)
    )
    args = bounded_document(_document(publication.args), 1)
    metadata = bounded_document(_document(publication.metadata), 1)
    key_texts = _document(publication.key_texts)

    def publish(written: tuple[str, str, str, str]) -> dict[str, int]:
        jobs, args, metadata, key_texts = written
        rows = _querier(connection).publish_event(
            event=publication.event,
            jobs=jobs,
            known_names=list(publication.known_names),
            args=args,
            metadata=metadata,
            key_texts=key_texts,
            share_notification=own_transaction,
            numbers_checked=all(map(has_short_numbers, (jobs, args, metadata))),
        )
        return {row.task_name: row.id for row in rows}

    documents = (jobs, args, metadata, key_texts)
    try:
        return publish(documents)
    except UnicodeEncodeError:
        # A caller's connection has another client_encoding, and nothing was sent.
        jobs, args, metadata, key_texts = map(as_ascii, documents)
        return publish((jobs, args, metadata, key_texts))


def list_subscriptions(connection: Connection, event: str | None) -> list[Subscription]:
    """Who has subscribed to an event, or None: to any, by event and task."""
    return [
        Subscription(
            event=row.event,
            task_name=row.task_name,
            queue=row.queue_name,
            options=row.options,
            declared_by=row.declared_by,
            declared_at=row.declared_at,
        )
        for row in _querier(connection).list_subscriptions(event=event)
    ]


def remove_subscription(connection: Connection, event: str, task_name: str) -> bool:
    """End a subscription; False: there was none."""
    return bool(_querier(connection).remove_subscription(event=event, task_name=task_name))


def _document(value: Mapping[str, JsonValue]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
