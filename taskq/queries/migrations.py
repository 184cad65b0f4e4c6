"""The schema: what is there, and the scripts that change it; ``taskq.schema`` runs them in order."""

from taskq.queries.connection import on_any
from taskq_sql import migrations

migration_queries = on_any(migrations.Querier)
