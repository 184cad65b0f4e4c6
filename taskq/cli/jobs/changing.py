"""``taskq jobs retry``, ``cancel``, ``abort``, ``delete`` and ``reschedule``."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from taskq.cli.command import Command
from taskq.cli.escaping import escaped
from taskq.cli.jobs.choosing import choosing_options, filters_of, refuse_unknown
from taskq.cli.settings import (
    Settings,
    app_option,
    database_option,
    pass_settings,
    verbose_option,
)
from taskq.cli.times import read_duration, read_time
from taskq.exceptions import InvalidTransition, TaskqException
from taskq.job import JobStatus
from taskq.manager import JobManager
from taskq.manager.filters import JobFilters

F = TypeVar("F", bound=Callable[..., Any])

_ids = click.argument("ids", metavar="[ID]...", type=int, nargs=-1)

_yes = click.option("--yes", is_flag=True, help="Do not ask, if jobs are chosen by options.")

_at = click.option(
    "--at",
    metavar="TIME",
    callback=read_time,
    help="When it may start, with an offset from UTC; else at once.",
)

_in = click.option(
    "--in",
    metavar="DURATION",
    callback=read_duration,
    help="In how long it may start: seconds, or with units as in 1h30m.",
)
