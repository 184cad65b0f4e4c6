"""Who may do what, and who it is."""

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable
from enum import IntEnum
from inspect import isawaitable
from typing import Any

from starlette.requests import Request

from taskq.exceptions import InvalidOption
from taskq.messages import short_repr


class Access(IntEnum):
    """What a request may do: nothing; look; or also defer, change and pause."""

    NONE = 0
    READ = 1
    OPERATE = 2


# What answers what a request may do; it may be async.
Authorize = Callable[[Request], Access | Awaitable[Access]]


class PasswordAccess:
    """Lets in who knows a name and a password, by HTTP's basic authentication.

    Args:
        user: The name.
        password: The password.
        access: What they may do.

    Attributes:
        challenge: What a browser is asked for it with.

    Raises:
        InvalidOption: One of them is empty, or the name has a colon.
    """

    challenge = 'Basic realm="taskq", charset="UTF-8"'

    def __init__(self, user: str, password: str, access: Access = Access.OPERATE) -> None:
        if not user or not password or ":" in user:
            raise InvalidOption(
                "the dashboard needs a user without a colon, and a password: neither may be empty"
            )
        self._user = user
        self._expected = f"{user}:{password}".encode()
        self._access = access

    def __call__(self, request: Request) -> Access:
        """Compare what a request gives."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return Access.NONE
        try:
            said = base64.b64decode(given.strip(), validate=True)
        except binascii.Error:
            return Access.NONE
        # In a time that does not depend on how much of it is right.
        if not hmac.compare_digest(said, self._expected):
            return Access.NONE
        request.state.taskq_user = self._user
        return self._access


def read_only(request: Request) -> Access:
    """Lets each request look, and none change anything."""
    return Access.READ


async def access_of(authorize: Authorize, request: Request) -> Access:
    """What a request may do.

    Raises:
        InvalidOption: ``authorize`` answers something else; then nothing is allowed.
    """
    answer: Any = authorize(request)
    if isawaitable(answer):
        answer = await answer
    if not isinstance(answer, Access):
        raise InvalidOption(
            f"authorize answered {short_repr(answer)}: it has to be Access.NONE, READ or OPERATE"
        )
    return answer


def name_of(request: Request) -> str:
    """Who it is, for the log and for others to read: as far as it is known.

    It is what ``authorize`` has put into ``request.state.taskq_user``; or the user that the middleware of
    Starlette or Django has found; or else the address of the client.
    """
    if named := getattr(request.state, "taskq_user", None):
        return str(named)
    user = request.scope.get("user")
    if user is not None and getattr(user, "is_authenticated", False):
        for attribute in ("display_name", "username"):
            if found := getattr(user, attribute, None):
                return str(found)
    return request.client.host if request.client else "unknown"
