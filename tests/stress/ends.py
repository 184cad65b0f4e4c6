"""Check: how jobs go from status to status, and that each ends once, with the status that its script says.

What a worker does to a job is one of its script's steps, or else must be explained: it gave the job back
before it began, an abort was requested, or something was done to the worker's process (also by the
machine, if it was so busy that the worker missed its own heartbeat, and says so).
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from tests.stress.log import FINAL, Log, Run, Tenure, Version, Violation
from tests.stress.scripts import status_after, step_of


def ends(log: Log) -> list[Violation]:
    """Every job goes its way, and every run belongs to a claim."""
    return [
        Violation("ends", text)
        for texts in (_runs(log), _transitions(log), *(_end(log, t) for t in log.tenures.values()))
        for text in texts
    ]


def _runs(log: Log) -> Iterator[str]:
    for (job_id, claim), number in Counter((run.job_id, run.claim) for run in log.runs).items():
        if number > 1:
            yield f"job {job_id} ran {number} times for claim {claim}"
    for run in log.runs:
        tenure = log.tenures.get((run.job_id, run.claim))
        if tenure is None:
            yield f"it ran without having been claimed: {run}"
        elif tenure.began.process != run.process:
            yield f"it ran in another process than claimed it: {run}, {tenure.began}"
        elif tenure.is_over(run.started_at) and not log.was_paused(run):
            yield f"it began to run, and was not its worker's any more: {run}, {tenure.ended}"


def _transitions(log: Log) -> Iterator[str]:
    for history in log.histories.values():
        if history[0].status != "todo":
            yield f"the first version of it does not wait: {history[0]}"
        for before, after in pairwise(history):
            if not _is_allowed(before, after):
                yield f"after {before} came {after}"
        if history[-1].status not in FINAL | {"deleted"}:
            yield f"it has not ended: {history[-1]}"


def _is_allowed(before: Version, after: Version) -> bool:
    by_worker = after.process.startswith("worker")
    match before.status, after.status:
        case "todo", "todo":
            # A worker makes it due, and nothing else.
            return not by_worker or _kept(before) == _kept(after)
        case "todo", "doing":
            return by_worker and after.claim == before.claim + 1 and after.lock == before.lock
        case "todo", "cancelled":
            # A worker only what has not begun by its time, by the server's clock.
            return not by_worker or before.is_late(after.began)
        case "todo", "deleted":
            return not by_worker
        case "doing", "doing":
            same = (before.claim, before.worker_id) == (after.claim, after.worker_id)
            return same and after.abort_requested and not by_worker
        case "doing", "todo" | "succeeded" | "failed" | "aborted":
            return by_worker
        case "failed" | "cancelled" | "aborted", "todo":
            return not by_worker
        case "succeeded" | "failed" | "cancelled" | "aborted", "deleted":
            return not by_worker
        case "succeeded" | "failed" | "cancelled" | "aborted", again if again == before.status:
            # Its arguments are encrypted by another key.
            return not by_worker and _kept(before) == _kept(after)
    return False


def _kept(version: Version) -> tuple[object, ...]:
    return version.lock, version.rank, version.claim, version.expires_at


def _is_rescue(tenure: Tenure, ended: Version) -> bool:
    return ended.process != tenure.began.process


def _end(log: Log, tenure: Tenure) -> Iterator[str]:
    ended, run = tenure.ended, log.run_of(tenure)
    if ended is None:
        yield f"it is still doing: {tenure.last}"
    elif ended.status == "aborted":
        if not tenure.last.abort_requested:
            yield f"it was aborted without a request: {ended}"
        elif not _is_rescue(tenure, ended) and _succeeded(run):
            yield f"it was aborted, and had succeeded: {run}"
    elif _is_rescue(tenure, ended):
        if ended.status != "todo":
            yield f"another worker ended it, or an operator: {ended}"
        elif not log.was_disturbed(tenure):
            yield f"it was taken from a worker that was well: {tenure.last}, then {ended}"
    elif run is None:
        if ended.status != "todo":
            yield f"it ended without having run: {ended}"
    elif not (_as_scripted(log, run, tenure.began, ended) or _given_back(log, tenure, ended)):
        step = step_of(tenure.began.script, tenure.began.claim)
        yield f"its script says {step!r}, and it became {ended}: {run}"


def _succeeded(run: Run | None) -> bool:
    return run is not None and run.step == "succeed"


def _as_scripted(log: Log, run: Run, began: Version, ended: Version) -> bool:
    step = step_of(began.script, began.claim)
    # One that ended by its own transaction may be cut off before it has recorded that.
    did = run.step == step or (began.job_id, began.claim) in log.effects
    return did and ended.status == status_after(step)


def _given_back(log: Log, tenure: Tenure, ended: Version) -> bool:
    return ended.status == "todo" and log.was_disturbed(tenure)
