"""``taskq limits``: what limits allow, how full they are, and what operators say of them."""

from datetime import timedelta

import click

from taskq.cli.command import Group, number_option
from taskq.cli.completion import limit_names, queue_names
from taskq.cli.listing import Column, print_listing
from taskq.cli.settings import Settings
from taskq.cli.times import read_duration, server_now
from taskq.escaping import escaped
from taskq.exceptions import UnknownLimit
from taskq.limits import LimitState
from taskq.manager import JobManager
from taskq.messages import short_repr

_MOST = 10_000

_number = click.IntRange(1, 2**31 - 1)

_name = click.argument("name", metavar="NAME", shell_complete=limit_names)

_key = click.option("--key", metavar="KEY", help="One key of it, and not all.")


def _allowed(state: LimitState) -> str:
    return "nothing: not declared" if state.figures is None else str(state.figures)


_COLUMNS: list[Column[LimitState]] = [
    Column("limit", lambda state: state.name),
    Column("key", lambda state: state.key),
    Column("allows", _allowed, lambda state: "red" if state.figures is None else "", is_cut=False),
    Column("running", lambda state: state.running),
    Column("room", lambda state: state.room, shows_zeros=True),
    Column("waiting", lambda state: state.waiting),
    Column("next start", lambda state: state.next_at, is_cut=False),
    Column("queues", lambda state: ", ".join(state.queues)),
    Column(
        "declared by",
        lambda state: state.declared_by or ("an operator" if state.by_operator else None),
    ),
]


@click.group(cls=Group)
def limits() -> None:
    """Look at the limits, and say what they allow."""


@limits.command("list", example="limits list tenant --json", json=True)
@click.argument("name", metavar="[NAME]", shell_complete=limit_names, required=False)
@number_option("--limit", "N", 1_000, "How many at most.", at_most=_MOST)
def list_limits(settings: Settings, /, *, name: str | None, limit: int, json: bool) -> None:
    """List what limits allow, and how full they are: each limit, and each key that is in use.

    Room is how many more jobs may start now. Those that wait do so for the limit alone.
    """
    manager = settings.job_manager
    states = manager.list_limits(name, max_limits=limit)
    if name is not None and not states:
        raise _unknown(manager, name)
    print_listing(
        states,
        _COLUMNS,
        as_json=json,
        nothing="there are no limits: a worker declares those of its app when it starts",
        now=server_now(settings.database),
    )


@limits.command("set", example="limits set tenant --key acme --rate 100 --per 1m --by ada")
@_name
@_key
@click.option("--concurrency", metavar="N", type=_number, help="How many jobs may run at once.")
@click.option("--rate", metavar="N", type=_number, help="How many jobs may start within --per.")
@click.option(
    "--per",
    metavar="DURATION",
    callback=read_duration,
    help="The time of the rate: seconds, or with units as in 1h30m.",
)
@click.option(
    "--burst",
    metavar="N",
    type=_number,
    help="How many jobs of the rate may start at once; 1 if nothing is said.",
)
@click.option("--by", metavar="NAME", help="Who says so, for others to read.")
def set_limit(
    settings: Settings,
    /,
    *,
    name: str,
    key: str | None,
    concurrency: int | None,
    rate: int | None,
    per: timedelta | None,
    burst: int | None,
    by: str | None,
) -> None:
    """Say what a limit allows from now on, for all workers and whatever apps declare.

    What is not given stays as it is. Jobs that run end as they would have.
    """
    if (rate is None) != (per is None):
        raise click.UsageError("--rate and --per are given together, as in --rate 100 --per 1s")
    if concurrency is None and rate is None:
        raise click.UsageError(
            "what does it allow? Give --concurrency, or --rate and --per; to stop jobs, pause their task or "
            "queue"
        )
    manager = settings.job_manager
    if settings.tasks() is not None:
        # Its workers may not have declared them yet.
        for limit in settings.app().limits:
            manager.limits.add(limit)
    manager.set_limit(
        name, key=key, concurrency=concurrency, rate=rate, per=per, burst=burst, by=by
    )
    _say(manager, name, key)


@limits.command("unset", example="limits unset tenant --key acme")
@_name
@_key
def unset_limit(settings: Settings, /, *, name: str, key: str | None) -> None:
    """Take back what was said with limits set: what apps declare holds again."""
    manager = settings.job_manager
    if not manager.unset_limit(name, key=key):
        if not manager.list_limits(name, max_limits=1):
            raise _unknown(manager, name)
        click.echo(f"no operator has said anything of {_label(name, key)}")
    _say(manager, name, key)


@limits.command("unset-queue", example="limits unset-queue payments")
@click.argument("queue", metavar="QUEUE", shell_complete=queue_names)
def unset_queue_limit(settings: Settings, /, *, queue: str) -> None:
    """Have the jobs of a queue count in no limit but their own, until an app declares it again."""
    manager = settings.job_manager
    if manager.unset_queue_limit(queue):
        click.echo(f"the jobs of queue {escaped(queue)} count in no limit but their own")
    else:
        limited = {name for state in manager.list_limits(max_limits=_MOST) for name in state.queues}
        hint = f"; these have: {escaped(', '.join(sorted(limited)))}" if limited else ""
        click.echo(f"queue {escaped(queue)} had no limit{hint}")


def _say(manager: JobManager, name: str, key: str | None) -> None:
    """Say what holds now: of a key what is said of all, if nothing is said of it."""
    found = {state.key: state for state in manager.list_limits(name, max_limits=_MOST)}
    state = found.get(key) or found.get(None)
    if state is not None:
        click.echo(f"{_label(name, key)} allows {_allowed(state)}")


def _label(name: str, key: str | None) -> str:
    return f"limit {escaped(name)}" + ("" if key is None else f", key {escaped(key)},")


def _unknown(manager: JobManager, name: str) -> UnknownLimit:
    names = sorted({state.name for state in manager.list_limits(max_limits=_MOST)})
    known = f"there are {', '.join(map(short_repr, names))}" if names else "no app has declared any"
    return UnknownLimit(
        f"there is no limit {short_repr(name)}: {known}; a worker declares those of its app when it starts"
    )
