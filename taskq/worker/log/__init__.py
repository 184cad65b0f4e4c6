"""Log: the first subscriber of telemetry, which turns events into records.

Users filter by ``action`` and by logger: both stay as they are, whichever module emits the event. What is for
DEBUG is no event, and is logged where it happens.
"""

from taskq.telemetry import Telemetry
from taskq.worker.log import jobs, workers


def subscribe_log(telemetry: Telemetry) -> None:
    """Have events logged."""
    jobs.subscribe(telemetry)
    workers.subscribe(telemetry)
