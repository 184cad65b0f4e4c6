"""What a command lists: a table for people, JSON for programs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import click
from pydantic_core import to_jsonable_python
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskq.duration import brief
from taskq.escaping import escaped
from taskq.unreadable import Unreadable

T = TypeVar("T")

Cell = str | int | datetime | timedelta | None

# A line of a table in a pipe or a file is a line, however long it is.
_UNBOUNDED = 100_000

json_option: Final = click.option("--json", is_flag=True, help="Print JSON, for programs.")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table.

    Attributes:
        heading: What stands above it.
        cell: What a row has in it.
        style: How rich is to show it, by row.
    """

    heading: str
    cell: Callable[[T], Cell]
    style: Callable[[T], str] = lambda row: ""


def console() -> Console:
    """Where tables are printed: in colours, and as wide as the terminal, only if there is one."""
    shown = Console(highlight=False)
    if not shown.is_terminal:
        shown.width = _UNBOUNDED
    return shown


def print_listing(
    rows: Sequence[T],
    columns: Sequence[Column[T]],
    *,
    record: Callable[[T], Mapping[str, Any]],
    as_json: bool,
    nothing: str,
) -> None:
    """Print what a command lists.

    Args:
        rows: What it lists.
        columns: The columns of its table.
        record: What JSON says of a row.
        as_json: Whether to print JSON.
        nothing: What to tell people if there are no rows.
    """
    if as_json:
        print_json(map(record, rows))
    elif rows:
        console().print(table_of(rows, columns))
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


def table_of(rows: Iterable[T], columns: Sequence[Column[T]]) -> Table:
    """A table, in which nothing but text comes of whatever the rows hold."""
    rows = list(rows)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        numeric = any(isinstance(column.cell(row), int) for row in rows)
        table.add_column(
            column.heading,
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(shown(column.cell(row)), column.style(row)) for column in columns))
    return table


def shown(cell: Cell) -> str:
    """What a person reads of a value; escaped, in one line."""
    match cell:
        case None:
            return ""
        case int():
            return f"{cell:,}"
        case Unreadable():
            return escaped(str(cell))
        case datetime():
            with suppress(OverflowError):  # at the end of Python's years
                cell = cell.astimezone()
            return cell.isoformat(sep=" ", timespec="seconds")
        case timedelta():
            return brief(cell.total_seconds())
        case str():
            return escaped(cell)
