"""A request and its answer: as much of HTTP/1.1 as three pages need. Each connection has one of each."""

import asyncio
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

# Of a line: of the request, or of one header. A reader has this as its limit.
LONGEST_LINE = 8_192  # bytes
_MOST_HEADERS = 100

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
# A proxy may write the whole address.
_WITH_HOST = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_METHODS = ("GET", "HEAD")


class Answer(NamedTuple):
    """What is answered.

    Attributes:
        status: How the request is taken.
        body: The page.
        content_type: What the page is.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"

    @classmethod
    def text(cls, status: HTTPStatus, text: str) -> "Answer":
        """A page of one line."""
        return cls(status, f"{text}\n".encode())


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        path: Which page, without what follows a question mark.
        has_body: Whether the answer is to have its page: not for HEAD.
    """

    path: str
    has_body: bool


class RefusedRequestError(Exception):
    """A request that has no page.

    Attributes:
        answer: What is said instead.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.answer = Answer.text(status, text)


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read what is asked for; None: the client has gone without asking.

    Raises:
        RefusedRequestError: It is no request, or one that is not answered here.
    """
    line = await _line(reader, HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")
    if not line:
        return None
    parts = line.split()
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]):
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1")
    method, target, version = parts
    if not (said := _VERSION.fullmatch(version)):
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST, "this is no version of HTTP")
    if said[1] != b"1":
        raise RefusedRequestError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this answers HTTP/1.1 and HTTP/1.0"
        )
    await _skip_headers(reader)
    if method.decode() not in _METHODS:
        raise RefusedRequestError(
            HTTPStatus.METHOD_NOT_ALLOWED, f"this answers {' and '.join(_METHODS)}"
        )
    path = _WITH_HOST.sub(b"", target, count=1).split(b"?")[0]
    return Request(path.decode("latin-1") or "/", has_body=method == b"GET")


def write_answer(writer: asyncio.StreamWriter, answer: Answer, *, has_body: bool) -> None:
    """Write an answer, after which the connection is to be closed."""
    status = answer.status
    headers: Mapping[str, str] = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {**headers, "Allow": ", ".join(_METHODS)}
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    if has_body:
        writer.write(answer.body)


async def _skip_headers(reader: asyncio.StreamReader) -> None:
    # None of them says anything that matters here.
    too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    for _ in range(_MOST_HEADERS + 1):
        line = await _line(reader, too_large, "a header is too long")
        if line in {b"\r\n", b"\n"}:
            return
        if not line.endswith(b"\n") or b":" not in line:
            raise RefusedRequestError(
                HTTPStatus.BAD_REQUEST, "the headers are none, or have no end"
            )
    raise RefusedRequestError(too_large, "these are too many headers")


async def _line(reader: asyncio.StreamReader, too_long: HTTPStatus, text: str) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        raise RefusedRequestError(too_long, text) from None
