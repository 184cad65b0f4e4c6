"""What is read again and again, once for all who look at it, and sent to them."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from starlette.responses import StreamingResponse

from taskq.exceptions import TaskqException

T = TypeVar("T")

# Times what reading took, at least until the next time: where it takes long, not all of the server's time.
_IDLE = 4

# Seconds after which a browser connects anew: no stream is for ever.
_LONGEST_STREAM = 300


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What was read at one time, or why it could not be.

    Attributes:
        number: It grows from one to the next.
        began: When it was begun, by this machine's monotonic clock.
        due: When the next one is to be, likewise.
        value: What was read.
        error: Why it could not be.
        rendered: What was made of it, for those who get the same.
    """

    number: int
    began: float
    due: float
    value: T | None = None
    error: TaskqException | None = None
    rendered: dict[object, Mapping[str, str]] = field(default_factory=dict)

    def get(self) -> T:
        """What was read.

        Raises:
            TaskqException: It could not be.
        """
        if self.error is not None:
            raise self.error
        assert self.value is not None  # noqa: S101
        return self.value


class Board(Generic[T]):
    """What is read at most once in an interval, however many viewers there are; and not at all without one.

    Args:
        read: Reads it.
        interval: Seconds until it is read again.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], interval: float) -> None:
        self._read = read
        self._interval = interval
        self._reading: Reading[T] = Reading(number=0, began=0, due=0)
        # Of each event loop, as a test has several.
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def latest(self) -> Reading[T]:
        """What was read last, or is read now if that is too long ago."""
        if time.monotonic() < self._reading.due:
            return self._reading
        async with self._lock():
            if time.monotonic() >= self._reading.due:
                await self._read_again()
            return self._reading

    async def after(self, number: int) -> Reading[T]:
        """What is read after the reading of a number.

        Of all who wait one waits for the time and reads, and the others for that one; when it leaves, the
        next one of them does. So there is no task of its own that would have to be started and ended.
        """
        async with self._lock():
            if self._reading.number <= number:
                await asyncio.sleep(max(self._reading.due - time.monotonic(), 0))
                await self._read_again()
            return self._reading

    async def _read_again(self) -> None:
        number = self._reading.number + 1
        began = time.monotonic()
        value, error = None, None
        try:
            value = await self._read()
        except TaskqException as raised:
            error = raised
        ended = time.monotonic()
        due = ended + max(self._interval, _IDLE * (ended - began))
        self._reading = Reading(number, began, due, value, error)

    def _lock(self) -> asyncio.Lock:
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


class Boards(Generic[T]):
    """A board for each of what is looked at, such as a job; those that were looked at last are kept.

    Args:
        make: Makes the board of a key.
        most: How many are kept.
    """

    def __init__(self, make: Callable[[int], Board[T]], most: int = 100) -> None:
        self._make = make
        self._most = most
        self._boards: OrderedDict[int, Board[T]] = OrderedDict()

    def __getitem__(self, key: int) -> Board[T]:
        board = self._boards.pop(key, None) or self._make(key)
        self._boards[key] = board
        if len(self._boards) > self._most:
            self._boards.popitem(last=False)
        return board


def stream(
    board: Board[T],
    render: Callable[[T], Mapping[str, str]],
    *,
    key: object,
    is_over: Callable[[T], bool] = lambda value: False,
) -> StreamingResponse:
    """Send the parts of a page as server-sent events, each when it has changed.

    Args:
        board: What is read.
        render: Makes the parts, by their ids in the page.
        key: Who has the same one gets the same parts, which are made once for all of them.
        is_over: Whether nothing will change any more.
    """

    async def events() -> AsyncIterator[str]:
        begins = time.monotonic()
        ends = begins + _LONGEST_STREAM
        number = 0
        sent: dict[str, str] = {}
        yield "retry: 3000\n\n"
        yield _event("alive", "")
        while time.monotonic() < ends:
            reading = await board.after(number)
            number = reading.number
            if reading.began < begins:
                # The page may be newer than that, as what it shows was changed just now.
                continue
            if reading.error is not None:
                yield _event("away", str(reading.error))
                continue
            value = reading.get()
            parts = reading.rendered.get(key)
            if parts is None:
                parts = reading.rendered[key] = render(value)
            # At least something: it is by sending that a server finds out that the browser is gone.
            yield _event("alive", "")
            for name, html in parts.items():
                if sent.get(name) != html:
                    sent[name] = html
                    yield _event("part", f"{name}\n{html}")
            if is_over(value):
                yield _event("over", "")
                return

    return StreamingResponse(
        events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


def _event(name: str, data: str) -> str:
    # A line end of any kind in the data would end its line.
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    return f"event: {name}\n{lines}\n"
