"""taskq beside its peers and the floor, on one server, in turn.

    python -m benchmarks [--rounds N] [--url URL] [--json FILE] [--chart FILE]

Each figure of each contender is measured in a fresh database by a process of its own, round after round,
so that a noisy machine is noisy for all. Prints medians, ratios, and whether the goals are met.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import make_url

from benchmarks.chart import draw
from benchmarks.measure import CONTENDERS, FIGURES
from taskq.embedded import EmbeddedServer

# By figure, by contender.
Medians = dict[str, dict[str, float]]

# A contender of which a figure says nothing.
SENSELESS = {
    ("floor", "latency"),
    *(("taskq, sync task", figure) for figure in FIGURES if not figure.startswith("drain")),
}


def measure(contender: str, figure: str, server: str, number: int) -> dict[str, float]:
    """Measure in a database of its own."""
    name = f"benchmark_{number}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        info = connection.info
        url = str(make_url("postgresql://").set(username=info.user, database=name))
        url += f"?host={info.host}&port={info.port}"
        connection.execute("CHECKPOINT")
        try:
            run = subprocess.run(
                [sys.executable, "-m", "benchmarks.measure", contender, figure, url],
                env=os.environ | ({"PGPASSWORD": info.password} if info.password else {}),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    if run.returncode:
        print(f"{contender}, {figure}: {run.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    found: dict[str, float] = json.loads(run.stdout)
    return found


def compare(server: str, rounds: int) -> Medians:
    """All figures of all contenders, interleaved; medians over the rounds."""
    seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    number = 0
    for round_ in range(1, rounds + 1):
        for figure in FIGURES:
            for contender in CONTENDERS:
                if (contender, figure) in SENSELESS:
                    continue
                number += 1
                print(f"\rround {round_}: {figure}, {contender:30}", end="", file=sys.stderr)
                for name, value in measure(contender, figure, server, number).items():
                    seen[name][contender].append(value)
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr)
    return {
        name: {contender: median(values) for contender, values in row.items()}
        for name, row in seen.items()
    }


def goals(medians: Medians) -> list[tuple[str, bool]]:
    """The goals for speed, each with whether it is met."""
    of: Callable[[str, str], float] = lambda figure, contender: medians[figure].get(  # noqa: E731
        contender, float("nan")
    )
    met = []
    for concurrency in (100, 10, 1):
        figure = f"drain, concurrency {concurrency}, jobs/s"
        ours = of(figure, "taskq")
        if concurrency == 100:
            met += [
                (f"{figure}: at least half of the floor", ours >= 0.5 * of(figure, "floor")),
                (f"{figure}: at least 1.5 x PgQueuer", ours >= 1.5 * of(figure, "pgqueuer")),
                (
                    f"{figure}: at least 30 x Procrastinate",
                    ours >= 30 * of(figure, "procrastinate"),
                ),
            ]
        else:
            met.append((f"{figure}: at least 10,000", ours >= 10_000))
    one, batch = "defer one, jobs/s", "defer 3,000 in a batch, jobs/s"
    p50, p95 = "defer to start, p50 ms", "defer to start, p95 ms"
    return [
        *met,
        (f"{one}: at least half of the floor", of(one, "taskq") >= 0.5 * of(one, "floor")),
        (f"{batch}: at least 40,000", of(batch, "taskq") >= 40_000),
        (f"{p50}: at most half of Procrastinate", of(p50, "taskq") <= of(p50, "procrastinate") / 2),
        (f"{p95}: at most Procrastinate's p50", of(p95, "taskq") <= of(p50, "procrastinate")),
        ("WAL per job: at most 1,200 bytes", of("WAL per job, bytes", "taskq") <= 1200),
        ("transactions per job: at most 0.05", of("transactions per job", "taskq") <= 0.05),
    ]


def report(medians: Medians) -> None:
    """Print the table, and the goals."""
    print(f"{'':34}" + "".join(f"{contender:>18}" for contender in CONTENDERS))
    for figure, row in medians.items():
        cells = [f"{row[name]:>18,.3g}" if name in row else f"{'':>18}" for name in CONTENDERS]
        if "jobs/s" in figure:
            cells = [f"{row[name]:>18,.0f}" if name in row else f"{'':>18}" for name in CONTENDERS]
        print(f"{figure:34}" + "".join(cells))
    print()
    for goal, met in goals(medians):
        print(f"{'met' if met else 'NOT MET':8} {goal}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url", help="a server, as a user who may create databases")
    parser.add_argument("--json", type=Path, help="where to write the medians")
    parser.add_argument("--chart", type=Path, help="where to draw them")
    options = parser.parse_args()
    with ExitStack() as stack:
        server = options.url
        if server is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskq-bench-")))
            folder.chmod(0o711)
            server = stack.enter_context(EmbeddedServer(folder / "server")).url
        server = make_conninfo(server.replace("+psycopg", "", 1))
        with psycopg.connect(server) as connection:
            version = connection.info.server_version
            print(
                f"PostgreSQL {version // 10000}.{version % 10000}, {options.rounds} rounds, medians\n"
            )
        medians = compare(server, options.rounds)
    report(medians)
    if options.json:
        options.json.write_text(json.dumps(medians, indent=2) + "\n")
    if options.chart:
        draw(medians, options.chart)


if __name__ == "__main__":
    main()
