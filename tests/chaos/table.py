"""The table of what the faults of a run have led to."""

from collections.abc import Iterable, Mapping
from typing import Any

PROPERTY = "chaos"

_COLUMNS = {
    "fault": "fault",
    "times": "times",
    "acknowledged": "acknowledged",
    "ended": "ended",
    "lost": "lost",
    "repeated": "run again",
    "doubled": "effects not once",
    "first": "first start after, s",
    "all": "all ended after, s",
}


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The lines of the table, in Markdown."""
    rows = sorted(rows, key=lambda row: str(row["fault"]))
    sums = {
        name: sum(row[name] for row in rows)
        for name in ("times", "acknowledged", "ended", "lost", "repeated", "doubled")
    }
    slowest = {name: max(row[name] for row in rows) for name in ("first", "all")}
    cells = [
        list(_COLUMNS.values()),
        ["---", *["--:"] * (len(_COLUMNS) - 1)],
        *([_shown(row[name]) for name in _COLUMNS] for row in rows),
        [_shown({"fault": "all, or the slowest", **sums, **slowest}[name]) for name in _COLUMNS],
    ]
    return [f"| {' | '.join(line)} |" for line in cells]


def _shown(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else f"{value}"
