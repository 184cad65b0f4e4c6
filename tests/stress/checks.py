"""All checks of a log."""

from collections.abc import Mapping
from types import MappingProxyType

from tests.stress.effects import effects
from tests.stress.ends import ends
from tests.stress.log import Log, Violation
from tests.stress.order import holding, order_of_runs, overtaking
from tests.stress.running import exclusion, max_running_per_key


def violations_of(log: Log, limits: Mapping[str, int] = MappingProxyType({})) -> list[Violation]:
    """What in it must not be.

    Args:
        log: The log.
        limits: How many jobs of a key may run at once, for each key that has a limit.
    """
    checks = (exclusion, holding, overtaking, order_of_runs, ends, effects)
    return [
        *(violation for check in checks for violation in check(log)),
        *max_running_per_key(log, limits),
    ]
