"""``taskq doctor``: what slows or endangers the queue."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from shlex import quote

import click
from rich.text import Text

from taskq.cli.command import command, number_option
from taskq.cli.listing import console, print_json
from taskq.cli.prose import print_command, print_hanging
from taskq.cli.settings import Settings
from taskq.cli.times import duration_option
from taskq.database.url import database_url, without_secrets
from taskq.doctor import CHECKS, Finding, Severity, Thresholds, examine
from taskq.escaping import escaped
from taskq.times import brief

_FROM = Thresholds()

_STYLES = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}

_EPILOG = "Exit codes: 0 nothing critical was found, 1 something was, or it failed."


@command(epilog=_EPILOG, example="doctor --app shop.jobs:app --waiting 5m --json", json=True)
@duration_option(
    "--held", brief(_FROM.held), "How long a transaction may keep dead rows from being removed."
)
@duration_option("--waiting", brief(_FROM.waiting), "How long a job that could run may wait.")
@duration_option(
    "--stalled", brief(_FROM.stalled), "After how long without a heartbeat a worker is dead."
)
@number_option("--chain", "N", _FROM.chain, "How many jobs may wait behind one lock.")
@number_option(
    "--dead-rows", "N", _FROM.dead_rows, "How many dead rows a table may have, whatever its size."
)
@number_option(
    "--bloat",
    "MB",
    _FROM.bloat >> 20,
    "How much room a table or an index may take beyond what its rows need.",
)
def doctor(
    settings: Settings,
    /,
    *,
    held: timedelta,
    waiting: timedelta,
    stalled: timedelta,
    chain: int,
    dead_rows: int,
    bloat: int,
    json: bool,
) -> None:
    """Say what slows or endangers the queue, and what to do about it.

    It looks at indexes, workers, queues, locks, limits, rows by hand, tasks, whatever keeps dead rows from
    being removed, vacuum, bloat and notifications. It only reads.
    """
    thresholds = Thresholds(
        held=held.total_seconds(),
        waiting=waiting.total_seconds(),
        stalled=stalled.total_seconds(),
        chain=chain,
        dead_rows=dead_rows,
        bloat=bloat << 20,
    )
    tasks = settings.tasks()
    findings = [
        replace(
            finding,
            commands=[*_commands(finding, settings.app_path, settings.database_url)],
            statements=[*finding.statements],
        )
        for finding in examine(settings.database, thresholds=thresholds, tasks=tasks)
    ]
    if json:
        print_json(map(asdict, findings))
    else:
        _print(findings)
    if any(finding.severity is Severity.CRITICAL for finding in findings):
        click.get_current_context().exit(1)


def _commands(finding: Finding, app: str | None, database: str | None) -> Iterator[str]:
    """The command lines of a remedy, for a shell, on the same app and database."""
    on_app = f" --app {quote(app)}" if app is not None else ""
    options = (
        on_app
        if database is None
        else f"{on_app} --database {quote(without_secrets(database_url('the database', database)))}"
    )
    for line in finding.commands:
        if line.split()[0] == "worker":  # which has the app's database, and no other
            yield f"python -m taskq {escaped(line)}{on_app or ' --app module.path:attribute'}"
        else:
            yield f"python -m taskq {escaped(line)}{options}"
    for statement in finding.statements:
        yield f"python -m taskq database{options} -- --command {quote(escaped(statement))}"


def _print(findings: Sequence[Finding]) -> None:
    terminal = console()
    for finding in findings:
        severity = Text(f"{finding.severity:10}", _STYLES[finding.severity])
        print_hanging(terminal, severity, f"{finding.check}: {escaped(finding.what)}")
        if finding.remedy != "; ".join(finding.statements):
            print_hanging(terminal, Text(f"{'':10}"), f"→ {escaped(finding.remedy)}", "dim")
        for line in finding.commands:
            print_command(terminal, Text(f"            {line}"))
    troubled = {finding.check for finding in findings}
    if well := [name for name in CHECKS if name not in troubled]:
        terminal.print(Text(f"well: {', '.join(well)}"))
    counts = Counter(finding.severity for finding in findings)
    terminal.print(
        Text(", ".join(f"{counts[severity]} {severity}" for severity in Severity), "bold")
    )
