"""Changing jobs: one, several that were selected, or all that fit the filters; with a question before it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from taskq.contrib.dashboard.filters import Filters
from taskq.contrib.dashboard.forms import priority_of, when_of
from taskq.contrib.dashboard.visit import Visit
from taskq.exceptions import InvalidFilter, InvalidJob, InvalidTransition
from taskq.job import JobStatus
from taskq.manager import JobManager
from taskq.messages import short_repr
from taskq.queries.filters import ALIVE, EVERY_STATUS, UNSUCCESSFUL

_BESIDE = ("do", "id", "all", "when", "priority", "new_queue", "order", "after")


@dataclass(frozen=True, slots=True)
class Operation:
    """What may be done to jobs.

    Attributes:
        name: What it is called.
        statuses: Those of the jobs that it can be done to.
        says: What it does, to follow "to".
        many: Does it to all that fit filters; returns how many.
        one: Does it to one.
    """

    name: str
    statuses: frozenset[JobStatus]
    says: str
    many: Callable[..., Awaitable[int]]
    one: Callable[..., Awaitable[object]]


async def _cancel(jobs: JobManager, job_id: int) -> None:
    if not await jobs.cancel_job_by_id_async(job_id):
        raise await _moved_on(jobs, job_id, "only a job that waits is cancelled")


async def _abort(jobs: JobManager, job_id: int) -> None:
    if not await jobs.cancel_job_by_id_async(job_id, abort=True):
        raise await _moved_on(jobs, job_id, "only a job that waits or runs is aborted")


async def _delete(jobs: JobManager, job_id: int) -> None:
    if not await jobs.delete_jobs_async(ids=[job_id]):
        raise await _moved_on(jobs, job_id, "a job that runs is not deleted: abort it first")


async def _moved_on(jobs: JobManager, job_id: int, reason: str) -> InvalidTransition:
    return InvalidTransition(job_id, await jobs.get_job_status_async(job_id), reason)


async def _abort_all(jobs: JobManager, **filters: Any) -> int:
    return await jobs.cancel_jobs_async(abort=True, **filters)


OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation(
            "retry",
            UNSUCCESSFUL,
            "put back into the queue what failed, was cancelled or was aborted",
            JobManager.retry_jobs_async,
            JobManager.retry_job_by_id_async,
        ),
        Operation(
            "cancel",
            frozenset({JobStatus.TODO}),
            "end what waits as cancelled, before it begins",
            JobManager.cancel_jobs_async,
            _cancel,
        ),
        Operation(
            "abort",
            ALIVE,
            "cancel what waits, and ask the workers of what runs to abort it",
            _abort_all,
            _abort,
        ),
        Operation(
            "reschedule",
            frozenset({JobStatus.TODO}),
            "give what waits another time, priority or queue",
            JobManager.reschedule_jobs_async,
            JobManager.reschedule_job_async,
        ),
        Operation(
            "delete",
            EVERY_STATUS - {JobStatus.DOING},
            "delete what does not run, with all that is kept of it, for good",
            JobManager.delete_jobs_async,
            _delete,
        ),
    )
}


class Change:
    """Changing jobs."""

    async def ask(self, visit: Visit) -> Response:
        """The question, which says how many jobs it is about."""
        query = visit.request.query_params
        return await self._ask(visit, query)

    async def do(self, visit: Visit) -> Response:
        """Do it."""
        form = await visit.form()
        operation = _operation(form)
        ids, filters = _which(form)
        try:
            given = _given(operation, form)
            if ids is not None and len(ids) == 1:
                options = {_ONE.get(name, name): value for name, value in given.items()}
                await operation.one(visit.jobs, ids[0], **options)
                visit.log(operation.name, job_id=ids[0], **_noted(given))
                if operation.name == "delete":
                    return visit.redirect("/jobs", done="delete", jobs=1)
                return visit.redirect(f"/jobs/{ids[0]}", done=operation.name)
            wanted = {"ids": ids} if ids is not None else await filters.resolve(visit.jobs)
            statuses = _statuses(operation, wanted)
            changed = await operation.many(visit.jobs, **wanted | {"status": statuses} | given)
        except InvalidJob as error:
            return await self._ask(visit, form, problem=str(error))
        visit.log(
            operation.name,
            jobs=changed,
            job_ids=ids,
            filters=None if ids is not None else dict(filters.said),
            **_noted(given),
        )
        return visit.redirect("/jobs", done=operation.name, jobs=changed, **filters.said)

    async def _ask(
        self,
        visit: Visit,
        fields: ImmutableMultiDict[str, str],
        problem: str | None = None,
    ) -> Response:
        operation = _operation(fields)
        ids, filters = _which(fields)
        wanted = {"ids": ids} if ids is not None else await filters.resolve(visit.jobs)
        counts = await visit.jobs.count_jobs_async(**wanted)
        possible = [each for each in counts.counts if each.status in operation.statuses]
        return visit.render(
            "change.html",
            status=200 if problem is None else 422,
            operation=operation,
            ids=ids,
            filters=filters,
            number=sum(each.jobs for each in possible),
            other=sum(each.jobs for each in counts.counts) - sum(each.jobs for each in possible),
            is_estimate=any(each.is_estimate for each in possible),
            by_status=_by_status(possible),
            problem=problem,
            when=fields.get("when", ""),
            priority=fields.get("priority", ""),
            new_queue=fields.get("new_queue", ""),
        )


# What the twin for one job calls what is given.
_ONE = {"new_queue": "queue"}


def _operation(fields: ImmutableMultiDict[str, str]) -> Operation:
    name = fields.get("do", "")
    if name not in OPERATIONS:
        raise InvalidFilter(
            f"do={short_repr(name)} is nothing that is done to jobs: there are {', '.join(OPERATIONS)}"
        )
    return OPERATIONS[name]


def _which(fields: ImmutableMultiDict[str, str]) -> tuple[list[int] | None, Filters]:
    """The ids that were selected, or None where it is all that fit the filters."""
    filters = Filters.of(fields.multi_items(), beside=_BESIDE)
    if fields.get("all"):
        if not filters.said:
            raise InvalidFilter(
                "without a filter that would be every job: say which, at least by a status"
            )
        return None, filters
    try:
        ids = [int(given) for given in fields.getlist("id")]
    except ValueError:
        raise InvalidFilter(f"id={short_repr(fields.getlist('id'))}: ids are numbers") from None
    if not ids:
        raise InvalidFilter("no job is selected: tick some, or take all that fit the filters")
    return ids, filters


def _statuses(operation: Operation, wanted: Mapping[str, Any]) -> list[str]:
    """Of what fits, what the operation is for: the question has said how many those are."""
    possible = {status.value for status in operation.statuses}
    statuses = sorted(possible & set(wanted.get("status") or possible))
    if not statuses:
        raise InvalidFilter(
            f"{operation.name} is for jobs that are {', '.join(sorted(possible))}, and the filter status "
            "leaves none of these"
        )
    return statuses


def _given(operation: Operation, fields: ImmutableMultiDict[str, str]) -> dict[str, Any]:
    """What else was said: when, and for a rescheduling another priority or queue."""
    verb = {"retry": "retry", "reschedule": "schedule"}.get(operation.name)
    if verb is None:
        return {}
    given: dict[str, Any] = {}
    if when := fields.get("when", "").strip():
        moment = when_of(when)
        given[f"{verb}_in" if isinstance(moment, timedelta) else f"{verb}_at"] = moment
    if operation.name == "reschedule":
        if priority := fields.get("priority", "").strip():
            given["priority"] = priority_of(priority)
        if queue := fields.get("new_queue", ""):
            given["new_queue"] = queue
    return given


def _noted(given: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in given.items()}


def _by_status(counts: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        found[each.status.value] = found.get(each.status.value, 0) + each.jobs
    return found
