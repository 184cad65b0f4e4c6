"""Who a worker is in the database, and which other workers it knows."""

import time
import zlib
from collections.abc import Mapping, Sequence

from taskq.manager.outcome import Colleague, Registration


class Identity:
    """A registered worker.

    Args:
        name: Its name.
        queues: The queues it serves; None: all.
        registration: How it is known in the database. It is another one once the worker had to register
            again, and so is the ``id``, which says whose jobs are its own.
    """

    def __init__(self, name: str, queues: Sequence[str] | None, registration: Registration) -> None:
        self.name = name
        self.queues = queues
        self.register(registration)
        self._served = None if queues is None else frozenset(queues)
        self._colleagues: dict[int, frozenset[str] | None] = {}
        self._offset = 0.0
        self.see_clock(registration.server_time, self.now())

    def register(self, registration: Registration) -> None:
        """Be registered so from now on."""
        self.registration: Registration = registration
        self.id: int = registration.id

    def see_clock(self, server_time: float, seen_at: float) -> None:
        """Take in the server's clock: times of jobs go by it, and no two machines agree.

        Args:
            server_time: In seconds since 1970.
            seen_at: What ``now`` said at that moment.
        """
        self._offset = server_time - seen_at

    def now(self) -> float:
        """This machine's clock, in seconds, for how long something took; that of event loops."""
        return time.monotonic()

    def server_now(self) -> float:
        """The server's clock, in seconds since 1970."""
        return self._offset + self.now()

    def seconds_until(self, server_time: float) -> float:
        """How long until the server's clock shows a time; negative if it has."""
        return server_time - self._offset - self.now()

    def see_colleagues(self, colleagues: Mapping[int, Colleague]) -> None:
        """Take in which workers are alive, by their ids."""
        self._colleagues = {
            other: colleague.queues for other, colleague in colleagues.items() if other != self.id
        }

    @property
    def is_alone(self) -> bool:
        """Whether no other worker is known."""
        return not self._colleagues

    def serves(self, queue: str) -> bool:
        """Whether jobs of a queue are for this worker."""
        return self._served is None or queue in self._served

    def turn(self, key: str, queue: str | None = None) -> int:
        """Of all workers that hear the same, how many are to act before this one.

        Each ranks itself and the others by a hash of the key (rendezvous hashing), and so they agree
        without a word. Whoever knows fewer others may think itself first too, which costs a vain
        claim; that nobody does takes a dead worker, and the others look a moment later anyway.
        """
        own = _rank(key, self.id)
        return sum(
            own < _rank(key, other)
            for other, queues in self._colleagues.items()
            if queue is None or queues is None or queue in queues
        )


def _rank(key: str, worker_id: int) -> tuple[int, int]:
    return zlib.crc32(f"{key} {worker_id}".encode()), worker_id
