"""The schema, applied with Django's own migrations.

Not by migrations of Django's: they would have to be as many as taskq's, in step with them, and know nothing
of their two phases. What is left to apply, taskq finds out by itself.
"""

from typing import Any

from taskq.contrib.django.application import get_app, made_apps
from taskq.contrib.django.configuration import read_configuration


def apply_after_migrate(*, using: str, verbosity: int = 1, **_: Any) -> None:
    """Apply what the database of the jobs lacks, when ``manage.py migrate`` has migrated that."""
    configuration = read_configuration()
    if configuration.migrate == "nothing" or using not in jobs_databases():
        return
    app = get_app(using)
    try:
        applied = app.schema_manager.apply_schema(pre_only=configuration.migrate == "pre")
    finally:
        # A test run drops its database afterwards, which nothing else may be connected to.
        app.close()
    for migration in applied if verbosity >= 1 else ():
        print(f"  Applied {migration.name} of taskq")


def jobs_databases() -> set[str]:
    """The aliases of the databases that have jobs: of the settings, and of those asked for by ``get_app``."""
    return {read_configuration().database, *made_apps()}
