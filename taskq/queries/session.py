"""What is set on the sessions of taskq's own connections."""

import json
from collections.abc import Mapping
from datetime import datetime

from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import only_row
from taskq_sql import session

_querier = on_any(session.Querier)


def prepare_session(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set what a session relies on, for as long as it lasts; what its server does not know is left out."""
    _querier(connection).prepare_session(settings=json.dumps(dict(settings)))


def ping(connection: Connection) -> None:
    """Ask for a sign of life."""
    _querier(connection).ping_session()


def listen(connection: Connection) -> None:
    """Have a connection receive the notifications for workers."""
    _querier(connection).listen_session()


def get_server_time(connection: Connection) -> datetime:
    """The server's clock, which the times of jobs go by."""
    return only_row(_querier(connection).get_server_time())
