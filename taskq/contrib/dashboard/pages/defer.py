"""Deferring a job by hand: with a form made of the task's signature, or by JSON; also one like another."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from taskq.contrib.dashboard.forms import (
    Field,
    fields_of,
    filled,
    priority_of,
    read_fields,
    read_json,
    read_object,
    when_of,
)
from taskq.contrib.dashboard.rendering import pretty_json
from taskq.contrib.dashboard.visit import Visit
from taskq.encryption import is_encrypted
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidArguments,
    InvalidFilter,
    InvalidJob,
    InvalidLimit,
)
from taskq.job import Job, copied_metadata
from taskq.messages import short_repr

_OPTIONS = ("queue", "priority", "lock", "queueing_lock", "tags", "metadata", "when", "key")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be deferred.

    Attributes:
        task: The name of the task.
        fields: The fields of its arguments; None: they are typed as JSON.
    """

    task: str
    fields: list[Field] | None


class Defer:
    """Deferring a job by hand."""

    async def ask(self, visit: Visit) -> Response:
        """The form."""
        query = visit.request.query_params
        like = await _like(visit, query.get("like"))
        name = like.task_name if like is not None else query.get("task", "")
        if not name:
            raise InvalidFilter(
                "of which task? Say it with task=, or a job that it is like with like="
            )
        arguments = {}
        if like is not None and not is_encrypted(like.task_kwargs) and not like.unreadable:
            arguments = dict(like.task_kwargs)
        asked = _asked(visit, name, arguments, is_raw=query.get("raw") == "1")
        return _form(
            visit,
            asked,
            raw=pretty_json(arguments),
            options=_said_of(visit, name, like),
            like=None if like is None else like.id,
        )

    async def do(self, visit: Visit) -> Response:
        """Defer it."""
        form = await visit.form()
        name = form.get("task", "")
        asked = _asked(visit, name, {}, is_raw=form.get("raw") == "1")
        try:
            arguments = (
                read_object(form.get("arguments", "") or "{}", what="the arguments")
                if asked.fields is None
                else read_fields(asked.fields, form)
            )
            deferrer = visit.app.configure_task(name, **_options(form))
            job_id = await deferrer.defer_async(**arguments)
        except (InvalidArguments, InvalidJob, InvalidLimit, AlreadyEnqueued) as error:
            fields = None if asked.fields is None else filled(asked.fields, form)
            return _form(
                visit,
                _Asked(name, fields),
                raw=form.get("arguments", ""),
                options={option: form.get(option, "") for option in _OPTIONS},
                like=None,
                status=409 if isinstance(error, AlreadyEnqueued) else 422,
                problem=str(error),
            )
        visit.log("defer", job_id=job_id, task=name)
        return visit.redirect(f"/jobs/{job_id}", done="defer")


async def _like(visit: Visit, given: str | None) -> Job | None:
    if given is None:
        return None
    try:
        job_id = int(given)
    except ValueError:
        raise InvalidFilter(f"like={short_repr(given)} is no id of a job") from None
    return await visit.jobs.get_job_async(job_id)


def _asked(visit: Visit, name: str, given: Mapping[str, Any], *, is_raw: bool) -> _Asked:
    task = visit.app.tasks.get(name)
    if task is None or is_raw:
        return _Asked(name, None)
    schema = task.arguments.json_schema()
    if schema["additionalProperties"] is not False:
        # It takes any names, for which there are no fields.
        return _Asked(name, None)
    # What a job was given that the task does not take any more is seen only as JSON.
    if given.keys() - schema["properties"].keys():
        return _Asked(name, None)
    return _Asked(name, fields_of(schema, given))


def _said_of(visit: Visit, name: str, like: Job | None) -> dict[str, str]:
    """What is in the fields of the options: of the job that it is like, or of the task."""
    task = visit.app.tasks.get(name)
    source: Any = like if like is not None else task
    if source is None:
        return dict.fromkeys(_OPTIONS, "")
    metadata = copied_metadata(source.metadata)
    return {
        "queue": source.queue,
        "priority": str(source.priority),
        "lock": source.lock or "",
        "queueing_lock": source.queueing_lock or "",
        "tags": ", ".join(source.tags),
        "metadata": "" if metadata is None else pretty_json(metadata),
        "when": "",
        "key": "",
    }


def _options(form: Mapping[str, str]) -> dict[str, Any]:
    """What the job is deferred with. What is empty is what the task says, or nothing."""
    options: dict[str, Any] = {
        "lock": form.get("lock") or None,
        "queueing_lock": form.get("queueing_lock") or None,
        "idempotency_key": form.get("key") or None,
        "tags": [tag.strip() for tag in form.get("tags", "").split(",") if tag.strip()] or None,
        "metadata": None,
    }
    if queue := form.get("queue"):
        options["queue"] = queue
    if priority := form.get("priority", "").strip():
        options["priority"] = priority_of(priority)
    if metadata := form.get("metadata", "").strip():
        options["metadata"] = read_json(metadata, what="the metadata")
    if when := form.get("when", "").strip():
        moment = when_of(when)
        options["schedule_in" if isinstance(moment, timedelta) else "schedule_at"] = moment
    return options


def _form(
    visit: Visit,
    asked: _Asked,
    *,
    raw: str,
    options: Mapping[str, str],
    like: int | None,
    status: int = 200,
    problem: str | None = None,
) -> Response:
    task = visit.app.tasks.get(asked.task)
    return visit.render(
        "defer.html",
        status=status,
        task=asked.task,
        is_known=task is not None,
        is_encrypted=task is not None and task.encrypted,
        description=(task.func.__doc__ or "").strip() if task is not None else "",
        fields=asked.fields,
        raw=raw,
        options=options,
        like=like,
        problem=problem,
    )
