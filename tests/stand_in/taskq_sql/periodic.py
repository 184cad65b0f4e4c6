"""The queries of sql/queries/periodic.sql."""

from typing import Any

from taskq_sql._querier import querier_of

Querier: Any = querier_of("periodic")
