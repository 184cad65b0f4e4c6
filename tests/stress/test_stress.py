"""The stress test itself, for as long as there is time; for longer by ``python -m tests.stress``."""

import pytest

from tests.stress.campaign import campaign


@pytest.mark.slow
def test_jobs_are_kept_apart_and_in_order_and_none_is_forgotten() -> None:
    assert campaign(seconds=30, seed=1) == []
