"""What a command lists: a table for people, JSON for programs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import click
from pydantic_core import to_jsonable_python
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskq.cli.fitting import GAP, Texts, fit
from taskq.cli.settings import Settings
from taskq.escaping import escaped
from taskq.times import brief, relative
from taskq.unreadable import Unreadable

T = TypeVar("T")

Cell = str | int | datetime | timedelta | None

# Cells of a line in a pipe or a file, which is a line however long it is.
_UNBOUNDED = 10**9


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table.

    Attributes:
        heading: What stands above it.
        cell: What a row has in it.
        style: How rich is to show it, by row.
        is_cut: Whether its text may be cut where there is no room: not what is a number in truth.
        shows_zeros: Whether a column of zeros says something, and does not go before others.
    """

    heading: str
    cell: Callable[[T], Cell]
    style: Callable[[T], str] = lambda row: ""
    is_cut: bool = True
    shows_zeros: bool = False


def console(width_elsewhere: int = _UNBOUNDED) -> Console:
    """Where tables are printed: in colours, and as wide as the terminal, or as ``COLUMNS`` says of it.

    Args:
        width_elsewhere: How wide it is if it is no terminal, in cells: without a bound, whatever ``COLUMNS``
            says, which scripts and CI runners set too.
    """
    shown = Console(highlight=False)
    if is_terminal(shown):
        return shown
    # Of either alone rich takes none where TERM is dumb.
    return Console(highlight=False, width=width_elsewhere, height=shown.height)


def is_terminal(shown: Console) -> bool:
    """Whether it prints to a terminal, and not to a pipe with colours, which FORCE_COLOR asks for."""
    return shown.file.isatty()


def print_listing(
    rows: Sequence[T],
    columns: Sequence[Column[T]],
    *,
    as_json: bool,
    nothing: str,
    record: Callable[[Any], Mapping[str, Any]] = asdict,
    now: datetime | None = None,
) -> None:
    """Print what a command lists.

    Args:
        rows: What it lists.
        columns: The columns of its table.
        as_json: Whether to print JSON.
        nothing: What to print for people if there are no rows.
        record: What JSON says of a row; its attributes by their names if not given.
        now: The server's time, that others are shown relative to, unless exact ones are asked for.
    """
    if as_json:
        print_json(map(record, rows))
    elif rows:
        terminal = console()
        table, missing = table_of(rows, columns, width=terminal.width, now=now)
        terminal.print(table)
        if missing:
            click.echo(f"no room for: {', '.join(missing)} (--json has all)", err=True)
    else:
        click.echo(nothing)


def print_json(records: Iterable[Any]) -> None:
    """Print a JSON array with one element a line, in ASCII: no value can steer a terminal."""
    lines = ",\n".join(map(json_of, records))
    click.echo(f"[\n{lines}\n]" if lines else "[]")


def json_of(value: Any) -> str:
    """A value as JSON in one line of ASCII."""
    return json.dumps(value, default=_jsonable)


def json_text(value: Any) -> str:
    """A value as JSON in one line for people, who read more than ASCII; ``shown`` escapes the rest."""
    if isinstance(value, Unreadable):
        return str(value)
    return json.dumps(value, default=_jsonable, ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Unreadable):
        return {"unreadable": value.text, "reason": value.reason}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return to_jsonable_python(value)


def table_of(
    rows: Iterable[T],
    columns: Sequence[Column[T]],
    *,
    width: int,
    now: datetime | None = None,
) -> tuple[Table, Sequence[str]]:
    """A table, in which nothing but text comes of whatever the rows hold, and nothing is wrapped.

    Args:
        rows: What is in it.
        columns: Its columns.
        width: How many cells wide it may be.
        now: What times are shown relative to; exact ones if it is not given, or exact ones are asked for.

    Returns:
        The table, and the headings of columns with something in them for which there was no room.
    """
    rows = list(rows)
    now = None if _is_exact() else now
    cells = [[column.cell(row) for row in rows] for column in columns]
    texts = [
        Texts(
            [column.heading, *(_clipped(shown(cell, now), width) for cell in of)],
            is_cut=column.is_cut and any(isinstance(cell, str) for cell in of),
            nothing={""} if column.shows_zeros else {"", "0"},
        )
        for column, of in zip(columns, cells, strict=True)
    ]
    kept, gap = fit(texts, width)
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        padding=(0, 1, 0, gap - GAP),  # and one for the line between two columns
    )
    for at in kept:
        numeric = any(isinstance(cell, int) for cell in cells[at])
        table.add_column(
            Text(texts[at].texts[0]), justify="right" if numeric else "left", no_wrap=True
        )
    for number, row in enumerate(rows, start=1):
        table.add_row(*(Text(texts[at].texts[number], columns[at].style(row)) for at in kept))
    missing = [at for at in range(len(columns)) if at not in kept and not texts[at].is_empty]
    return table, [columns[at].heading for at in missing]


def _clipped(text: str, width: int) -> str:
    """The text without what is cut from its middle in any case: to measure megabytes takes seconds."""
    return text if len(text) <= 2 * width else f"{text[:width]}…{text[-width:]}"


def _is_exact() -> bool:
    context = click.get_current_context(silent=True)
    settings = context.find_object(Settings) if context else None
    return settings is not None and settings.verbose


def shown(cell: Cell, now: datetime | None = None) -> str:
    """What a person reads of a value; escaped, in one line.

    Args:
        cell: The value.
        now: The time that others are shown relative to; exact ones if not given.
    """
    match cell:
        case None:
            return ""
        case int():
            return f"{cell:,}"
        case Unreadable():
            return escaped(str(cell))
        case datetime() if now is not None:
            return relative(cell, now)
        case datetime():
            with suppress(OverflowError):  # at the end of Python's years
                cell = cell.astimezone()
            return cell.isoformat(sep=" ", timespec="seconds")
        case timedelta():
            return brief(cell.total_seconds())
        case str():
            return escaped(cell)
