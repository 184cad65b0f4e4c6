"""What the database refuses, as taskq's own exceptions."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from psycopg import Error, errors
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from taskq.exceptions import (
    AlreadyEnqueued,
    DatabaseUnavailable,
    InvalidDatabase,
    InvalidJob,
    JobNotFound,
    NotPermitted,
    SchemaNotApplied,
    TaskqException,
)
from taskq.job import NewJob
from taskq.messages import first_line
from taskq.queries.encodings import explain, unstorable
from taskq.queries.rows import too_large

_MISSING = (
    errors.UndefinedTable,
    errors.UndefinedFunction,
    errors.UndefinedColumn,
    errors.UndefinedObject,
)
_QUERY_CANCELED = "57014"
_FAILED_BEFORE = (
    "the transaction of this connection or session failed before, and the database takes nothing more in it: "
    "roll it back first, to a savepoint or as a whole"
)
_QUEUEING_LOCK_INDEX = "taskq_jobs_queueing_lock"


class Named(Protocol):
    """A database, as messages name it: by its ``repr``, and by what said that it is this one."""

    origin: str


@contextmanager
def translated(database: Named | None = None) -> Iterator[None]:
    """Turn errors of the database into taskq's, where they say what a user can do.

    Args:
        database: Which one it is, to be named where it does not answer; None: a caller's connection says.
    """
    try:
        yield
    except PendingRollbackError as error:
        raise InvalidDatabase(_FAILED_BEFORE) from error
    except (DBAPIError, Error) as error:
        known = _translate(error.orig if isinstance(error, DBAPIError) else error)
        if known is None:
            raise
        if database is not None and isinstance(known, DatabaseUnavailable):
            known = DatabaseUnavailable(f"{known} ({database!r}, {database.origin})")
        raise known from error


def _translate(raised: BaseException | None) -> TaskqException | None:
    error = as_psycopg(raised)
    match error:
        case errors.UniqueViolation() if (
            _diagnostic(raised, "constraint_name") == _QUEUEING_LOCK_INDEX
        ):
            return _already_enqueued(_diagnostic(raised, "message_detail", "detail") or "")
        case errors.UntranslatableCharacter():
            return InvalidDatabase(explain(error))
        case Error() if is_too_large(error):
            return too_large(first_line(error))
        case errors.InvalidTextRepresentation() if "json" in str(error):
            return InvalidJob(f"it holds what JSON cannot carry: {first_line(error)}")
        # By a constraint of the table, or by taskq_defer_jobs.
        case errors.CheckViolation() | errors.InvalidParameterValue() if "taskq_" in str(error):
            return InvalidJob(f"the database refuses the job: {first_line(error)}")
        case errors.InFailedSqlTransaction():
            return InvalidDatabase(_FAILED_BEFORE)
        case errors.InvalidSchemaName():
            return InvalidDatabase(
                f"search_path names no namespace that exists ({first_line(error)}): create it, or "
                "name another one"
            )
        case errors.InsufficientPrivilege():
            return NotPermitted(
                f"the database refuses it: {first_line(error)}; connect as another role, or have the "
                "owner of the schema run what python -m taskq schema grants prints for this one"
            )
        case errors.NumericValueOutOfRange():
            return JobNotFound(f"no job can have that id ({first_line(error)})")
        case errors.OperationalError() if "unsupported startup parameter" in str(error):
            return InvalidDatabase(
                f"a pooler answers, which takes no settings of a session ({first_line(error)}): say that "
                "there is one, by App(pooler=True) or ?pooler=true in the URL"
            )
        case errors.OperationalError() if _is_unavailable(error):
            return DatabaseUnavailable(f"the database does not answer: {first_line(error)}")
    if isinstance(error, _MISSING) and "taskq_" in str(error):
        return SchemaNotApplied(
            f"the database has not the schema that this version of taskq needs "
            f"({first_line(error)}): run python -m taskq schema apply, or "
            "app.schema_manager.apply_schema()"
        )
    return None


@contextmanager
def naming(jobs: Sequence[NewJob]) -> Iterator[None]:
    """Name the job and its value that has a text which the database cannot store."""
    try:
        yield
    except (DBAPIError, Error) as error:
        raised = as_psycopg(error.orig if isinstance(error, DBAPIError) else error)
        if isinstance(raised, errors.UntranslatableCharacter) and (
            named := unstorable(jobs, raised)
        ):
            raise named from error
        raise


def is_too_large(error: Error) -> bool:
    """Whether PostgreSQL ran into a bound of jsonb, or its own of 1 GB, as with 17 million small elements."""
    if isinstance(error, errors.ProgramLimitExceeded):
        return "jsonb" in str(error)
    return "invalid memory alloc request size" in str(error)


def is_refusal(error: Exception) -> bool:
    """Whether a write failed because of what was to be written, and not at a bad moment.

    Only that makes a job fail whose task did not: a deadlock, a standby that is read-only, a table that
    is being migrated pass by.
    """
    cause = error if isinstance(error, Error) else error.__cause__
    if not isinstance(cause, Error):
        return cause is None  # it could not even be sent
    if isinstance(cause, errors.DataError | errors.IntegrityError):
        return True
    # Too long for the server, or a trigger's own objection.
    return is_too_large(cause) or (cause.sqlstate or "").startswith(("54", "P0"))


def is_outdated(error: BaseException) -> bool:
    """Whether a session has prepared what is not there any more, so that it fails there for ever.

    As where the schema was dropped and applied anew, and its types are others by the same names.
    """
    return isinstance(error, errors.FeatureNotSupported | errors.InvalidSqlStatementName)


def as_psycopg(error: BaseException | None) -> BaseException | None:
    """What psycopg would raise for an error of another driver of a caller's, such as asyncpg or psycopg2."""
    if error is None or isinstance(error, Error):
        return error
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    try:
        return errors.lookup(state)(str(error.__cause__ or error)) if state else error
    except KeyError:
        return error


def _diagnostic(error: BaseException | None, *names: str) -> str | None:
    # What the server said beside its message, where each of the drivers keeps it.
    for place in (getattr(error, "diag", None), getattr(error, "__cause__", None)):
        for name in names:
            if value := getattr(place, name, None):
                return str(value)
    return None


def _is_unavailable(error: Error) -> bool:
    # Not a deadlock, a serialization failure or a timeout: a caller's own transaction has to see those.
    state = error.sqlstate
    return state is None or (state[:2] in {"08", "53", "57"} and state != _QUERY_CANCELED)


def _already_enqueued(detail: str) -> AlreadyEnqueued | None:
    # From taskq_defer_jobs. A message of the server's own does not begin like this.
    if detail.startswith("{"):
        waiting = json.loads(detail)
        return AlreadyEnqueued(waiting["queueing_lock"], waiting["job_id"])
    # From the unique index, for one that came in the same moment or the same batch, in whatever
    # language the server speaks.
    if key := re.search(r"\(queueing_lock\)=\((.*)\)", detail, re.DOTALL):
        return AlreadyEnqueued(key[1], None)
    return None
