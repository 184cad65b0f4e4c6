"""``taskq locks``: what is held, and what waits for it."""

from dataclasses import asdict

import click

from taskq.cli.command import Group
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
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 1_000),
    default=100,
    show_default=True,
    help="How many at most.",
)
def list_locks(settings: Settings, /, *, limit: int, json: bool) -> None:
    """List the locks that jobs hold or wait for, those with the most that wait first."""
    print_listing(
        settings.job_manager.list_locks(limit=limit),
        _COLUMNS,
        record=asdict,
        as_json=json,
        nothing="no job holds a lock or waits for one",
    )
