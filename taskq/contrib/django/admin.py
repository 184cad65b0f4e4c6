"""Jobs and workers in Django's admin: read-only, with what operators do about jobs as its actions."""

import json
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.template.response import TemplateResponse
from django.utils.html import format_html, format_html_join

from taskq.contrib.django.application import DjangoApp, get_app
from taskq.contrib.django.models import Job, Worker
from taskq.exceptions import TaskqException
from taskq.job import JobStatus

_LARGEST_ID = 2**63 - 1


def _app() -> DjangoApp:
    return get_app()


class _JobFilter(admin.SimpleListFilter):
    """A filter of the job manager's; what may be chosen is known without asking the database."""

    title: Any
    parameter_name: str

    def names(self) -> Iterable[str]:
        """What may be chosen."""
        raise NotImplementedError

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """What may be chosen, and what the address says."""
        said = request.GET.get(self.parameter_name)
        return [(name, name) for name in sorted({*self.names(), *([said] if said else [])})]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """The rows that fit, for actions: those chosen by their ids."""
        return queryset


class StatusFilter(_JobFilter):
    """By status."""

    title = parameter_name = "status"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """The statuses, in the order of a job's life."""
        return [(status.value, status.value) for status in JobStatus]


class QueueFilter(_JobFilter):
    """By queue: those of the tasks."""

    title = parameter_name = "queue"

    def names(self) -> Iterable[str]:
        """The queues that tasks are declared with."""
        return {task.queue for task in _app().tasks.values()}


class TaskFilter(_JobFilter):
    """By task: those of the app."""

    title = parameter_name = "task"

    def names(self) -> Iterable[str]:
        """The names of the tasks."""
        return _app().tasks


class JobList(ChangeList):
    """A page of jobs as the job manager lists them: bounded, and not counted.

    ``p`` of the address is where the page begins, by id: the pages of a queue have no numbers.

    Attributes:
        older: Where the next page begins; None: this is the last one.
    """

    older: int | None = None
    result_count: int
    full_result_count: int | None
    show_admin_actions: bool
    paginator: Any

    def get_results(self, request: Any) -> None:
        """Read the page."""
        filters: dict[str, Any] = {
            spec.parameter_name: spec.value()
            for spec in self.filter_specs
            if isinstance(spec, _JobFilter) and spec.value()
        }
        searched = self.query.strip()
        if searched.isdecimal() and int(searched) <= _LARGEST_ID:
            filters["ids"] = [int(searched)]
        elif searched:
            filters["error"] = searched
        begins = request.GET.get(PAGE_VAR, "")
        try:
            page = _app().job_manager.list_jobs(
                after=int(begins) if begins.isdecimal() else None,
                limit=self.list_per_page,
                newest_first=True,
                **filters,
            )
        except TaskqException as error:
            messages.error(request, str(error))
            page = None
        jobs = [] if page is None else [Job.of(job) for job in page]
        self.older = None if page is None else page.next_after
        self.result_list = jobs
        self.result_count = len(jobs)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = bool(jobs)
        self.can_show_all = self.multi_page = False
        self.paginator = self.model_admin.get_paginator(request, jobs, self.list_per_page)

    @property
    def newest_link(self) -> str:
        """The address of the first page."""
        link: str = self.get_query_string(remove=[PAGE_VAR])
        return link

    @property
    def older_link(self) -> str:
        """The address of the next page."""
        link: str = self.get_query_string({PAGE_VAR: self.older})
        return link


