"""Check: what still waits when all should be done, and why."""

from collections.abc import Sequence

from tests.stress.log import Log, Version, Violation


def left(log: Log, now: float) -> list[Violation]:
    """What is not done, as a violation each: nothing is under way any more, and yet some wait."""
    newest = [history[-1] for history in log.histories.values()]
    alive = [version for version in newest if version.status in {"todo", "doing"}]
    claimable = claimable_jobs(alive, now)
    return [
        Violation(
            "stall",
            f"{_why(job, claimable, now)}: {job}",
        )
        for job in sorted(alive, key=lambda job: (job not in claimable, job.lock or "", job.rank))
    ]


def _why(job: Version, claimable: Sequence[Version], now: float) -> str:
    if job.is_late(now):
        return "it has not begun by its time, and no worker ends it"
    return "nothing bars it, and no worker claims it" if job in claimable else "it is left"


def claimable_jobs(alive: Sequence[Version], now: float) -> list[Version]:
    """Of the jobs that wait or run, those that a worker may claim."""
    heads: dict[str, Version] = {}
    held = {job.lock for job in alive if job.status == "doing"}
    for job in alive:
        if job.status == "todo" and job.lock is not None:
            heads[job.lock] = min(job, heads.get(job.lock, job), key=lambda job: job.rank)
    return [
        job
        for job in alive
        if job.status == "todo"
        and (job.due_at is None or job.due_at <= now)
        and (job.lock is None or (job.lock not in held and heads[job.lock] is job))
    ]
