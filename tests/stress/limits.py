"""Checks: what the database lets run at once, and how soon it lets one start after the other.

A job counts from when its claim was written until its end was: a claim that sees the end was written after
it.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping

from taskq import Limit
from tests.stress.log import Log, Tenure, Version, Violation
from tests.stress.running import concurrency_of

# Times are kept in microseconds.
_ROUNDING = 2e-6  # seconds


def crowding(
    log: Log, limits: Mapping[str, Limit], queue_limits: Mapping[str, Limit]
) -> list[Violation]:
    """No more jobs are doing at once than their limits, or that of their queue, say."""
    of_queues = {limit.name: limit for limit in queue_limits.values()}
    return [
        *_too_many(log, lambda version: version.limit_key, limits),
        *_too_many(
            log,
            lambda version: (
                queue_limits[version.queue].name if version.queue in queue_limits else None
            ),
            of_queues,
        ),
    ]


def haste(log: Log, limits: Mapping[str, Limit]) -> list[Violation]:
    """No job starts before the rate of its limit lets it, but in place of one that went back unstarted."""
    starts: dict[str, list[Tenure]] = defaultdict(list)
    for tenure in log.tenures.values():
        key = tenure.began.limit_key
        limit = limits.get(key.partition(":")[0]) if key else None
        if key and limit is not None and limit.rate is not None and log.run_of(tenure) is not None:
            starts[key].append(tenure)
    violations = []
    for key, tenures in starts.items():
        figures = limits[key.partition(":")[0]].figures
        assert figures.rate is not None
        assert figures.per is not None
        pace = figures.per / figures.rate
        tenures.sort(key=lambda tenure: tenure.began.began)
        for place, later in enumerate(tenures[figures.burst or 1 :]):
            earlier = tenures[place]
            if later.began.began - earlier.began.began < pace - _ROUNDING:
                violations.append(
                    Violation("rate", f"{later.began} started too soon after {earlier.began}")
                )
    return violations


def _too_many(
    log: Log, key_of: Callable[[Version], str | None], limits: Mapping[str, Limit]
) -> list[Violation]:
    by_key: dict[str, list[Tenure]] = defaultdict(list)
    for tenure in log.tenures.values():
        if (key := key_of(tenure.began)) is not None:
            by_key[key].append(tenure)
    violations = []
    for key, tenures in by_key.items():
        most = concurrency_of(key, limits)
        ends: list[float] = []
        for tenure in sorted(tenures, key=lambda tenure: tenure.began.at):
            while ends and ends[0] <= tenure.began.at:
                heapq.heappop(ends)
            heapq.heappush(ends, float("inf") if tenure.ended is None else tenure.ended.at)
            if len(ends) > most:
                violations.append(
                    Violation(
                        "crowd",
                        f"{tenure.began} was claimed as number {len(ends)} of {most} of {key}",
                    )
                )
    return violations
