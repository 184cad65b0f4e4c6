"""Clocks that jump: the server's, by which heartbeats, schedules and rates go, and those of the workers."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.conftest import TIMES, MakeServer, Record, Stage, long_form
from tests.chaos.program import CLOCK_VARIABLE
from tests.chaos.server import Server

pytestmark = [pytest.mark.chaos, long_form]

_LIBRARIES = [
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    *Path("/usr/lib").glob("*/faketime/libfaketime.so.1"),
]

needs_faketime = pytest.mark.skipif(not _LIBRARIES, reason="libfaketime is not installed")


def clock(file: Path) -> dict[str, str]:
    """Variables for a program whose clock is as far off as a file says; that of timers is not."""
    return {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(file: Path) -> Callable[[int], None]:
    """What sets that clock so many seconds off."""

    def put(seconds: int) -> None:
        new = file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.chmod(0o644)
        new.replace(file)

    put(0)
    return put


@needs_faketime
@pytest.mark.parametrize(("name", "seconds"), [("an hour forward", 3600), ("an hour back", -3600)])
def test_the_clock_of_the_server_jumps(
    make_server: MakeServer,
    server_folder: Path,
    stage: Stage,
    record: Record,
    name: str,
    seconds: int,
) -> None:
    """Which makes each worker look dead for a moment, or a dead one alive."""
    file = server_folder / f"clock{seconds}"
    put = set_clock(file)
    server = make_server(environment=clock(file))
    server.create()
    server.start()
    server.make_template()
    scene = stage.scene(f"clock: of the server, {name}", server)
    for number in range(TIMES):
        with scene.fault():
            # Whose last heartbeat is of before.
            scene.crew.kill(0)
            put((number + 1) * seconds)
            await_clock(server, (number + 1) * seconds)
    record(scene.settle())


def await_clock(server: Server, seconds: int) -> None:
    while True:
        [(now,)] = server.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        if abs(float(str(now)) - time.time() - seconds) < 60:
            return


@pytest.mark.parametrize(("name", "seconds"), [("an hour forward", 3600), ("an hour back", -3600)])
def test_the_clocks_of_the_workers_jump(
    server: Server, tmp_path: Path, stage: Stage, record: Record, name: str, seconds: int
) -> None:
    put = set_clock(tmp_path / "clock")
    scene = stage.scene(
        f"clock: of the workers, {name}",
        server,
        environment={CLOCK_VARIABLE: str(tmp_path / "clock")},
    )
    for number in range(TIMES):
        with scene.fault():
            put((number + 1) * seconds)
            scene.flow()
    record(scene.settle())
