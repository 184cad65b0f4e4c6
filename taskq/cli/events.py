"""``taskq events``: which tasks get a job when an event is published."""

import click

from taskq.cli.command import Group
from taskq.cli.completion import event_names, task_names
from taskq.cli.listing import Column, json_text, print_listing
from taskq.cli.settings import Settings
from taskq.cli.times import server_now
from taskq.escaping import escaped
from taskq.manager import Subscription
from taskq.unreadable import Unreadable


def _options(subscription: Subscription) -> str | None:
    if isinstance(subscription.options, Unreadable):
        return json_text(subscription.options)
    # The metadata say which event it is, as the first column does.
    given = {name: value for name, value in subscription.options.items() if name != "metadata"}
    return json_text(given) if given else None


_COLUMNS: list[Column[Subscription]] = [
    Column("event", lambda subscription: subscription.event),
    Column("task", lambda subscription: subscription.task_name),
    Column("queue", lambda subscription: subscription.queue),
    Column("other options", _options),
    Column("declared by", lambda subscription: subscription.declared_by),
    Column("declared", lambda subscription: subscription.declared_at, is_cut=False),
]


@click.group(cls=Group)
def events() -> None:
    """Look at who subscribes to published events."""


@events.command("list", example="events list order.paid --json", json=True)
@click.argument("event", metavar="[EVENT]", shell_complete=event_names, required=False)
def list_subscriptions(settings: Settings, /, *, event: str | None, json: bool) -> None:
    """List which tasks get a job for each event, as workers have declared it.

    What an app publishes to beside these it knows itself: its tasks that no worker has declared yet.
    """
    print_listing(
        settings.job_manager.list_subscriptions(event),
        _COLUMNS,
        as_json=json,
        nothing="no task subscribes"
        + ("" if event is None else f" to {escaped(event)}")
        + ": a worker declares those of its app when it starts",
        now=server_now(settings.database),
    )


@events.command("remove", example="events remove order.paid shop.jobs.send_receipt")
@click.argument("event", metavar="EVENT", shell_complete=event_names)
@click.argument("task", metavar="TASK", shell_complete=task_names)
def remove_subscription(settings: Settings, /, *, event: str, task: str) -> None:
    """End a subscription: a task that was removed, or does not subscribe any more, gets no more jobs.

    Take it out of the code first: a worker that starts declares what its app has.
    """
    manager = settings.job_manager
    if manager.remove_subscription(event, task):
        click.echo(f"task {escaped(task)} gets no more jobs of {escaped(event)}")
        if settings.tasks() is not None and any(
            (known.event, known.task.name) == (event, task) for known in settings.app().subscribers
        ):
            click.echo("the app still has it, and its next worker declares it again", err=True)
        return
    others = ", ".join(each.task_name for each in manager.list_subscriptions(event))
    click.echo(
        f"task {escaped(task)} does not subscribe to {escaped(event)}; "
        + (f"these do: {escaped(others)}" if others else "no task does")
    )
