"""The schema: what taskq has in the database, how it comes there, and how it changes."""

from taskq.schema.manager import SchemaManager
from taskq.schema.migration import Migration, Phase, migrations_folder, read_migrations
from taskq.schema.operations import RoleKind
from taskq.schema.status import MigrationState, MigrationStatus

__all__ = [
    "Migration",
    "MigrationState",
    "MigrationStatus",
    "Phase",
    "RoleKind",
    "SchemaManager",
    "migrations_folder",
    "read_migrations",
]
