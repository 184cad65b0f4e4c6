"""Counters for those who watch."""

from sqlalchemy import Connection

from taskq_sql import stats

Traffic = stats.GetTrafficRow


def get_traffic(connection: Connection) -> Traffic:
    """Two counters that grow as jobs are deferred and as attempts fail."""
    [row] = stats.Querier(connection).get_traffic()
    return row
