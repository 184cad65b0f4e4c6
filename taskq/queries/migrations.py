"""The schema: what is there, and the scripts that change it; ``taskq.schema`` runs them in order."""

from taskq_sql import migrations

MigrationQueries = migrations.Querier
