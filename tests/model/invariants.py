"""The promises, each a function that cites the page of docs/ that makes it.

They raise ``BrokenPromiseError``.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from itertools import product

from tests.model import rules
from tests.model.database import Session, World, undone
from tests.model.state import RUNNING, UNSUCCESSFUL, WAITING, Job, State

# From which status to which, without the state that a job keeps: docs/jobs.md and docs/managing-jobs.md.
LEGAL = {
    WAITING: {RUNNING, "cancelled"},
    RUNNING: {WAITING, "succeeded", "failed", "aborted"},
    **{status: {WAITING} for status in UNSUCCESSFUL},
    "succeeded": set(),
}
PROBE = 99


class BrokenPromiseError(AssertionError):
    """One of them does not hold."""


def check(holds: bool, promise: str, why: object) -> None:
    """Raise if a promise does not hold."""
    if not holds:
        raise BrokenPromiseError(f"{promise}: {why}")


def transitions_are_legal(before: Mapping[int, Job], after: Mapping[int, Job]) -> None:
    """docs/managing-jobs.md, One job: what a job may become.

    The claim only grows: docs/jobs.md, fencing token.
    """
    for id_, job in after.items():
        if (was := before.get(id_)) is None:
            check(job.status == WAITING, "a new job waits", job)
            continue
        is_legal = job.status == was.status or job.status in LEGAL[was.status]
        # A claim that ended at once, by rescue for example, is two steps; here each is seen.
        check(is_legal, f"a job that was {was.status} may become {LEGAL[was.status]}", job)
        begins = (was.status, job.status) == (WAITING, RUNNING)
        check(job.claim == was.claim + begins, "a claim counts, and nothing else", (was, job))


def nothing_is_lost(state: State, rows: Mapping[int, Job]) -> None:
    """docs/at-least-once.md: a job that was acknowledged is there, or was deleted; no other one is."""
    check(rows.keys() == state.jobs.keys(), "each job that was acknowledged is kept", rows.keys())


def jobs_are_what_was_done_with_them(state: State, rows: Mapping[int, Job]) -> None:
    """docs/managing-jobs.md, docs/retries.md, docs/stopping.md, docs/deferring.md: each change does what it
    says.

    So a stale token changes nothing (docs/jobs.md), and an idempotency key makes nothing (docs/deferring.md).
    """
    for id_, job in state.jobs.items():
        expected, found = _shown(job), _shown(rows[id_])
        differ = {
            name: (found[name], value) for name, value in expected.items() if found[name] != value
        }
        check(not differ, f"job {id_} is what was done with it (found, expected)", differ)


def _shown(job: Job) -> dict[str, object]:
    shown = asdict(job)
    for name in ("started", "batch"):
        del shown[name]
    if job.status != WAITING:
        del shown["at"]
    else:
        # Only a replaced one forgets who ran it.
        del shown["worker"]
    return shown


def one_of_a_lock_runs(state: State) -> None:
    """docs/locks.md: jobs of a lock run one at a time.

    Several are only in the hand of one worker, as a run of them.
    """
    runs: dict[str, set[tuple[int | None, int]]] = {}
    for job in state.running():
        if job.lock is not None:
            runs.setdefault(job.lock, set()).add((job.worker, job.batch))
    check(all(len(run) == 1 for run in runs.values()), "one of a lock runs", runs)


def one_waits_of_a_queueing_lock(rows: Mapping[int, Job]) -> None:
    """docs/deferring.md, Once in the queue: no two jobs with the same queueing lock wait at once."""
    waiting = Counter(
        job.queueing_lock for job in rows.values() if job.queueing_lock and job.status == WAITING
    )
    check(all(n == 1 for n in waiting.values()), "one waits of a queueing lock", waiting)


def one_job_has_a_key(rows: Mapping[int, Job]) -> None:
    """docs/deferring.md, Once for all: while a job with an idempotency key is kept, no other one has it."""
    keys = Counter(job.key for job in rows.values() if job.key is not None)
    check(all(n == 1 for n in keys.values()), "one job has an idempotency key", keys)


def a_claim_takes_what_nothing_bars(state: State, ids: Sequence[int], batch: int) -> None:
    """docs/locks.md, docs/limits.md, docs/pausing.md, docs/deferring.md: no claim takes what is barred.

    To be called as the jobs are started, with those that are still to be.
    """
    for id_ in ids:
        job = state.jobs.get(id_)
        check(job is not None and job.status == WAITING, "only a job that waits is claimed", job)
        assert job is not None
        check(job.id not in state.held, "no claim takes what another transaction has", job)
        # Rates are looked at by their promise.
        bars = [
            reason
            for reason in state.bars(job, claimed_with=batch)
            if not reason.startswith("the rate")
        ]
        check(not bars, f"job {id_} is not claimed, as", bars)


def limits_are_not_exceeded(before: Mapping[str, int], state: State) -> None:
    """docs/limits.md, Concurrency: a claim never makes more of a limit run than it allows."""
    for key, running in state.counts().items():
        figures = state.figures(key)
        most = figures.concurrency if figures is not None else 0
        check(
            most is None or running <= max(most, before.get(key, 0)),
            f"at most {most} of {key} run",
            running,
        )


def rates_are_not_exceeded(state: State) -> None:
    """docs/limits.md, Rates: no time of the length ``per`` has more starts than ``rate + burst - 1``.

    They start evenly: as many paces have as many starts, and ``burst - 1`` more at most.
    """
    for key in {one.key for one in state.starts}:
        figures = state.figures(key)
        if figures is None or figures.rate is None:
            continue
        assert figures.pace is not None
        assert figures.burst is not None
        hours = [one.hour for one in state.starts if one.key == key]
        for last, number in product(hours, range(1, figures.rate + 1)):
            within = [hour for hour in hours if last - number * figures.pace < hour <= last]
            most = number + figures.burst - 1
            check(len(within) <= most, f"at most {most} of {key} start in a time", within)


def the_best_are_claimed(
    state: State, ids: Collection[int], queue_names: Sequence[str] | None, max_jobs: int
) -> None:
    """docs/locks.md: higher priorities first, and then by id; limits of one priority take turns
    (docs/limits.md).

    To be called after the jobs were started. Followers of a lock come last: docs/gates.md, Runs.
    """
    if len(ids) < max_jobs:
        return
    taken = [state.jobs[id_] for id_ in ids]
    first_of = {
        job.lock: min((other.rank for other in taken if other.lock == job.lock), default=job.rank)
        for job in taken
        if job.lock is not None
    }
    heads = [job for job in taken if job.lock is None or first_of[job.lock] == job.rank]
    for job in state.waiting():
        # One that was for later is seen when it was promoted.
        served = queue_names is None or job.queue in queue_names
        if not served or job.at is not None or job.id in state.held or any(state.bars(job)):
            continue
        for head in heads:
            is_limited = state.limits_of(job) or state.limits_of(head)
            is_better = job.priority > head.priority if is_limited else job.rank < head.rank
            check(not is_better, f"the best are claimed: {head} was, and not", job)


def nothing_free_is_forgotten(state: State, session: Session, world: World) -> None:
    """docs/gates.md, Why no job is forgotten: what nothing bars any more is claimed, once timers have run.

    What would happen is tried, and undone. In the end, when claims find nothing, no worker is told to claim
    either: what is barred is not held for ready (docs/gates.md).
    """
    tried = deepcopy(state)
    with undone(session):
        session.promote()
        rules.expire(tried, [job.id for job in tried.waiting() if tried.is_late(job)])
        idle = 0
        while idle < 3:
            claimed = session.claim(PROBE, None, 50, 1)
            idle = 0 if claimed else idle + 1
            start_claimed(tried, [id_ for id_, _ in claimed], PROBE)
        rows = world.read_jobs(state.hour, session.connection)
        wakes = session.has_ready_jobs()
    jobs_are_what_was_done_with_them(tried, rows)
    forgotten = [job for job in tried.waiting() if not any(tried.bars(job))]
    check(not forgotten, "what nothing bars is claimed", forgotten)
    check(not wakes, "what is barred wakes no worker", tried.waiting())


def start_claimed(state: State, ids: Iterable[int], worker: int) -> int:
    """Take in what a claim has brought, in order, if it may; returns which of all claims it was."""
    state.claims += 1
    before = dict(state.counts())
    for id_ in sorted(ids, key=lambda id_: state.jobs[id_].rank):
        a_claim_takes_what_nothing_bars(state, [id_], state.claims)
        rules.start(state, state.jobs[id_], worker, state.claims)
    limits_are_not_exceeded(before, state)
    rates_are_not_exceeded(state)
    return state.claims
