"""Check: how many run at once. Of a lock it is one; a limit of a key is the same with a larger number.

A run counts from when its task recorded that it began until the first of these: the task recorded its end;
its process was killed; its job was taken from it, as from a worker that was taken for dead. What it does
after that is what "at least once" allows: such a run may go on beside the next one of the same lock, and of
the same job.
"""

import heapq
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

from taskq import Limit
from tests.stress.log import Log, Run, Violation


def exclusion(log: Log) -> list[Violation]:
    """No two jobs of a lock run at once."""
    return _too_many("exclusion", log, lambda run: run.lock, lambda _: 1)


def max_running_per_key(log: Log, limits: Mapping[str, Limit]) -> list[Violation]:
    """No more jobs of a key run at once than its limit says."""
    return _too_many("limit", log, lambda run: run.key, lambda key: concurrency_of(key, limits))


def concurrency_of(limit_key: str, limits: Mapping[str, Limit]) -> int:
    """How many jobs of a key may run at once."""
    limit = limits.get(limit_key.partition(":")[0])
    return sys.maxsize if limit is None or limit.concurrency is None else limit.concurrency


def ends_at(log: Log, run: Run) -> float:
    """Until when a run counts; if that is not known, it counts for no time."""
    tenure = log.tenures.get((run.job_id, run.claim))
    ends = [log.killed_at(run.process)]
    if run.ended_at is not None:
        ends.append(run.ended_at)
    if tenure is not None and tenure.ended is not None:
        ends.append(tenure.ended.at)
    end = min(ends)
    return run.started_at if end == float("inf") else end


def most_at_once(log: Log, key_of: Callable[[Run], str | None]) -> int:
    """How many of one key ran at once, at most."""
    return max((len(beside) + 1 for _, _, beside in _together(log, key_of)), default=0)


def _too_many(
    check: str, log: Log, key_of: Callable[[Run], str | None], limit_of: Callable[[str], int]
) -> list[Violation]:
    return [
        Violation(
            check,
            f"of {key}, more than {limit_of(key)} ran at once: {run} beside {', '.join(map(str, beside))}",
        )
        for key, run, beside in _together(log, key_of)
        if len(beside) >= limit_of(key)
    ]


def _together(
    log: Log, key_of: Callable[[Run], str | None]
) -> Iterator[tuple[str, Run, Sequence[Run]]]:
    """Each run that counts, with its key, and those of the key that ran when it began."""
    by_key: dict[str, list[Run]] = defaultdict(list)
    for run in log.runs:
        key = key_of(run)
        if key is not None:
            by_key[key].append(run)
    for key, runs in by_key.items():
        under_way: list[tuple[float, int, Run]] = []
        for number, run in enumerate(sorted(runs, key=lambda run: run.started_at)):
            while under_way and under_way[0][0] <= run.started_at:
                heapq.heappop(under_way)
            end = ends_at(log, run)
            if end > run.started_at:
                yield key, run, [other for _, _, other in under_way]
                heapq.heappush(under_way, (end, number, run))
