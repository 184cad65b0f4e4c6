"""Channel: what a supervisor and one of its processes say to one another, over a pair of sockets.

Each message is an object of JSON. The end of the channel is the end of whoever had the other side, however
that one ended.
"""

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection, Pipe
from typing import Any, cast

Message = Mapping[str, Any]


class Channel:
    """One side of a channel.

    Args:
        connection: This side.
        received: Called with each message, in a thread.
        ended: Called in that thread when the other side is gone.
    """

    def __init__(
        self,
        connection: "Connection[Any, Any]",
        received: Callable[[Message], None],
        ended: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._received = received
        self._ended = ended
        self._sending = threading.Lock()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="taskq Channel", daemon=True).start()

    def send(self, **message: Any) -> None:
        """Say something; to the other side that is gone, nothing."""
        with self._sending, suppress(OSError):
            self._connection.send_bytes(json.dumps(message).encode())

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._received(json.loads(self._connection.recv_bytes()))
        self._connection.close()
        self._ended()


class SupervisorChannel(Channel):
    """The supervisor's side, which can ask for pages.

    Args:
        received: Called with each message that is no answer, in a thread.
        ended: Called in that thread when the other side is gone.

    Attributes:
        theirs: The other side, for the process to inherit; to be closed here once it has.
    """

    def __init__(self, received: Callable[[Message], None], ended: Callable[[], None]) -> None:
        ours, self.theirs = Pipe()
        super().__init__(ours, self._on_message, self._on_end)
        self._on_other = received
        self._on_ended = ended
        self._asking = threading.Lock()
        self._numbers = count(1)
        self._asked: dict[int, Future[Message]] = {}
        self._is_over = False

    def ask(self, page: str) -> "Future[Message]":
        """Ask for a page; the future has the answer, or is cancelled when the process has ended."""
        future: Future[Message] = Future()
        with self._asking:
            number = next(self._numbers)
            if self._is_over:
                future.cancel()
                return future
            self._asked[number] = future
        self.send(page=page, number=number)
        return future

    def _on_message(self, message: Message) -> None:
        if "number" not in message:
            self._on_other(message)
            return
        with self._asking:
            future = self._asked.pop(cast("int", message["number"]), None)
        if future is not None:
            future.set_result(message)

    def _on_end(self) -> None:
        with self._asking:
            self._is_over = True
            asked, self._asked = self._asked, {}
        for future in asked.values():
            future.cancel()
        self._on_ended()
