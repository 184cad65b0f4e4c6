"""All checks of a log."""

from collections.abc import Mapping
from types import MappingProxyType

from taskq import Limit
from tests.stress.effects import effects
from tests.stress.ends import ends
from tests.stress.expiry import expiry
from tests.stress.limits import crowding, haste
from tests.stress.log import Log, Violation
from tests.stress.order import holding, order_of_runs, overtaking
from tests.stress.running import exclusion, max_running_per_key


def violations_of(
    log: Log,
    limits: Mapping[str, Limit] = MappingProxyType({}),
    queue_limits: Mapping[str, Limit] = MappingProxyType({}),
) -> list[Violation]:
    """What in it must not be.

    Args:
        log: The log.
        limits: The limits by name.
        queue_limits: Those of queues.
    """
    checks = (exclusion, holding, overtaking, order_of_runs, ends, expiry, effects)
    return [
        *(violation for check in checks for violation in check(log)),
        *max_running_per_key(log, limits),
        *crowding(log, limits, queue_limits),
        *haste(log, limits),
    ]
