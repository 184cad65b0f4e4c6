"""What a command line says beside the command's own options: the app, the database, how much to print."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click

from taskq.app import App
from taskq.database.database import Database
from taskq.exceptions import LoadFromPathError, TaskqException
from taskq.manager import JobManager
from taskq.schema import SchemaManager
from taskq.task import Task

APP_VARIABLE = "TASKQ_APP"


@dataclass
class Settings:
    """The options that commands share, and what a command opens by them, which is closed when it ends.

    Attributes:
        app_path: Where the app is.
        database_url: The database that ``--database`` names.
        database_origin: Where that comes from; for messages.
        verbose: Whether to show tracebacks and debug logs.
    """

    app_path: str | None = None
    database_url: str | None = None
    database_origin: str = ""
    verbose: bool = False

    def app(self) -> App:
        """Import the app; modules of the working directory can be imported.

        Raises:
            LoadFromPathError: The path leads to no app.
            UsageError: There is no path.
        """
        if self.app_path is None:
            raise click.UsageError(
                "which app? Say it with --app module.path:attribute, as in --app shop.jobs:app, or "
                f"in the variable {APP_VARIABLE}"
            )
        # As `python -m` has it, also for the program that pip installs.
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            return App.from_path(self.app_path)
        except TaskqException:
            raise
        except (Exception, SystemExit) as error:
            raise LoadFromPathError(
                f"the app {self.app_path!r} cannot be imported: its module raises "
                f"{type(error).__name__}: {error}; mend that (-v shows where)"
            ) from error

    def tasks(self) -> Mapping[str, Task[..., Any]] | None:
        """The app's tasks by name and alias, its ``import_paths`` imported; None if no app is named."""
        if self.app_path is None:
            return None
        app = self.app()
        app.perform_import_paths()
        return app.tasks

    @cached_property
    def database(self) -> Database:
        """The database: the one that is named, or else the app's, or else the environment's.

        Raises:
            InvalidDatabase: It is not one that taskq can use.
            DatabaseNotConfigured: None is named anywhere, and there is no embedded server.
        """
        if self.database_url is None and self.app_path is not None:
            database = self.app().database
        else:
            database = Database.resolve(self.database_url)
        if self.database_url is not None:
            database.origin = self.database_origin
        click.get_current_context().call_on_close(database.close)
        return database

    @cached_property
    def schema_manager(self) -> SchemaManager:
        """The schema of that database."""
        return SchemaManager(self.database)

    @cached_property
    def job_manager(self) -> JobManager:
        """The jobs in that database, on which this version of taskq is known to run.

        Raises:
            SchemaNotApplied: It lacks what this version of taskq needs.
            SchemaTooNew: A newer version has taken away what this one needs.
            MigrationEdited: It has another migration of a number.
        """
        self.schema_manager.check()
        return JobManager(self.database)
