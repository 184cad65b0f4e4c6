"""``taskq locks``: what is held, and what waits for it."""

import click

from taskq.cli.command import Group, number_option
from taskq.cli.listing import Column, print_listing
from taskq.cli.settings import Settings
from taskq.queries.job_count import LockState

_COLUMNS: list[Column[LockState]] = [
    Column("lock", lambda state: state.lock),
    Column("waiting", lambda state: state.waiting),
    Column(
        "held by job",
        lambda state: None if state.held_by is None else str(state.held_by),
        is_cut=False,
    ),
]


@click.group(cls=Group)
def locks() -> None:
    """Look at the locks."""


@locks.command("list", example="locks list --limit 10", json=True)
@number_option("--limit", "N", 100, "How many at most.", at_most=1_000)
def list_locks(settings: Settings, /, *, limit: int, json: bool) -> None:
    """List the locks that jobs hold or wait for, those with the most that wait first."""
    print_listing(
        settings.job_manager.list_locks(limit=limit),
        _COLUMNS,
        as_json=json,
        nothing="no job holds a lock or waits for one",
    )
