"""A TCP proxy before a server that delays, cuts, refuses, and goes silent, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Literal

Way = Literal["to server", "back"]
BOTH: Sequence[Way] = ("to server", "back")


class _Connection:
    """One connection through the proxy; closed as the other end is, or never if it went silent."""

    def __init__(self) -> None:
        self.gates: dict[Way, asyncio.Event] = {way: asyncio.Event() for way in BOTH}
        self.writers: list[asyncio.StreamWriter] = []

    def silence(self, ways: Sequence[Way]) -> None:
        for way in ways:
            self.gates[way].clear()


class Proxy:
    """Carries connections to a port of this machine.

    Args:
        port: Whose.

    Attributes:
        port: Its own.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._connections: set[_Connection] = set()
        self._carriers: set[asyncio.Task[None]] = set()
        self._delay = 0.0
        self._refuses = False
        self._silent: Sequence[Way] = ()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop
        ).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def delay(self, seconds: float) -> None:
        """Hold all that comes for so long, in each direction."""
        self._delay = seconds

    def refuse(self) -> None:
        """Close new connections at once."""
        self._refuses = True

    def cut(self) -> None:
        """Reset the connections that there are."""

        def reset() -> None:
            for connection in self._connections:
                for writer in connection.writers:
                    writer.transport.abort()

        self._call(reset)

    def silence(self, ways: Sequence[Way] = BOTH, *, also_new: bool = False) -> None:
        """Let nothing through, for ever, on the connections that there are; nothing is closed.

        Args:
            ways: In which directions.
            also_new: Whether also on those that are opened before ``heal``.
        """

        def silence() -> None:
            self._silent = ways if also_new else ()
            for connection in self._connections:
                connection.silence(ways)

        self._call(silence)

    def heal(self) -> None:
        """Carry new connections as if nothing had been. Those that went silent stay so."""
        self._delay, self._refuses, self._silent = 0.0, False, ()

    def close(self) -> None:
        """End it, and all connections."""

        async def end() -> None:
            self._server.close()
            connections = list(self._connections)
            for carrier in self._carriers:
                carrier.cancel()
            await asyncio.gather(*self._carriers, return_exceptions=True)
            for connection in connections:
                for writer in connection.writers:
                    writer.transport.abort()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, function: Callable[[], None]) -> None:
        async def call() -> None:
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    async def _accept(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        if self._refuses:
            to_near.transport.abort()
            return
        try:
            far, to_far = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            to_near.transport.abort()
            return
        connection = _Connection()
        for gate in connection.gates.values():
            gate.set()
        connection.silence(self._silent)
        connection.writers = [to_near, to_far]
        self._connections.add(connection)
        carried = [
            self._start(near, to_far, connection.gates["to server"]),
            self._start(far, to_near, connection.gates["back"]),
        ]
        for carrier in carried:
            carrier.add_done_callback(lambda _: self._forget(connection, carried))

    def _start(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> "asyncio.Task[None]":
        carrier = asyncio.ensure_future(self._carry(reader, writer, gate))
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)
        return carrier

    def _forget(self, connection: _Connection, carried: "list[asyncio.Task[None]]") -> None:
        if all(carrier.done() for carrier in carried):
            self._connections.discard(connection)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        try:
            while data := await reader.read(65536):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await gate.wait()
                writer.write(data)
                await writer.drain()
            await gate.wait()
        except OSError:
            pass
        writer.close()
