"""HttpServer: answers probes and scrapes, in a thread of its own.

What blocks the worker's event loop does not keep it from answering, and it keeps no job waiting: it reads
what the worker's services know, and asks the database only for metrics. It is there before the worker is
registered, and until it has stopped.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Final

from taskq.escaping import get_logger
from taskq.exceptions import InvalidOption
from taskq.telemetry import Telemetry
from taskq.worker.http.address import HttpAddress
from taskq.worker.http.request import (
    LONGEST_LINE,
    Answer,
    RefusedRequestError,
    read_request,
    write_answer,
)
from taskq.worker.service import ThreadService

logger: Final = get_logger("taskq.worker.http")

# For a request to arrive, and its answer to leave.
_PATIENCE = 10.0  # seconds

# For how long what was sent too much is read, so that the client gets to read the answer.
_LINGER = 0.5  # seconds

# Connections at once; others are closed. Probes and scrapes are two or three.
_MOST_CONNECTIONS = 64


class HttpServer(ThreadService):
    """Answers requests.

    Args:
        address: Where. It is taken at once.
        pages: What answers, by path; called in a thread, and may block that.
        telemetry: Told if its thread does not end.

    Attributes:
        address: Where, with the port that was free if any was to do.

    Raises:
        InvalidOption: The address cannot be had.
    """

    def __init__(
        self,
        address: HttpAddress,
        pages: Mapping[str, Callable[[], Answer]],
        *,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(telemetry)
        self._pages = pages
        self._connections: set[asyncio.Task[object]] = set()
        self._socket = _listening(address)
        self.address: HttpAddress = HttpAddress(*self._socket.getsockname()[:2])

    async def loop(self) -> None:
        """Answer until it is stopped."""
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=LONGEST_LINE)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - start_server makes one for each
        self._connections.add(this)
        try:
            if len(self._connections) <= _MOST_CONNECTIONS:
                # To a client that goes away, or takes its time, nothing is left to say; nor when it stops.
                with suppress(OSError, TimeoutError, asyncio.CancelledError):
                    async with asyncio.timeout(_PATIENCE):
                        await self._serve(reader, writer)
        finally:
            self._connections.discard(this)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        has_body = True
        try:
            request = await read_request(reader)
            if request is None:
                return
            has_body = request.has_body
            answer = await self._answer(request.path)
        except RefusedRequestError as refused:
            answer = refused.answer
        # So that it is all gone when drain() returns.
        writer.transport.set_write_buffer_limits(high=0)
        write_answer(writer, answer, has_body=has_body)
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while await reader.read(LONGEST_LINE):
                    pass

    async def _answer(self, path: str) -> Answer:
        page = self._pages.get(path)
        if page is None:
            known = ", ".join(self._pages)
            return Answer.text(HTTPStatus.NOT_FOUND, f"there is no such page, but {known}")
        try:
            return await asyncio.to_thread(page)
        except Exception:
            logger.exception(
                "%s could not be answered", path, extra={"action": "http_failed", "path": path}
            )
            return Answer.text(
                HTTPStatus.INTERNAL_SERVER_ERROR, "this failed; the worker's log says why"
            )


def _listening(address: HttpAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        raise InvalidOption(
            f"http={str(address)!r} cannot be listened on: {error.strerror or error}; name another port, "
            "an address of this machine, or port 0 for one that is free"
        ) from error
