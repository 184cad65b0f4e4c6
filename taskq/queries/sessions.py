"""What is set on the sessions of taskq's own connections."""

import json
from collections.abc import Mapping

from sqlalchemy import Connection

from taskq_sql import sessions


def prepare_session(connection: Connection, settings: Mapping[str, str]) -> None:
    """Set what a session relies on, for as long as it lasts; what its server does not know is left out."""
    sessions.Querier(connection).prepare_session(settings=json.dumps(dict(settings)))
