"""The ASGI application: which address leads to which page, and what holds for all of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from taskq.app import App
from taskq.contrib.dashboard.access import Access, Authorize, access_of, name_of, read_only
from taskq.contrib.dashboard.pages import metrics
from taskq.contrib.dashboard.pages.change import Change
from taskq.contrib.dashboard.pages.defer import Defer
from taskq.contrib.dashboard.pages.job import JobPage
from taskq.contrib.dashboard.pages.jobs import Jobs
from taskq.contrib.dashboard.pages.overview import Overview
from taskq.contrib.dashboard.pages.periodic import PeriodicTasks
from taskq.contrib.dashboard.pages.queues import Queues
from taskq.contrib.dashboard.pages.tasks import Tasks
from taskq.contrib.dashboard.pages.workers import Workers
from taskq.contrib.dashboard.problems import Problem, problem_of
from taskq.contrib.dashboard.rendering import HERE
from taskq.contrib.dashboard.security import HEADERS, SAFE_METHODS, is_from_page, is_host
from taskq.contrib.dashboard.visit import Visit, logger
from taskq.exceptions import TaskqException
from taskq.exposition import begin_to_count

Handler = Callable[[Visit], Awaitable[Response]]

_VISIT = "taskq.visit"


class Dashboard:
    """The dashboard of an app, as an ASGI application: to be served, or mounted in another one.

    Args:
        app: The app. Modules of its ``import_paths`` are imported with the first request.
        authorize: Answers what a request may do; it may be async. None: each may look, and none may change
            anything. What it puts into ``request.state.taskq_user`` is who it is, in the log and beside a
            pause.
        hosts: By which names it may be asked for, with or without a port; None: by any. For a dashboard
            without ``authorize``, which is for this machine alone.
        routes: Further routes of Starlette's under the same address, for those who may look.
    """

    def __init__(
        self,
        app: App,
        *,
        authorize: Authorize | None = None,
        hosts: Sequence[str] | None = None,
        routes: Sequence[BaseRoute] = (),
    ) -> None:
        self.app = app
        self._authorize = authorize or read_only
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._has_tasks = False
        begin_to_count(app)
        overview, job, workers = Overview(app), JobPage(app), Workers(app)
        jobs, change, defer = Jobs(), Change(), Defer()
        tasks, queues, periodic = Tasks(), Queues(), PeriodicTasks()
        self._router = Router(
            [
                Mount("/static", _Files(directory=HERE / "static")),
                _get("/", overview.show),
                _stream("/live", overview.live),
                _get("/jobs", jobs.show),
                _get("/jobs/change", change.ask),
                _post("/jobs/change", change.do),
                _get("/jobs/{job_id}", job.show),
                _stream("/jobs/{job_id}/live", job.live),
                _post("/jobs/{job_id}/again", job.again),
                _get("/defer", defer.ask),
                _post("/defer", defer.do),
                _get("/tasks", tasks.show),
                _post("/tasks/pause", tasks.pause),
                _get("/queues", queues.show),
                _post("/queues/pause", queues.pause),
                _post("/limits", queues.limit),
                _get("/workers", workers.show),
                _stream("/workers/live", workers.live),
                _get("/periodic", periodic.show),
                _post("/periodic/run", periodic.run),
                _get("/metrics", metrics.show),
                *routes,
            ],
            default=_nowhere,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        # What is raised is answered here, and not by the application that this one is mounted in.
        scope = {**scope, "starlette.exception_handlers": ({}, {})}
        request = Request(scope, receive)
        answer = _Answer(send)
        visit = Visit(request, self.app, Access.NONE, "unknown")
        try:
            visit = await self._admit(request)
            # With an application a route raises what it refuses, and does not answer by itself.
            await self._router({**scope, "app": self, _VISIT: visit}, receive, answer.send)
        except Exception as error:
            if answer.has_begun:
                raise
            response = self._problem(visit, error)
            await response(scope, receive, answer.send)

    async def _admit(self, request: Request) -> Visit:
        if self._hosts is not None and not is_host(request, self._hosts):
            raise HTTPException(
                421,
                "without a password the dashboard answers only where it is asked for by a name of this "
                "machine; to reach it by another name, give it a password, or name that with --trusted-host",
            )
        access = await access_of(self._authorize, request)
        visit = Visit(request, self.app, access, name_of(request))
        if access is Access.NONE and not request.scope["path"].endswith(_OPEN):
            challenge = getattr(self._authorize, "challenge", None)
            if challenge is not None:
                raise HTTPException(401, "say who you are", headers={"www-authenticate": challenge})
            raise HTTPException(403, "you may not look at this")
        if request.method not in SAFE_METHODS:
            if not is_from_page(request):
                raise HTTPException(
                    403,
                    "nothing was changed: the browser does not say that this comes from a page of the "
                    "dashboard. Open the page here and try again; a proxy in front has to pass on the "
                    "headers Host, Origin and Sec-Fetch-Site as they are",
                )
            if access < Access.OPERATE:
                raise HTTPException(
                    403, "nothing was changed: you may look, and not change anything"
                )
        if not self._has_tasks:
            self.app.perform_import_paths()
            self._has_tasks = True
        return visit

    def _problem(self, visit: Visit, error: Exception) -> Response:
        problem = None
        if isinstance(error, HTTPException):
            title = _TITLES.get(error.status_code, "That cannot be done")
            problem = Problem(error.status_code, title, error.detail, error.headers or {})
        elif isinstance(error, TaskqException):
            problem = problem_of(error)
        if problem is None:
            logger.error(
                "the dashboard cannot answer %s %s",
                visit.request.method,
                visit.request.url.path,
                exc_info=error,
                extra={"action": "dashboard_error"},
            )
            problem = Problem(500, "This is a fault", "The log of the server says more about it.")
        return visit.render(
            "problem.html",
            status=problem.status,
            headers=problem.headers,
            problem=problem,
            is_shown=visit.access >= Access.READ,
        )


_TITLES = {
    400: "That makes no sense",
    401: "Who are you?",
    403: "That is not allowed",
    404: "There is nothing here",
    405: "That is not how to ask for this",
    413: "That is too much",
    415: "That is no form",
    421: "That is not the name of this dashboard",
}

# What has nothing of the database in it, and what a page that says so looks like.
_OPEN = ("/static/dashboard.css", "/static/dashboard.js", "/static/icon.svg")


class _Files(StaticFiles):
    """The style and the script, which browsers keep: what changes has another address."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response


class _Answer:
    """What is sent, with the headers that each answer has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            given = {name.lower() for name, _ in message.get("headers", ())}
            message["headers"] = [
                *message.get("headers", ()),
                *((n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given),
            ]
        await self._send(message)


def _get(path: str, handler: Handler) -> Route:
    return Route(path, partial(_handle, handler), methods=["GET"])


def _stream(path: str, handler: Handler) -> Route:
    route = _get(path, handler)
    # It would never end, and nothing of it would be sent.
    route.methods = {"GET"}
    return route


def _post(path: str, handler: Handler) -> Route:
    return Route(path, partial(_handle, handler), methods=["POST"])


async def _handle(handler: Handler, request: Request) -> Response:
    # Of this request the route knows what was in its path.
    return await handler(replace(request.scope[_VISIT], request=request))


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    raise HTTPException(404, "no page of the dashboard has this address")
