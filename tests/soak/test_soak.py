"""The short form of the soak, and that it finds what grows."""

import pytest

from tests.soak.measuring import Phase, Sample, faults_of
from tests.soak.soak import soak

RATE = 150.0

# Bytes for each job. The row of a job takes some 300 and as many in indexes. What a worker's memory
# grows by in half a minute is a step of its allocator's or of a cache that fills: of two hours it is judged
# more narrowly.
MOST_MEMORY, MOST_SIZE = 1_000, 60


@pytest.mark.slow
def test_a_mixed_load_goes_on_as_it_began() -> None:
    phases = soak(warm_up=8, held=8, after=21, rate=RATE, kept=2, say=print)
    assert faults_of(phases, RATE, most_memory=MOST_MEMORY, most_size=MOST_SIZE) == []


@pytest.mark.slow
def test_without_pruning_it_is_found_that_the_tables_grow() -> None:
    phases = soak(warm_up=4, held=1, after=9, rate=RATE, kept=None, say=print)
    faults = faults_of(phases, RATE, most_memory=MOST_MEMORY, most_size=MOST_SIZE)
    assert "after: tables" in [fault.partition(" grew")[0] for fault in faults]


def steadily(jobs: float, memory: float, alive: int = 0) -> Phase:
    return Phase(
        "after",
        [
            Sample(n, int(jobs * n), alive, 0, int(memory * jobs * n), 10_000, 10_000)
            for n in range(30)
        ],
    )


def test_what_slows_down_or_takes_more_and_more_memory_is_found() -> None:
    limits = {"most_memory": 100.0, "most_size": 100.0}
    first = steadily(0, 0)
    assert faults_of([first, steadily(150, 50)], 150, **limits) == []
    assert "jobs/s" in faults_of([first, steadily(120, 50)], 150, **limits)[0]
    assert "memory grew by 200.0" in faults_of([first, steadily(150, 200)], 150, **limits)[0]
