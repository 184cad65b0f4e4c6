"""taskq measured: beside its peers and the floor, in awkward shapes, and at scale.

Starts a server of its own, prints every figure, how taskq stands to each contender, and which goals are
met. A full run takes about a quarter of an hour, and writes the figures and the chart of the docs.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.chart import draw
from benchmarks.figures import Goal, Medians, goals
from benchmarks.held import held
from benchmarks.measure import CONTENDERS, FIGURES
from benchmarks.peers import compare
from benchmarks.scale import scale
from benchmarks.server import own_server
from benchmarks.shapes import shapes
from benchmarks.storm import storm

DOCS = Path(__file__).parents[1] / "docs"

PEERS = list(dict.fromkeys(figure.part for figure in FIGURES.values()))
PARTS = [*PEERS, "shapes", "held", "scale", "storm"]

# What the contenders are made of.
PACKAGES = ("taskq", "procrastinate", "pgqueuer", "chancy", "psycopg", "asyncpg", "sqlalchemy")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", help=f"parts, separated by commas: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3, help="for the comparison with peers")
    parser.add_argument("--waiting", type=int, default=10_000_000, help="how many jobs are many")
    parser.add_argument("--url", help="another server, as a user who may create databases")
    parser.add_argument("--embedded", action="store_true", help="not the machine's PostgreSQL")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--chart", type=Path, help="where to draw them")
    options = parser.parse_args()
    parts = options.only.split(",") if options.only else PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}")
    began = time.monotonic()
    with ExitStack() as stack:
        server = options.url or stack.enter_context(own_server(embedded=options.embedded))
        server = make_conninfo(server.replace("+psycopg", "", 1))
        about = describe(server)
        print("\n".join(f"{name:20} {value}" for name, value in about.items()), "\n")
        medians = measure(server, parts, options.rounds, options.waiting)
    report(medians)
    judged = goals(medians)
    print()
    for goal in judged:
        print(f"{'met' if goal.met else 'NOT MET':8} {goal.text}: {goal.found}")
    print(f"\n{time.monotonic() - began:.0f} s", file=sys.stderr)
    whole = parts == PARTS
    if options.json or whole:
        write(options.json or DOCS / "performance.json", about, medians, judged)
    if options.chart or whole:
        draw(medians, options.chart or DOCS / "performance.svg")


def measure(server: str, parts: list[str], rounds: int, waiting: int) -> Medians:
    """Measure these parts."""
    medians = compare(server, set(parts) & set(PEERS), rounds)
    own: dict[str, Callable[[str], Medians]] = {
        "shapes": shapes,
        "held": held,
        "scale": partial(scale, many=waiting),
        "storm": storm,
    }
    for name, part in own.items():
        if name in parts:
            print(name, file=sys.stderr)
            medians |= part(server)
    return medians


def describe(server: str) -> dict[str, str]:
    """Which server, with what durability, and which versions."""
    with psycopg.connect(server) as connection:

        def show(setting: str) -> str:
            row = connection.execute(f"SHOW {setting}".encode()).fetchone()
            assert row
            return str(row[0])

        about = {"PostgreSQL": show("server_version")} | {
            name: show(name) for name in ("fsync", "synchronous_commit", "full_page_writes")
        }
    return about | {package: version(package) for package in PACKAGES}


def report(medians: Medians) -> None:
    """Print the figures; in brackets taskq's as a multiple of a contender's, or a case's of the first."""
    compared = {figure: row for figure, row in medians.items() if row.keys() <= CONTENDERS.keys()}
    if compared:
        print(f"{'':43}" + "".join(f"{contender:>17}" for contender in CONTENDERS))
    for figure, row in medians.items():
        if figure in compared:
            print(f"{figure:43}" + "".join(_cell(row, contender) for contender in CONTENDERS))
            continue
        print(f"\n{figure}")
        first = next(iter(row.values()))
        for case, value in row.items():
            print(f"    {case:46}{_number(value):>10} ({value / first:.2f})")


def _cell(row: dict[str, float], contender: str) -> str:
    if contender not in row:
        return f"{'':17}"
    value, ours = row[contender], row.get("taskq")
    ratio = f"({ours / value:.2f})" if contender != "taskq" and ours and value else ""
    return f"{_number(value):>8} {ratio:8}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(path: Path, about: dict[str, str], medians: Medians, judged: list[Goal]) -> None:
    """Write everything as JSON."""
    found = {
        "about": about,
        "medians": medians,
        "goals": [{"goal": goal.text, "found": goal.found, "met": goal.met} for goal in judged],
    }
    path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
