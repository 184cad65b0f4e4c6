"""What operations make of the state, as the docs say it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from tests.model.state import RUNNING, UNSUCCESSFUL, WAITING, Figures, Job, Start, State, brief

# What a job fails for, if it was all that its worker had in hand.
MAX_CRASHES = 3


class RefusedError(Exception):
    """A job with this queueing lock waits already."""


@dataclass(frozen=True, slots=True, repr=False)
class End:
    """How a worker says that an attempt ended; ``retry_in`` in hours."""

    status: str
    job_id: int = 0
    claim: int = 0
    retry_in: int | None = None
    keeps_attempt: bool = False
    unstarted: bool = False
    deleted: bool = False
    queue: str | None = None
    priority: int | None = None
    lock: str | None = None
    held_lock: str | None = None
    held_queue: str | None = None

    __repr__ = brief


def defer(state: State, new: Job, on_conflict: str, drawn: int | None) -> int | None:
    """Defer a job; returns the id that the call answers, None if it is skipped.

    Args:
        state: The state.
        new: The job, without its id.
        on_conflict: What becomes of it if a job with its queueing lock waits.
        drawn: The id that the database has drawn, if a job is to be made.
    """
    if new.key is not None:
        known = next((job for job in state.jobs.values() if job.key == new.key), None)
        if known is not None:
            return known.id
    waits = state.in_the_way_of(new)
    if waits is None:
        assert drawn is not None, "a job was to be made, and none was"
        assert drawn not in state.jobs, f"a job was to be made, and job {drawn} was answered"
        state.jobs[drawn] = replace(new, id=drawn)
        return drawn
    if on_conflict == "raise":
        raise RefusedError
    if on_conflict == "skip":
        return None
    at = state.hour if new.at is None else new.at
    key = waits.key if new.key is None else new.key
    # It keeps its id, and claim, which only grows.
    state.jobs[waits.id] = replace(
        new, id=waits.id, at=at, key=key, claim=waits.claim, batch=waits.batch
    )
    return waits.id


def expire(state: State, ids: Iterable[int]) -> None:
    """Cancel jobs that have not begun by their time."""
    for id_ in ids:
        state.jobs[id_].status = "cancelled"


def start(state: State, job: Job, worker: int, batch: int) -> None:
    """A worker has claimed a job."""
    job.status, job.worker, job.started, job.batch = RUNNING, worker, state.hour, batch
    job.claim += 1
    job.attempt += 1
    for key in state.limits_of(job):
        figures = state.figures(key)
        if figures is not None and figures.pace is not None:
            state.spent[key] = max(state.spent.get(key, state.hour), state.hour) + figures.pace
            state.starts.append(Start(state.hour, key, job.id, job.claim))


def end(state: State, worker: int, ends: Sequence[End]) -> dict[int, str]:
    """A worker says how attempts ended; returns what has become of those that were still its own."""
    ours = {}
    for said in sorted(ends, key=lambda said: said.job_id):
        job = state.jobs.get(said.job_id)
        if job is None or (job.claim, job.worker) != (said.claim, worker) or job.status != RUNNING:
            continue
        if said.deleted:
            remove(state, job.id)
            ours[job.id] = said.status
            continue
        if said.unstarted:
            _take_back_start(state, job)
        if said.status == WAITING and not job.abort_requested and state.in_the_way_of(job):
            job.status = "failed"
        elif said.status == WAITING and job.abort_requested:
            job.status = "aborted"
        else:
            job.status = said.status
        if said.status == WAITING and not said.unstarted:
            job.expires = None
        if said.retry_in is not None:
            job.at = state.hour + said.retry_in
        job.attempt -= said.keeps_attempt
        job.queue = said.queue or job.queue
        job.priority = job.priority if said.priority is None else said.priority
        job.lock = said.lock or job.lock
        ours[job.id] = job.status
    return ours


def _take_back_start(state: State, job: Job) -> None:
    state.returned += [(key, job.started) for key in state.limits_of(job)]
    state.starts = [one for one in state.starts if (one.job_id, one.claim) != (job.id, job.claim)]


def remove(state: State, job_id: int) -> None:
    """A job is deleted."""
    del state.jobs[job_id]
    state.gone.add(job_id)


def cancel(state: State, job: Job, *, abort: bool, delete_job: bool) -> bool:
    """Cancel a job that waits, or ask for one that runs to be aborted; returns whether that happened."""
    if job.status == WAITING:
        if delete_job:
            remove(state, job.id)
        else:
            job.status = "cancelled"
        return True
    if job.status == RUNNING and abort:
        job.abort_requested = True
        return True
    return False


def retry(state: State, job: Job, wait: int, queue: str | None, lock: str | None) -> bool:
    """Put a job that ended badly back; False: it cannot be."""
    if job.status not in UNSUCCESSFUL or state.in_the_way_of(job) is not None:
        return False
    job.status, job.abort_requested, job.expires = WAITING, False, None
    job.at = state.hour + wait
    job.queue, job.lock = queue or job.queue, lock or job.lock
    return True


def reschedule(
    state: State, job: Job, wait: int | None, queue: str | None, priority: int | None
) -> bool:
    """Give a job that waits another time, queue or priority; False: it does not wait."""
    if job.status != WAITING:
        return False
    job.at = job.at if wait is None else state.hour + wait
    job.queue = queue or job.queue
    job.priority = job.priority if priority is None else priority
    return True


def say(state: State, key: str, by_operator: bool, figures: Figures | None) -> None:
    """An operator or an app says what a limit allows; None: it takes that back."""
    if figures is None:
        state.said.pop((key, by_operator), None)
    elif by_operator:
        state.said[key, True] = figures | state.said.get((key, True), Figures())
    else:
        state.said[key, False] = figures
    name = key.partition(":")[0]
    state.starts = [one for one in state.starts if one.key.partition(":")[0] != name]


def rescue(state: State, passed_over: Collection[int] = ()) -> dict[int, str]:
    """Take the jobs of dead workers back, or end them; returns what has become of them.

    Args:
        state: The state.
        passed_over: The jobs that another transaction has locked: the next rescue takes them.
    """
    dead = {id_: worker for id_, worker in state.workers.items() if worker.beat < state.hour}
    for id_ in dead:
        del state.workers[id_]
    lost = [
        job
        for job in state.running()
        if job.id not in passed_over
        and (job.worker in dead or (job.worker not in state.workers and job.started < state.hour))
    ]
    in_hand = {
        worker: sorted(
            (job for job in state.running() if job.worker == worker),
            key=lambda job: (job.started, job.batch, *job.rank),
        )
        for worker in {job.worker for job in lost}
    }
    lost_of = {worker: [job for job in jobs if job in lost] for worker, jobs in in_hand.items()}
    ended = {}
    for job in sorted(lost, key=lambda job: job.id):
        owner = dead.get(job.worker or 0)
        may_have_run = lost_of[job.worker][: owner.concurrency] if owner else lost_of[job.worker]
        has_begun = any(one is job for one in may_have_run)
        is_culprit = (
            owner is not None and job.crashes + 1 >= MAX_CRASHES and len(in_hand[job.worker]) == 1
        )
        if has_begun:
            job.crashes += 1
            job.expires = None
        else:
            job.attempt -= 1
        if job.abort_requested:
            job.status = "aborted"
        elif is_culprit or state.in_the_way_of(job) is not None:
            job.status = "failed"
        else:
            job.status = WAITING
        ended[job.id] = job.status
    return ended
