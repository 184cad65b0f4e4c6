"""What was found, as tables: printed by each run, and put into docs/performance.md by a full one.

python -m benchmarks.tables puts the figures of docs/performance.json there once more.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import CONTENDERS

DOCS = Path(__file__).parents[1] / "docs"
FOUND, CHART, PAGE = (DOCS / f"performance.{kind}" for kind in ("json", "svg", "md"))

BEGIN, END = "<!-- from here as python -m benchmarks wrote it -->\n", "<!-- to here -->\n"


def put_on_page() -> None:
    """Put the figures of docs/performance.json on its page, in place of those that are there."""
    PAGE.write_text(splice(PAGE.read_text(), json.loads(FOUND.read_text())))


def splice(page: str, found: Mapping[str, Any]) -> str:
    """The page with these figures in place of those that it has."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{tables(found)}\n\n{END}{after}"


def tables(found: Mapping[str, Any]) -> str:
    """Contenders side by side, then case below case, then the goals, in Markdown.

    In brackets is taskq's figure as a multiple of a contender's; behind a case, its own of the first's.
    """
    about = ", ".join(f"{name} {value}" for name, value in found["about"].items())
    return "\n\n".join([about, *map(table, _all_rows(found))])


def _all_rows(found: Mapping[str, Any]) -> Iterator[list[Sequence[str]]]:
    medians: Mapping[str, Mapping[str, float]] = found["medians"]
    compared = {figure: row for figure, row in medians.items() if row.keys() <= CONTENDERS.keys()}
    if compared:
        rows = [(figure, *_beside_taskq(row)) for figure, row in compared.items()]
        yield [("", *CONTENDERS), *rows]
    for figure, row in medians.items():
        if figure not in compared:
            first = next(iter(row.values()))
            cases = ((case, _number(of), f"{of / first:.2f}") for case, of in row.items())
            yield [(figure, "", ""), *cases]
    if found["goals"]:
        goals = [
            (goal["goal"], goal["found"], "met" if goal["met"] else "**not met**")
            for goal in found["goals"]
        ]
        yield [("goal", "found", ""), *goals]


def _beside_taskq(row: Mapping[str, float]) -> Iterator[str]:
    ours = row.get("taskq")
    for contender in CONTENDERS:
        value = row.get(contender)
        if value is None:
            yield ""
        elif contender == "taskq":
            yield f"**{_number(value)}**"
        else:
            yield f"{_number(value)} ({ours / value:.2f})" if ours and value else _number(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows: list[Sequence[str]]) -> str:
    """The lines of a table: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = [f"{{:{'>' if column else '<'}{width}}}" for column, width in enumerate(widths)]
    line = f"| {' | '.join(cells)} |"
    dashes = ["-" * (width - 1) + (":" if column else "-") for column, width in enumerate(widths)]
    head, *body = (line.format(*row) for row in rows)
    return "\n".join([head, line.format(*dashes), *body])


if __name__ == "__main__":
    put_on_page()
