"""Text that an encoding lacks: the database's own, or the UTF8 that taskq speaks with it."""

import json
import re
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg._encodings import pg2pyenc
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.errors import NotSupportedError, UntranslatableCharacter
from psycopg.pq import TransactionStatus

from taskq.exceptions import InvalidArguments, InvalidJob, InvalidName, TaskqException
from taskq.job import OPTION_NAMES, NewJob
from taskq.messages import first_line, short_repr
from taskq.queries.connection import Driver
from taskq.unreadable import UnreadableJson, read_json

_BYTES = re.compile(r"\b0x[0-9a-f]{2}(?: 0x[0-9a-f]{2})*")

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")

_TEXT_TYPES = ("text", "varchar", "bpchar", "name")

_REMEDY = "leave it out, or use a database with ENCODING 'UTF8'"


def encoding_of(driver: Driver) -> str:
    """The encoding of the database, by PostgreSQL's name."""
    return driver.info.parameter_status("server_encoding") or "UTF8"


def codec_of(encoding: str) -> str | None:
    """What Python calls an encoding; None if it does not have it."""
    try:
        return pg2pyenc(encoding.encode())
    except NotSupportedError:
        return None


def storable(text: str, codec: str) -> str:
    """A text with what an encoding lacks as escape sequences: ``猫`` as ``\\u732b``."""
    return text.encode(codec, "backslashreplace").decode(codec)


def as_ascii(document: str) -> str:
    """The same JSON in characters that every encoding has."""
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], document)


def explain(error: UntranslatableCharacter) -> str:
    """What to say of text that one of the encodings lacks."""
    character = _character(error)
    what = "a text" if character is None else repr(character)
    return (
        f"{what} cannot be converted between the encodings of the database and of the client "
        f"({first_line(error)}): have both be UTF8, or leave it out"
    )


def unstorable(jobs: Sequence[NewJob], error: UntranslatableCharacter) -> TaskqException | None:
    """What to raise for jobs with a text that the database's encoding lacks; None if it is not theirs."""
    character = _character(error)
    if character is None:
        return None
    why = f"has {character!r}, which the encoding of the database lacks ({first_line(error)}): {_REMEDY}"
    for job in jobs:
        for field in ("task_name", "queue_name", "lock", "queueing_lock", "idempotency_key"):
            value = getattr(job, field)
            if value is not None and character in value:
                return InvalidName(f"{OPTION_NAMES.get(field, field)}={short_repr(value)} {why}")
        for name, value in job.args.items():
            if character in json.dumps({name: value}, ensure_ascii=False, default=str):
                return InvalidArguments(f"{job.task_name}: {name}={short_repr(value)} {why}")
        for option, labels in (("metadata", job.metadata), ("tags", job.tags)):
            if character in json.dumps(labels, ensure_ascii=False, default=str):
                return InvalidJob(f"{option}={short_repr(labels)} {why}")
    return None


def native_encoding(driver: Driver, error: UntranslatableCharacter) -> str | None:
    """The encoding to read with what UTF8 lacks; None if that is not the reason, or not possible."""
    encoding = encoding_of(driver)
    is_idle = driver.info.transaction_status is TransactionStatus.IDLE
    if driver.autocommit and is_idle and _was_read(error) and codec_of(encoding):
        return encoding
    return None


def register_native_loaders(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> None:
    """Have a cursor read text in the encoding of its session, whatever is in it."""
    codec = cursor.connection.info.encoding

    class NativeText(Loader):
        def load(self, data: Buffer) -> str:
            return bytes(data).decode(codec, "backslashreplace")

    class NativeJson(Loader):
        def load(self, data: Buffer) -> Any:
            try:
                return read_json(bytes(data).decode(codec))
            except UnicodeDecodeError as error:
                return UnreadableJson(bytes(data).decode(codec, "backslashreplace"), str(error))

    for name in _TEXT_TYPES:
        cursor.adapters.register_loader(name, NativeText)
    cursor.adapters.register_loader("jsonb", NativeJson)


def _character(error: UntranslatableCharacter) -> str | None:
    # It says the bytes of the encoding that has it.
    found = _BYTES.search(str(error))
    if found is None or _was_read(error):
        return None
    try:
        return bytes.fromhex(found[0].replace("0x", "")).decode()
    except UnicodeDecodeError:
        return None


def _was_read(error: UntranslatableCharacter) -> bool:
    # It says from which encoding to which, in whatever language the server speaks.
    source, _, _ = str(error).partition("UTF8")
    return _BYTES.search(source) is not None and re.search(r"[A-Z][A-Z0-9_]+", source) is not None
