"""Counters for those who watch."""

from taskq.queries.connection import Connection, on_any
from taskq_sql import stats

_querier = on_any(stats.Querier)

Traffic = stats.GetTrafficRow


def get_traffic(connection: Connection) -> Traffic:
    """Two counters that grow as jobs are deferred and as attempts fail."""
    [row] = _querier(connection).get_traffic()
    return row