class ReadOnlyAdmin(admin.ModelAdmin):
    """What is not added, changed or deleted by forms."""

    def has_add_permission(self, request: Any) -> bool:
        """None has it: tasks defer jobs, and workers register themselves."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """None has it: there are actions for that."""
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        """None has it, likewise."""
        return False


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Jobs. Who may change jobs has the actions, and who may delete them can do that as well."""

    list_display: ClassVar[tuple[Any, ...]] = (
        "id",
        "task_name",
        "queue_name",
        "status",
        "priority",
        "attempt",
        "deferred_at",
        "scheduled_at",
        "started_at",
        "finished_at",
    )
    list_filter: ClassVar[tuple[Any, ...]] = (StatusFilter, QueueFilter, TaskFilter)
    search_fields: ClassVar[tuple[Any, ...]] = ("id",)
    search_help_text = "A job's id, or a text in the error of an attempt"
    sortable_by: ClassVar[tuple[Any, ...]] = ()
    ordering: ClassVar[tuple[Any, ...]] = ("-id",)
    show_full_result_count = False
    show_facets: Any = admin.ShowFacets.NEVER
    change_list_template = "taskq/admin/jobs.html"
    actions: ClassVar[tuple[Any, ...]] = ("retry", "run_now", "cancel", "abort", "remove")
    readonly_fields: ClassVar[tuple[Any, ...]] = (
        "why",
        "arguments",
        "result",
        "metadata",
        "tags",
        "errors",
    )
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("id", "task_name", "status", "why", "arguments", "result", "errors")}),
        (
            "When and where",
            {
                "fields": (
                    *("queue_name", "priority", "attempt", "lock", "queueing_lock", "limit_key"),
                    *("deferred_at", "scheduled_at", "started_at", "finished_at", "worker_id"),
                    *("metadata", "tags"),
                )
            },
        ),
    )

    def get_changelist(self, request: Any, **kwargs: Any) -> type[Any]:
        """The list."""
        return JobList

    def get_search_results(self, request: Any, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """The rows for actions, which are chosen by their ids; the list searches by itself."""
        return queryset, False

    def has_operate_permission(self, request: Any) -> bool:
        """Who may change jobs."""
        return bool(request.user.has_perm("taskq.change_job"))

    def has_remove_permission(self, request: Any) -> bool:
        """Who may delete jobs."""
        return bool(request.user.has_perm("taskq.delete_job"))

    # Actions

    @admin.action(permissions=["operate"], description="Retry those that failed or were cancelled")
    def retry(self, request: Any, queryset: Any) -> None:
        """Put jobs back into the queue."""
        self._change(request, queryset, "put back", _app().job_manager.retry_jobs)

    @admin.action(permissions=["operate"], description="Run those now that wait for later")
    def run_now(self, request: Any, queryset: Any) -> None:
        """Have jobs start that are scheduled."""

        def run_now(ids: list[int]) -> int:
            return _app().job_manager.reschedule_jobs(ids=ids, schedule_in={"seconds": 0})

        self._change(request, queryset, "rescheduled", run_now)

    @admin.action(permissions=["operate"], description="Cancel those that wait")
    def cancel(self, request: Any, queryset: Any) -> None:
        """Cancel jobs."""
        self._change(request, queryset, "cancelled", _app().job_manager.cancel_jobs)

    @admin.action(
        permissions=["operate"], description="Cancel those that wait, abort those that run"
    )
    def abort(self, request: Any, queryset: Any) -> None:
        """Cancel jobs, and have those that run aborted."""

        def abort(ids: list[int]) -> int:
            return _app().job_manager.cancel_jobs(ids=ids, abort=True)

        self._change(request, queryset, "cancelled or asked to abort", abort)

    @admin.action(permissions=["remove"], description="Delete those that do not run …")
    def remove(self, request: Any, queryset: Any) -> Any:
        """Delete jobs, once that was confirmed."""
        if request.POST.get("confirmed"):
            self._change(request, queryset, "deleted", _app().job_manager.delete_jobs)
            return None
        return TemplateResponse(
            request,
            "taskq/admin/delete.html",
            {
                **self.admin_site.each_context(request),
                "title": "Delete jobs",
                "opts": self.opts,
                "ids": [job.pk for job in _chosen(request, queryset)],
            },
        )

    def _change(self, request: Any, queryset: Any, done: str, change: Callable[..., int]) -> None:
        jobs = list(_chosen(request, queryset))
        try:
            count = change(ids=[job.pk for job in jobs])
        except TaskqException as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        for job in jobs if count else []:
            self.log_change(request, job, f"{done}, if its status allowed it")
        left = len(jobs) - count
        told = f"{count} {done}" + (f", {left} not: their status does not allow it" if left else "")
        self.message_user(request, told, messages.SUCCESS if count else messages.WARNING)

    # What the page of a job shows beside its columns

    @admin.display(description="why it does not run")
    def why(self, job: Any) -> str:
        """What it waits for, or that it runs or has ended."""
        return _app().job_manager.explain_job(job.pk).text

    @admin.display
    def arguments(self, job: Any) -> str:
        """The arguments, as they are stored."""
        return _shown(job.stored.task_kwargs)

    @admin.display
    def result(self, job: Any) -> str:
        """What it returned."""
        return _shown(job.stored.result)

    @admin.display
    def metadata(self, job: Any) -> str:
        """What is noted about it."""
        return _shown(job.stored.metadata)

    @admin.display
    def tags(self, job: Any) -> str:
        """Its tags."""
        return ", ".join(job.stored.tags)

    @admin.display
    def errors(self, job: Any) -> str:
        """Why its attempts failed, the last one first."""
        failed = _app().job_manager.list_failed_attempts(job.pk)
        shown: str = format_html_join(
            "",
            "<p><strong>attempt {}</strong>, {}</p><pre>{}</pre>",
            ((one.attempt, one.failed_at, one.error_traceback) for one in reversed(failed)),
        )
        return shown


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Workers."""

    list_display: ClassVar[tuple[Any, ...]] = (
        "id",
        "name",
        "host",
        "version",
        "concurrency",
        "started_at",
        "last_heartbeat",
    )
    ordering: ClassVar[tuple[Any, ...]] = ("name", "id")


def _chosen(request: Any, queryset: Any) -> Any:
    # Those of the page, whatever a form says of all: they may be millions.
    return queryset.filter(pk__in=request.POST.getlist(ACTION_CHECKBOX_NAME))


def _shown(value: Any) -> str:
    # What Python cannot read of it is shown as its text.
    shown: str = format_html("<pre>{}</pre>", json.dumps(value, indent=2, default=str))
    return shown
