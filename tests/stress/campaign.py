"""A campaign: waves, one after the other, until the time is over or something is found."""

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from tests.stress import logs, recording
from tests.stress.children import Child
from tests.stress.crew import LAYOUTS, Crew
from tests.stress.log import Violation
from tests.stress.server import own_server
from tests.stress.wave import Stage


def campaign(
    seconds: float,
    seed: int,
    *,
    scale: float = 1,
    deferrers: int = 2,
    operators: int = 1,
    say: Callable[[str], None] = print,
) -> list[Violation]:
    """Run waves for so long; returns what was found in the first one that has something.

    Args:
        seconds: For how long to begin with another one, once all processes are there.
        seed: What all that is drawn at random follows from.
        scale: How many jobs there are, as a multiple of the usual.
        deferrers: How many processes defer.
        operators: How many change jobs.
        say: Told what happens.
    """
    with _kept_if_wanted(say) as (folder, keep), own_server() as (url, log):
        with _stage(url, folder, seed, scale, deferrers, operators) as stage:
            number, violations = 0, list[Violation]()
            until = time.monotonic() + seconds
            while not violations and time.monotonic() < until:
                number += 1
                report = stage.run(number, folder)
                violations = [*report.violations, *_server_errors(log)]
                say(str(report))
        violations = violations or _server_errors(log)
        if violations:
            keep()
            shutil.copy(log, folder / "server.log")
        return violations


def _server_errors(log: Path) -> list[Violation]:
    return logs.of_server(log.read_text(errors="replace").splitlines())


@contextmanager
def _kept_if_wanted(say: Callable[[str], None]) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder that goes in the end, unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="taskq-stress-log-"))
    kept = []
    try:
        yield folder, lambda: kept.append(folder)
    finally:
        if kept:
            say(f"what was recorded and logged is in {folder}")
        else:
            shutil.rmtree(folder)


@contextmanager
def _stage(
    url: str,
    folder: Path,
    seed: int,
    scale: float,
    deferrers: int,
    operators: int,
) -> Iterator[Stage]:
    layout = random.Random(seed).choice(LAYOUTS)
    with ExitStack() as stack:
        plain = url.replace("+psycopg", "", 1)
        connection = stack.enter_context(
            psycopg.connect(plain, autocommit=True, application_name="controller")
        )
        recording.install(connection)
        crew = Crew(layout, url, folder)
        stack.callback(crew.close)
        children = {"deferrer": deferrers, "operating": operators}
        started: dict[str, list[Child]] = {}
        for module, count in children.items():
            started[module] = [
                Child(f"{module}-{number}", module, url, folder) for number in range(count)
            ]
            for child in started[module]:
                stack.callback(child.close)
        stage = Stage(connection, crew, *started.values(), seed=seed, scale=scale)
        stage.wait_until_ready(workers=len(layout))
        yield stage
