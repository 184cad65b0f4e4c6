"""taskq measured: beside its peers and the floor, in awkward shapes, and at scale.

Starts a server of its own, prints every figure, how taskq stands to each contender, and which goals are
met. A full run takes about ten minutes, and writes the figures, the chart and the tables of the docs.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks.chart import draw
from benchmarks.figures import Medians, goals
from benchmarks.held import held
from benchmarks.measure import FIGURES
from benchmarks.peers import compare
from benchmarks.scale import scale
from benchmarks.server import own_server
from benchmarks.shapes import shapes
from benchmarks.storm import storm
from benchmarks.tables import CHART, FOUND, put_on_page, tables

PEERS = list(dict.fromkeys(figure.part for figure in FIGURES.values()))
PARTS = [*PEERS, "shapes", "held", "scale", "storm"]

# What the contenders are made of.
PACKAGES = ("taskq-sql", "procrastinate", "pgqueuer", "chancy", "psycopg", "asyncpg", "sqlalchemy")


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
        medians = measure(server, parts, options.rounds, options.waiting)
    judged = [asdict(goal) for goal in goals(medians)]
    found = {"about": about, "medians": medians, "goals": judged}
    print(tables(found))
    print(f"\n{time.monotonic() - began:.0f} s", file=sys.stderr)
    whole = parts == PARTS
    if options.json or whole:
        (options.json or FOUND).write_text(json.dumps(found, indent=2) + "\n")
    if options.chart or whole:
        draw(medians, options.chart or CHART)
    if whole:
        put_on_page()


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


if __name__ == "__main__":
    main()
