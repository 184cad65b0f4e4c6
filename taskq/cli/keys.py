"""``taskq keys``: the keys that the arguments and results of encrypted tasks are written by."""

import click

from taskq.cli.command import Group
from taskq.cli.settings import Settings
from taskq.encryption import generate_key
from taskq.messages import counted


@click.group(cls=Group)
def keys() -> None:
    """Make the keys of encrypted tasks, and go over to a new one."""


@keys.command(example="keys generate >new.key", app=False, database=False)
def generate(settings: Settings, /) -> None:
    """Print a new key, for App(encryption_keys=[…]) or the variable TASKQ_ENCRYPTION_KEYS."""
    click.echo(generate_key())


@keys.command(example="keys rotate --app shop.jobs:app")
def rotate(settings: Settings, /) -> None:
    """Encrypt by the first key what is encrypted by another one: arguments and results of all jobs.

    The keys are the app's, or else those in TASKQ_ENCRYPTION_KEYS. First give the new key to all that defers
    and runs jobs, in front of the old one; when nothing is left, the old one can go.
    """
    manager = settings.job_manager
    if settings.app_path is not None:
        manager.keyring = settings.app().job_manager.keyring
    done = manager.rotate_encryption_keys()
    click.echo(f"encrypted anew: {counted(done.jobs, 'job')}")
    if done.running:
        click.echo(
            f"left as they are: {counted(done.running, 'job')} that run, or began to: do this again when "
            "they have ended",
            err=True,
        )
    if done.unknown:
        click.echo(
            f"left as they are: {counted(done.unknown, 'job')} that none of the keys decrypts",
            err=True,
        )
