"""``taskq worker``: runs jobs."""

import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from taskq.app import App
from taskq.cli import logs
from taskq.cli.command import command
from taskq.cli.settings import Settings
from taskq.supervisor.exit_codes import INTERRUPTED
from taskq.supervisor.variable import SUPERVISED
from taskq.worker import Worker
from taskq.worker.event_loop import run_to_end
from taskq.worker.options import ENVIRONMENT_PREFIX
from taskq.worker.process_pool.pool import available_cores

if TYPE_CHECKING:
    from taskq.supervisor.supervised import Supervised

_MOST_PROCESSES = 1000

_EPILOG = """\
An option wins over its variable, and that over the app's worker_defaults.

Ctrl-C or SIGTERM lets running jobs finish. A second one leaves at once: they go back into the queue.

Exit codes: 0 it stopped as asked, or with --no-wait no job was left; 1 it failed; 2 the command line
or the app is wrong; 130 a second signal came and it left at once. With --processes the same holds for
all together.
"""


def _option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    # None is "not given": WorkerOptions says what holds then, and what makes sense. It reads the variables
    # too, for workers that no command line starts, and names them if they make none.
    return click.option(*names, default=None, allow_from_autoenv=False, **attributes)


def _read_processes(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> int | None:
    if value is None:
        return None
    if value == "auto":
        return available_cores()
    if value.isdecimal() and 1 <= int(value) <= _MOST_PROCESSES:
        return int(value)
    raise click.BadParameter(
        f"{value!r} is no number from 1 to {_MOST_PROCESSES}, nor auto", context, parameter
    )


@command(
    epilog=_EPILOG,
    example="worker --app shop.jobs:app --queues mail,default --concurrency 20",
    database=False,
)
@_option("--queues", metavar="NAMES", help="The queues to serve, with commas between; else all.")
@_option("--name", metavar="NAME", help="What it is called in logs and lists; else worker.")
@_option("--concurrency", metavar="N", help="How many jobs run side by side; else 1.")
@click.option(
    "--processes",
    metavar="auto|N",
    callback=_read_processes,
    help="How many processes to run, of a worker each, and to start again when one dies; auto: one "
    "for each core. Else this one is the worker.",
)
@_option("--wait/--no-wait", help="Whether to wait for more when no job is left, or to end.")
@_option(
    "--fetch-job-polling-interval",
    metavar="SECONDS",
    help="How often to look for jobs without having been notified; else 5.",
)
@_option(
    "--abort-job-polling-interval",
    metavar="SECONDS",
    help="How often to look for jobs that are to be aborted; else 5.",
)
@_option(
    "--shutdown-graceful-timeout",
    metavar="SECONDS",
    help="How long running jobs may take to finish after Ctrl-C; else as long as they need.",
)
@_option("--listen-notify/--no-listen-notify", help="Whether to hear of new jobs at once.")
@_option(
    "--listen-database",
    metavar="URL",
    help="Where to hear of them, if the app's database is behind a pooler that keeps no sessions.",
)
@_option(
    "--delete-jobs",
    metavar="never|successful|always",
    help="Which jobs to delete when they have ended; else never.",
)
@_option(
    "--retention",
    metavar="STATUS=DURATION,…",
    help="How long jobs are kept that have ended, as in succeeded=1d,failed=4w; else for ever.",
)
@_option(
    "--install-signal-handlers/--no-install-signal-handlers",
    help="Whether Ctrl-C and SIGTERM stop it as said below.",
)
@_option(
    "--update-heartbeat-interval", metavar="SECONDS", help="How often to say it is alive; else 10."
)
@_option(
    "--stalled-worker-timeout",
    metavar="SECONDS",
    help="After how long without a heartbeat another worker is dead; else 30.",
)
@_option(
    "--blocked-loop-timeout",
    metavar="SECONDS",
    help="How long a task may block the event loop before others take over the jobs; else 300.",
)
@_option(
    "--unknown-job-timeout",
    metavar="SECONDS",
    help="How long a job goes back for other workers whose task this one does not know; else 300.",
)
@_option(
    "--max-crashes",
    metavar="N",
    help="How many workers a job may take down before it has failed; else 3.",
)
@_option(
    "--max-transactions",
    metavar="N",
    help="How many transactions of tasks are open at once; else 10.",
)
@_option(
    "--max-jobs",
    metavar="N",
    help="How many jobs to run before it ends; else any number.",
)
@_option(
    "--max-seconds",
    metavar="SECONDS",
    help="After how long to stop, as by a signal; else never.",
)
@_option(
    "--max-task-processes",
    metavar="N",
    help="How many processes to keep for tasks that ask for one; else one for each core.",
)
@_option(
    "--loop",
    metavar="auto|asyncio|uvloop",
    help="Which event loop to run on; else uvloop's if it is installed.",
)
@_option(
    "--http",
    metavar="[HOST:]PORT",
    help="Where to answer /livez, /readyz and /metrics; of this machine alone without a host.",
)
@_option(
    "--prefetch",
    metavar="auto|N",
    help="How many jobs to claim beyond those that can start at once; else auto.",
)
def worker(settings: Settings, /, processes: int | None, **given: Any) -> None:
    """Run jobs of the app's tasks until it is told to stop."""
    # It is the command's alone, and no option of a worker.
    os.environ.pop(f"{ENVIRONMENT_PREFIX}PROCESSES", None)
    supervised = _supervised()
    if processes is not None and supervised is None:
        click.get_current_context().exit(_supervise(settings, processes))
    app = settings.app()
    logs.set_up(verbose=settings.verbose, of_several=supervised is not None)
    options = {name: value for name, value in given.items() if value is not None}
    running = app.worker(**options)
    if supervised is not None:
        http = running.options.http
        name = f"{running.options.name}-{supervised.number}"
        running = app.worker(**options | {"name": name, "http": None})
        supervised.take(running, http)
    run_to_end(running, _run(app, running, supervised))


def _supervised() -> "Supervised | None":
    if SUPERVISED not in os.environ:
        return None
    # Not imported by commands and workers that have nothing to do with it.
    from taskq.supervisor.supervised import Supervised  # noqa: PLC0415

    return Supervised.of(os.environ)


def _supervise(settings: Settings, processes: int) -> int:
    from taskq.supervisor.supervisor import Supervisor  # noqa: PLC0415

    logs.set_up(verbose=settings.verbose, of_several=True)
    # What this process was started by, so that each of the others is started in the same way.
    return Supervisor(sys.orig_argv[1:], processes).run()


async def _run(app: App, running: Worker[App], supervised: "Supervised | None") -> None:
    database = app.database
    try:
        await running.run()
    finally:
        await database.dispose_async()
        # Not close_async: it needs a thread, and tasks that do not end may have all of them.
        app.close()
    if running.has_left:
        leave_at_once()
    if supervised is not None:
        supervised.ended()


def leave_at_once() -> NoReturn:
    """End this process now, whatever its threads do.

    The interpreter would wait for every thread, and a sync task that does not end cannot be ended.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)
