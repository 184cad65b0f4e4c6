"""The list of jobs: those that fit the filters in the address, a page at a time."""

import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import ImmutableMultiDict
from starlette.responses import Response

from taskq.contrib.dashboard.filters import NAMES, Filters
from taskq.contrib.dashboard.visit import Visit
from taskq.exceptions import InvalidFilter
from taskq.job import Job, JobStatus
from taskq.manager import JobManager
from taskq.messages import short_repr

_BESIDE = ("after", "order", "done", "jobs")
_PAGE = 50

# Seconds for which a page is searched for jobs that fit: then it says how far it has come.
_LONGEST_READ = 0.08

# Filters that are always in sight.
_FIRST = {"status", "task", "queue", "error", "args"}


class Jobs:
    """The list of jobs."""

    async def show(self, visit: Visit) -> Response:
        """A page of it."""
        query = visit.request.query_params
        shown: dict[str, Any] = {"page": None, "next_after": None, "filters": Filters({})}
        status, problem = 200, None
        try:
            shown["filters"] = filters = Filters.of(query.multi_items(), beside=_BESIDE)
            is_oldest_first = _is_oldest_first(query)
            page, next_after = await _read(
                visit.jobs,
                _after(query),
                newest_first=not is_oldest_first,
                filters=await filters.resolve(visit.jobs),
            )
            shown |= {"page": page, "next_after": next_after}
        except InvalidFilter as error:
            status, problem = 400, str(error)
        said = dict(shown["filters"].said) if problem is None else _as_given(query)
        return visit.render(
            "jobs.html",
            status=status,
            problem=problem,
            said=said,
            has_more=bool(said.keys() - _FIRST),
            now=await visit.jobs.get_server_time_async(),
            statuses=[each.value for each in JobStatus],
            tasks=sorted({task.name for task in visit.app.tasks.values()}),
            is_oldest_first=query.get("order") == "oldest",
            is_first=query.get("after") is None,
            changed=_changed(query),
            **shown,
        )


async def _read(
    jobs: JobManager, after: int | None, *, newest_first: bool, filters: Mapping[str, Any]
) -> tuple[list[Job], int | None]:
    """Read a page, for a while also beyond what is searched at once; and where the next one begins."""
    found: list[Job] = []
    ends = time.monotonic() + _LONGEST_READ
    while True:
        page = await jobs.list_jobs_async(
            after=after, limit=_PAGE - len(found), newest_first=newest_first, **filters
        )
        found += page
        after = page.next_after
        if after is None or len(found) == _PAGE or time.monotonic() > ends:
            return found, after


def _after(query: ImmutableMultiDict[str, str]) -> int | None:
    given = query.get("after")
    if given is None:
        return None
    try:
        return int(given)
    except ValueError:
        raise InvalidFilter(f"after={short_repr(given)} is no id of a job") from None


def _is_oldest_first(query: ImmutableMultiDict[str, str]) -> bool:
    order = query.get("order", "newest")
    if order not in {"newest", "oldest"}:
        raise InvalidFilter(f"order={short_repr(order)}: it is newest or oldest")
    return order == "oldest"


def _changed(query: ImmutableMultiDict[str, str]) -> int:
    given = query.get("jobs", "0")
    return int(given) if given.isdecimal() and len(given) < 20 else 0


def _as_given(query: ImmutableMultiDict[str, str]) -> dict[str, Any]:
    """What was typed, to be put right."""
    several = ("status", "tag")
    return {
        name: query.getlist(name) if name in several else query[name]
        for name in query
        if name in NAMES
    }
