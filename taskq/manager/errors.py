"""What the database refuses, as taskq's own exceptions."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import errors
from sqlalchemy.exc import DBAPIError

from taskq.exceptions import DatabaseUnavailable, InvalidJob, SchemaNotApplied, TaskqException

_MISSING = (errors.UndefinedTable, errors.UndefinedFunction, errors.UndefinedColumn)


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the database into taskq's, where they say what a user can do."""
    try:
        yield
    except DBAPIError as error:
        known = _translate(error)
        if known is None:
            raise
        raise known from error


def _translate(error: DBAPIError) -> TaskqException | None:
    cause = error.orig
    if isinstance(cause, _MISSING) and "taskq_" in str(cause):
        return SchemaNotApplied(
            f"the database has not the schema that this version of taskq needs "
            f"({_first_line(cause)}): run python -m taskq schema apply, or "
            "app.schema_manager.apply_schema()"
        )
    if isinstance(cause, errors.CheckViolation):
        return InvalidJob(f"the database refuses the job: {_first_line(cause)}")
    if isinstance(cause, errors.OperationalError):
        return DatabaseUnavailable(f"the database does not answer: {_first_line(cause)}")
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
