"""What the demo says to run next: commands to paste, which reach the same database from any terminal."""

import json
import os

from psycopg.pq import Conninfo

from taskq.cli.demo.printing import command, say, word
from taskq.cli.demo.tasks import app
from taskq.database.database import URL_VARIABLE
from taskq.database.url import database_url, without_secrets
from taskq.embedded import FOLDER_VARIABLE
from taskq.job import Job

_PROGRAM = "python -m taskq"
_ON_APP = "--app taskq.cli.demo.tasks"


def print_hints(job: Job, *, named: str | None) -> None:
    """Print how to look at a run, and how to do the same by hand.

    Args:
        job: One of its jobs, to be shown and to be deferred again.
        named: The database, if the command line named it, which no terminal's environment does then.
    """
    _print_exports(named)
    say("To look at what came of it, where the jobs stay:")
    command(f"{_PROGRAM} queues list {_ON_APP}")
    command(f"{_PROGRAM} jobs list {_ON_APP} --newest-first --limit 10")
    command(f"{_PROGRAM} jobs show {job.id} {_ON_APP}")
    say("To do it by hand, defer a job in one terminal:")
    command(f"{_PROGRAM} defer {_ON_APP} {job.task_name} {word(json.dumps(job.task_kwargs))}")
    say("and run a worker in another, until Ctrl-C ends it:")
    command(f"{_PROGRAM} worker {_ON_APP}")


def _print_exports(named: str | None) -> None:
    exports: dict[str, str] = {}
    kept: list[str] = []  # variables whose values nothing prints
    if app.database.embedded_folder is None:
        for variable, is_secret in _libpq_variables().items():
            if is_secret:
                kept.append(variable)
            else:
                exports[variable] = os.environ[variable]
        if url := named or os.environ.get(URL_VARIABLE):
            shown = without_secrets(database_url(URL_VARIABLE, url))
            if "***" in shown and named is None:
                kept.append(URL_VARIABLE)
            else:
                exports[URL_VARIABLE] = shown
    elif os.environ.get(FOLDER_VARIABLE):
        exports[FOLDER_VARIABLE] = str(app.database.embedded_folder)
    if exports:
        say("In each terminal, name the database before:")
    for variable, value in exports.items():
        command(f"export {variable}={word(value)}")
    if "***" in exports.get(URL_VARIABLE, ""):
        say("Write the password in the place of ***.")
    if kept:
        say(f"With a password in it, and so not shown: set {' and '.join(kept)} as it is here.")


def _libpq_variables() -> dict[str, bool]:
    """Those of libpq's variables that are set, and whether each holds a secret."""
    known = {
        option.envvar.decode(): option.dispchar == b"*"
        for option in Conninfo.get_defaults()
        if option.envvar
    }
    known["PGSERVICEFILE"] = False  # no parameter of a connection
    return {name: is_secret for name, is_secret in known.items() if os.environ.get(name)}
