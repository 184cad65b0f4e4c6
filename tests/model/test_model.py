"""taskq keeps its promises, whatever is done in whatever order: see the package."""

import os

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Machine
from tests.sql.conftest import Connect, connect

__all__ = ["connect"]  # a fixture

EXAMPLES = int(os.environ.get("TASKQ_MODEL_EXAMPLES", "60"))
SEED = int(os.environ.get("TASKQ_MODEL_SEED", "1"))
STEPS = int(os.environ.get("TASKQ_MODEL_STEPS", "40"))
# What a failing example is made smaller by takes a while, and mutations.py has no use for it.
SHORTENS = os.environ.get("TASKQ_MODEL_SHORTENS", "1") == "1"


@pytest.mark.slow
def test_the_promises_hold_whatever_is_done(connect: Connect) -> None:
    Machine.connections = connect(), connect()
    run_state_machine_as_test(
        seed(SEED)(Machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=False,
            phases=[Phase.generate, Phase.shrink] if SHORTENS else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
