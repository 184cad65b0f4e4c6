"""Counters for those who watch."""

from taskq.queries.connection import Connection, on_any
from taskq_sql import stats

_querier = on_any(stats.Querier)

Traffic = stats.GetTrafficRow


def get_traffic(connection: Connection) -> Traffic:
    """Two counters that grow as jobs are deferred and as attempts fail."""
    [row] = _querier(connection).get_traffic()
    return row


def list_figures(connection: Connection, *, stalled_after: float) -> dict[tuple[str, str], float]:
    """What metrics say of the queue as a whole, by figure and by what it is of.

    Args:
        connection: The connection.
        stalled_after: Seconds without a heartbeat after which a worker does not count.
    """
    rows = _querier(connection).list_figures(stalled_after=stalled_after)
    return {(row.figure, row.label): row.value for row in rows}
