"""``taskq jobs``: its commands."""

import click

from taskq.cli.command import Group
from taskq.cli.jobs.changing import abort, cancel, delete, reschedule, retry
from taskq.cli.jobs.listing import list_jobs
from taskq.cli.jobs.showing import show


@click.group(cls=Group)
def jobs() -> None:
    """Look at jobs, and change what becomes of them."""


for command in (list_jobs, show, retry, cancel, abort, delete, reschedule):
    jobs.add_command(command)
