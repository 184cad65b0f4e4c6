"""The schema: what is there, and the scripts that change it; ``taskq.schema`` runs them in order."""

from taskq.queries.connection import on_any
from taskq_sql import migrations, models

migration_queries = on_any(migrations.Querier)

# What a database says of a migration that it has.
Recorded = models.TaskqMigration
