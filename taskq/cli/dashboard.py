"""``taskq dashboard``: the web dashboard, served by this process."""

import ipaddress
import signal
import sys
from collections.abc import Sequence

import click

from taskq.app import App
from taskq.cli import logs
from taskq.cli.command import command, number_option
from taskq.cli.settings import Settings

_EPILOG = "Without --user and --password it is for looking alone, and on this machine alone."

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@command(
    epilog=_EPILOG, example="dashboard --app shop.jobs:app --user ada", own_options_first=False
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at; another than this machine's own needs --user and --password.",
)
@number_option("--port", "N", 8090, "The port to listen at.", at_least=0, at_most=65_535)
@click.option("--user", metavar="NAME", help="Who may operate, by HTTP's basic authentication.")
@click.option(
    "--password",
    metavar="SECRET",
    help="Their password; in the variable TASKQ_DASHBOARD_PASSWORD, where no list of processes shows it.",
)
@click.option(
    "--root-path",
    metavar="PATH",
    default="",
    help="The prefix that a proxy in front takes off, as in /jobs.",
)
@click.option(
    "--trusted-host",
    metavar="NAME",
    multiple=True,
    help="A name by which it may be asked for without a password, such as that of a proxy in front.",
)
def dashboard(
    settings: Settings,
    /,
    *,
    host: str,
    port: int,
    user: str | None,
    password: str | None,
    root_path: str,
    trusted_host: Sequence[str],
) -> None:
    """Serve the web dashboard, until Ctrl-C ends it."""
    try:
        import uvicorn  # noqa: PLC0415 - an extra, like the next one

        from taskq.contrib.dashboard import Dashboard, PasswordAccess  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(
            f"the dashboard needs {error.name or 'more packages'}, which is not installed: "
            "pip install 'taskq-sql[dashboard]'"
        ) from error
    if (user is None) != (password is None):
        raise click.UsageError(
            "--user and --password go together: give both, the password in the variable "
            "TASKQ_DASHBOARD_PASSWORD"
        )
    if user is None and not _is_loopback(host):
        raise click.UsageError(
            f"at {host} others could look at the jobs: give --user and --password (in the variable "
            "TASKQ_DASHBOARD_PASSWORD), or leave --host out and put a proxy in front that asks who it is"
        )
    logs.set_up(verbose=settings.verbose)
    application = Dashboard(
        _app(settings),
        authorize=None if user is None or password is None else PasswordAccess(user, password),
        hosts=None if user is not None else (*_LOOPBACK, *trusted_host),
    )
    # Once stopped, uvicorn ends by the signal itself, and so without what is done at exit: an embedded server
    # would run on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        application,
        host=host,
        port=port,
        root_path=root_path.rstrip("/"),
        # By the logging that is set up; each request is no news.
        log_config=None,
        access_log=settings.verbose,
        server_header=False,
        # Live pages never end by themselves.
        timeout_graceful_shutdown=2,
    )


def _app(settings: Settings) -> App:
    """The app, on the database that is named; without one there are no tasks to show."""
    # Refuses now a database on which nothing could be shown.
    settings.schema_manager.check()
    if settings.app_path is None:
        app = App()
    else:
        app = settings.app()
        app.perform_import_paths()
    app.move(settings.database)
    return app


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
