"""Checks: who goes first of a lock, and who holds it.

A job may be claimed if no better one of its lock waits. "Waits" is certain if every statement of the claim's
transaction must have seen it so: the better job's version was visible to all when the transaction
began, and still the newest when the claim had been written. Between the two nothing is certain, and nothing
is reported: that is the time in which an operator's change, or a commit, may come before the claim or
after it.
"""

from collections import defaultdict
from collections.abc import Sequence

from tests.stress.log import FINAL, Log, Tenure, Version, Violation


def overtaking(log: Log) -> list[Violation]:
    """No job is claimed while a better one of its lock waits, for its time or its retry as well."""
    violations = []
    for claim, lock, others in _claims(log):
        own = _own_versions(log, claim)
        if not own or not all(version.lock == lock for version in own):
            continue
        best = min(version.rank for version in own)
        for history in others:
            seen = _seen_by(log, history, claim)
            if seen and all(other.waits_for(lock) and other.rank < best for other in seen):
                violations.append(
                    Violation("order", f"{claim} was claimed while a better one waited: {seen[-1]}")
                )
                break
    return violations


def holding(log: Log) -> list[Violation]:
    """No job is claimed while another worker has one of its lock."""
    violations = []
    for claim, lock, others in _claims(log):
        for history in others:
            seen = _seen_by(log, history, claim)
            if seen and all(
                other.status == "doing"
                and other.lock == lock
                and other.worker_id != claim.worker_id
                for other in seen
            ):
                violations.append(
                    Violation("holding", f"{claim} was claimed while another was held: {seen[-1]}")
                )
                break
    return violations


def order_of_runs(log: Log) -> list[Violation]:
    """Jobs of a lock that were claimed together run in their order, and none runs past one that went back."""
    together: dict[tuple[int, str], list[Tenure]] = defaultdict(list)
    for tenure in log.tenures.values():
        if tenure.began.lock is not None:
            together[tenure.began.transaction, tenure.began.lock].append(tenure)
    violations = []
    for tenures in together.values():
        tenures.sort(key=lambda tenure: tenure.began.rank)
        for place, tenure in enumerate(tenures):
            run = log.run_of(tenure)
            if run is None or tenure.is_over(run.started_at):
                continue
            for earlier in tenures[:place]:
                if why := _overtaken(log, earlier, tenure, run.started_at):
                    violations.append(Violation("order", f"{run} began, {why}: {earlier.began}"))
                    break
    return violations


def _overtaken(log: Log, earlier: Tenure, later: Tenure, at: float) -> str | None:
    """What bars the later one of two that were claimed together from beginning; None: nothing certain."""
    run, ended = log.run_of(earlier), earlier.ended
    if run is None or run.started_at > at:
        # It has not begun. If it has ended for good by now, without having begun, nothing bars.
        if earlier.is_over(at) or (ended is not None and ended.status in FINAL):
            return None
        return "claimed with a better one that had not begun"
    lock = later.began.lock
    if (
        lock is not None
        and ended is not None
        and ended.waits_for(lock)
        and ended.process == later.began.process
        and ended.rank < later.began.rank
        and not any(
            version.status != "todo" and version.at <= at
            for version in log.histories[ended.job_id]
            if version.seq > ended.seq
        )
    ):
        return "claimed with a better one that had gone back to wait"
    return None


def _claims(log: Log) -> list[tuple[Version, str, Sequence[Sequence[Version]]]]:
    """Each claim of a job with a lock, the lock, and the histories of the other jobs that ever had it."""
    by_lock: dict[str, list[Sequence[Version]]] = defaultdict(list)
    for history in log.histories.values():
        for lock in {version.lock for version in history if version.lock is not None}:
            by_lock[lock].append(history)
    return [
        (
            tenure.began,
            tenure.began.lock,
            [h for h in by_lock[tenure.began.lock] if h[0].job_id != tenure.began.job_id],
        )
        for tenure in log.tenures.values()
        if tenure.began.lock is not None
    ]


def _seen_by(log: Log, history: Sequence[Version], claim: Version) -> list[Version]:
    """The versions of another job of which any may have been the newest one for the claim.

    None if it may have seen none, or if the claim's own transaction wrote one.
    """
    if any(version.transaction == claim.transaction for version in history):
        return []
    seen, certain = _newest(log, history, claim)
    return seen if certain else []


def _own_versions(log: Log, claim: Version) -> list[Version]:
    """The versions of the claimed job of which the claim may have found any waiting."""
    before = [version for version in log.histories[claim.job_id] if version.seq < claim.seq]
    return [version for version in _newest(log, before, claim)[0] if version.status == "todo"]


def _newest(log: Log, history: Sequence[Version], claim: Version) -> tuple[list[Version], bool]:
    """What may have been newest, in order; and whether the first of that was visible from the beginning."""
    seen = [version for version in history if claim.snapshot.sees(version.transaction)]
    for index in range(len(seen) - 1, -1, -1):
        if log.visibility.by(seen[index].transaction) < claim.began:
            return seen[index:], True
    return seen, False
