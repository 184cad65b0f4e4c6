"""What lets a role do one kind of work and nothing else."""

from collections.abc import Callable

from taskq.queries.connection import Connection, on_any
from taskq_sql import grants

grant_queries: Callable[[Connection], grants.Querier] = on_any(grants.Querier)
