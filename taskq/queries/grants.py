"""What lets a role do one kind of work and nothing else."""

from taskq.queries.connection import on_any
from taskq_sql import grants

grant_queries = on_any(grants.Querier)
