"""The schema: what is there, and the scripts that change it; ``taskq.schema`` runs them in order."""

from collections.abc import Callable

from taskq.queries.connection import Connection, on_any
from taskq_sql import migrations, models

migration_queries: Callable[[Connection], migrations.Querier] = on_any(migrations.Querier)

# What a database says of a migration that it has.
Recorded = models.TaskqMigration
