"""Who a worker is in the database, and which other workers it knows."""

import time
import zlib
from collections.abc import Mapping, Sequence

from taskq.queries.workers import Peer, RegisteredWorker


class Registration:
    """A registered worker.

    Args:
        name: Its name.
        queues: The queues it serves; None: all.
        row: How it is known in the database. It is another one once the worker had to register
            again, and so is the ``id``, which says whose jobs are its own.
    """

    def __init__(self, name: str, queues: Sequence[str] | None, row: RegisteredWorker) -> None:
        self.name = name
        self.queues = queues
        self.register(row)
        self._served = None if queues is None else frozenset(queues)
        self._peers: dict[int, frozenset[str] | None] = {}
        self._offset = 0.0
        self.see_clock(row.server_time, self.now())

    def register(self, row: RegisteredWorker) -> None:
        """Be registered so from now on."""
        self.row: RegisteredWorker = row
        self.id: int = row.id

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

    def see_peers(self, peers: Mapping[int, Peer]) -> None:
        """Take in which workers are alive, by their ids."""
        self._peers = {other: peer.queues for other, peer in peers.items() if other != self.id}

    @property
    def is_alone(self) -> bool:
        """Whether no other worker is known."""
        return not self._peers

    def serves(self, queue: str) -> bool:
        """Whether jobs of a queue are for this worker."""
        return self._served is None or queue in self._served

    def rank(self, key: str, queue: str | None = None) -> int:
        """Of all workers that get the same notification, how many are to act before this one.

        Each ranks itself and the others by a hash of the key (rendezvous hashing), and so they agree
        without a message. A worker that knows fewer others may rank itself first too, which costs a vain
        claim. None does if the first is dead, and the others check a moment later anyway.
        """
        own = _hash(key, self.id)
        return sum(
            own < _hash(key, other)
            for other, queues in self._peers.items()
            if queue is None or queues is None or queue in queues
        )


def _hash(key: str, worker_id: int) -> tuple[int, int]:
    return zlib.crc32(f"{key} {worker_id}".encode()), worker_id
