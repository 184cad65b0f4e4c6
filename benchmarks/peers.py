"""taskq beside its peers and the floor, in turn.

Each figure of each contender is measured in a fresh database by a process of its own, round after round,
so that a noisy machine is noisy for all.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from benchmarks.figures import Medians
from benchmarks.measure import CONTENDERS, FIGURES
from benchmarks.server import fresh_database


def compare(server: str, parts: Collection[str], rounds: int) -> Medians:
    """The figures of these parts, of all contenders, interleaved; medians over the rounds.

    Args:
        server: As libpq takes it, for a user who may create databases.
        parts: The parts.
        rounds: How often each is measured.
    """
    seen: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for round_ in range(1, rounds + 1):
        for name, figure in FIGURES.items():
            if figure.part not in parts or (figure.once and round_ > 1):
                continue
            contenders = [each for each in CONTENDERS if each not in figure.without]
            with ThreadPoolExecutor(len(contenders) if figure.once else 1) as pool:
                print(f"round {round_}: {name}", file=sys.stderr)
                found = pool.map(lambda each, name=name: _measure(server, each, name), contenders)
                for contender, values in zip(contenders, found, strict=True):
                    for shown, value in values.items():
                        seen[shown][contender].append(value)
    return {
        name: {contender: median(values) for contender, values in row.items()}
        for name, row in seen.items()
    }


def _measure(server: str, contender: str, figure: str) -> dict[str, float]:
    with fresh_database(server, f"benchmark_{contender}") as url:
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.measure", contender, figure, url],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    if run.returncode:
        print(f"{contender}, {figure}: {run.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {}
    found: dict[str, float] = json.loads(run.stdout)
    return found
