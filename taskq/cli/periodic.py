"""``taskq periodic``: what the workers defer by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from taskq.cli.command import Group
from taskq.cli.listing import Column, print_listing
from taskq.cli.settings import Settings
from taskq.cli.times import server_now
from taskq.periodic import Periodic


@dataclass(frozen=True, slots=True)
class _Period:
    declared: Periodic
    next_at: datetime
    last_at: datetime | None


_COLUMNS: list[Column[_Period]] = [
    Column("task", lambda period: period.declared.task.name),
    Column("cron", lambda period: period.declared.cron),
    Column("time zone", lambda period: str(period.declared.timezone)),
    Column("periodic id", lambda period: period.declared.periodic_id),
    Column("next", lambda period: period.next_at),
    Column("last deferred", lambda period: period.last_at or "never", is_cut=False),
]


@click.group(cls=Group)
def periodic() -> None:
    """Show the periodic tasks of the app."""


@periodic.command("list", example="periodic list --app shop.jobs:app", database=False, json=True)
def list_periodic(settings: Settings, /, json: bool) -> None:
    """List the periodic tasks of the app: when they are due next, and which tick was deferred last."""
    app = settings.app()
    app.perform_import_paths()
    ticks = settings.job_manager.list_ticks()
    now = server_now(settings.database)
    periods = [
        _Period(
            declared,
            next_at=datetime.fromtimestamp(declared.next_after(now.timestamp()), UTC),
            last_at=ticks.get((declared.task.name, declared.periodic_id)),
        )
        for declared in app.periodics
    ]
    print_listing(
        periods,
        _COLUMNS,
        record=_record,
        as_json=json,
        nothing="the app has no periodic tasks: write @app.periodic(cron='…') above one's @app.task",
        now=now,
    )


def _record(period: _Period) -> Mapping[str, Any]:
    return {
        "task": period.declared.task.name,
        "cron": period.declared.cron,
        "timezone": str(period.declared.timezone),
        "periodic_id": period.declared.periodic_id,
        "next_at": period.next_at,
        "last_at": period.last_at,
    }
