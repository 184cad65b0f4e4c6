"""The job manager: what may be done to jobs, each operation in a sync and an async face."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlalchemy import Connection, Engine

from taskq.manager.changing import Changing
from taskq.manager.connections import borrowed, pooled, reading
from taskq.manager.reading import Reading
from taskq.manager.working import Working


class JobManager(Reading, Changing, Working):
    """Operates on the jobs of one database. Each method has an async face, named ``…_async``.

    Every operation takes ``connection``, in whose transaction it then happens: a SQLAlchemy
    ``Connection`` or ``Session``, or a ``psycopg.Connection``; for the async face their async twins.
    Without one it is a round trip of its own.

    All of them raise ``SchemaNotApplied`` on a database without taskq's schema, and
    ``DatabaseUnavailable`` if the database does not answer.

    Args:
        database: Where the jobs are.
    """

    def _connect(self, engine: Engine) -> AbstractContextManager[Connection]:
        # A caller's own may have listeners for what it executes.
        if self.database.made(engine):
            return pooled(engine)
        return _connected(engine, pooler=self.database.pooler)


@contextmanager
def _connected(engine: Engine, *, pooler: bool) -> Iterator[Connection]:
    with borrowed(engine, pooler=pooler) as connection, reading(connection):
        yield connection
