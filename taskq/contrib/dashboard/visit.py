"""A visit: one request, by whom, with what it may do, and what its answer is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import MultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from taskq.app import App
from taskq.contrib.dashboard.access import Access
from taskq.contrib.dashboard.rendering import render
from taskq.escaping import get_logger
from taskq.manager import JobManager

logger = get_logger("taskq.contrib.dashboard")

# Bytes of a form, and fields in it.
_LARGEST_FORM = 2**22
_MOST_FIELDS = 5_000


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, by whom, and with what it may do.

    Attributes:
        request: The request.
        app: The app that is shown.
        access: What may be done.
        who: Who it is.
    """

    request: Request
    app: App
    access: Access
    who: str

    @property
    def jobs(self) -> JobManager:
        """The jobs of the app."""
        return self.app.job_manager

    @property
    def may_operate(self) -> bool:
        """Whether something may be changed."""
        return self.access >= Access.OPERATE

    @property
    def root(self) -> str:
        """Where the dashboard is, behind whatever prefix, without a slash at its end."""
        return quote(self.request.scope.get("root_path", "").rstrip("/"), safe="/%:@!$&'()*+,;=~")

    def url(self, path: str, **query: Any) -> str:
        """The address of a page, with what of the query is not None; a list is said several times."""
        said = [
            (name, str(each))
            for name, value in query.items()
            if value is not None
            for each in (value if isinstance(value, list | tuple) else [value])
        ]
        return f"{self.root}{path}" + (f"?{urlencode(said)}" if said else "")

    def render(
        self,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **values: Any,
    ) -> Response:
        """A page made of a template."""
        return HTMLResponse(self.text(template, **values), status, headers)

    def text(self, template: str, **values: Any) -> str:
        """What a template makes of some values."""
        return render(
            template,
            url=self.url,
            may_operate=self.may_operate,
            who=self.who,
            notice=self.notice,
            path=self.request.scope["path"].removeprefix(self.request.scope.get("root_path", "")),
            database=str(self.app.database).removeprefix("postgresql+psycopg://"),
            **values,
        )

    def redirect(self, path: str, **query: Any) -> Response:
        """Send the browser on, to a page that it may load again without doing anything again."""
        return RedirectResponse(self.url(path, **query), 303)

    @property
    def notice(self) -> Mapping[str, str | None]:
        """What the address says was done just now, and to what: a page makes a sentence of its own of it."""
        query = self.request.query_params
        return {"done": query.get("done"), "what": query.get("what")}

    async def form(self) -> MultiDict:
        """The fields of the form that was sent.

        Raises:
            HTTPException: It is no form, or too large a one.
        """
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise HTTPException(415, "what was sent is no form of these pages")
        body = bytearray()
        async for part in self.request.stream():
            body += part
            if len(body) > _LARGEST_FORM:
                raise HTTPException(413, f"the form has more than {_LARGEST_FORM:,} bytes")
        try:
            fields = parse_qsl(
                body.decode(),
                keep_blank_values=True,
                max_num_fields=_MOST_FIELDS,
                errors="strict",
            )
        except ValueError as error:
            raise HTTPException(400, f"the form cannot be read: {error}") from None
        # Browsers send the line ends of text areas in their own way.
        return MultiDict([(name, value.replace("\r\n", "\n")) for name, value in fields])

    def log(self, operation: str, **what: Any) -> None:
        """Note what was done, and by whom."""
        shown = ", ".join(f"{name}={value!r}" for name, value in what.items() if value is not None)
        logger.info(
            "%s: %s (%s)",
            self.who,
            operation,
            shown,
            extra={"action": "dashboard_action", "operation": operation, "by": self.who, **what},
        )
