"""Workers that are killed, that stop and go on, and whose event loop is blocked."""

import random
import time

import pytest

from tests.chaos.conftest import TIMES, Record, Stage, long_form
from tests.chaos.crew import STALLED_AFTER
from tests.chaos.program import hog
from tests.chaos.server import Server

pytestmark = pytest.mark.chaos


def test_what_a_killed_worker_ran_is_run_by_others(
    server: Server, stage: Stage, rng: random.Random, record: Record
) -> None:
    scene = stage.scene("worker: SIGKILL", server)
    for _ in range(3 * TIMES):
        with scene.fault():
            time.sleep(rng.uniform(0, 0.2))
            scene.crew.kill(rng.randrange(2))
    record(scene.settle())


@pytest.mark.parametrize(
    ("name", "share"),
    [
        pytest.param("shorter than the stall", 0.6, marks=long_form),
        ("longer than the stall", 1.6),
    ],
)
def test_a_worker_that_was_stopped_goes_on(
    server: Server, stage: Stage, rng: random.Random, record: Record, name: str, share: float
) -> None:
    scene = stage.scene(f"worker: SIGSTOP, {name}, SIGCONT", server)
    for _ in range(TIMES):
        with scene.fault():
            place = rng.randrange(2)
            scene.crew.pause(place)
            # What is to be shown is what this time does.
            time.sleep(share * STALLED_AFTER)
            scene.crew.resume(place)
    record(scene.settle())


@long_form
def test_all_workers_stopped_at_once_go_on(server: Server, stage: Stage, record: Record) -> None:
    scene = stage.scene("all workers: SIGSTOP, longer than the stall, SIGCONT", server)
    for _ in range(TIMES):
        with scene.fault():
            for place in range(2):
                scene.crew.pause(place)
            time.sleep(1.6 * STALLED_AFTER)
            for place in range(2):
                scene.crew.resume(place)
    record(scene.settle())


def test_a_job_that_blocks_its_event_loop_for_longer_than_the_stall_does_no_harm(
    server: Server, stage: Stage, record: Record
) -> None:
    """Its worker lets the others of its jobs be taken over, and comes back."""
    scene = stage.scene("worker: its event loop blocked, longer than the stall", server)
    for number in range(TIMES):
        with scene.fault():
            scene.deferring.defer(hog, -1 - number, seconds=1 + 1.6 * STALLED_AFTER)
            scene.until(
                lambda number=number: [  # type: ignore[misc]
                    start for start in scene.starts() if start[0] == -1 - number
                ],
                "the job that blocks does not begin",
            )
    record(scene.settle())
