"""What a statement must have seen: snapshots, and when a transaction had become visible to everybody."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Self


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of PostgreSQL: which transactions had ended when it was taken."""

    oldest: int
    next: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str, *, taken_by: int) -> Self:
        """Read ``10:20:10,14``, as ``pg_current_snapshot()`` shows it.

        Args:
            text: What that shows.
            taken_by: The transaction that took it, which runs and is not named.
        """
        oldest, following, others = text.split(":")
        running = {int(other) for other in others.split(",") if other} | {taken_by}
        return cls(min(int(oldest), taken_by), int(following), frozenset(running))

    def sees(self, transaction: int) -> bool:
        """Whether a transaction had ended when it was taken."""
        return transaction < self.oldest or (
            transaction < self.next and transaction not in self.running
        )


class Visibility:
    """When transactions had become visible, at the latest.

    A commit has a time, but becomes visible a moment later, which is not recorded. Snapshots tell: what
    one sees, every statement sees that begins after it was taken.

    Args:
        transactions: Those that committed.
        samples: Snapshots, each with a time at which it had been taken.
    """

    def __init__(
        self, transactions: Iterable[int], samples: Iterable[tuple[float, Snapshot]]
    ) -> None:
        self._visible_by: dict[int, float] = {}
        pending = sorted(set(transactions), reverse=True)
        for at, snapshot in sorted(samples, key=lambda sample: sample[0]):
            unseen = []
            while pending and pending[-1] < snapshot.next:
                transaction = pending.pop()
                if snapshot.sees(transaction):
                    self._visible_by[transaction] = at
                else:
                    unseen.append(transaction)
            pending.extend(reversed(unseen))

    def by(self, transaction: int) -> float:
        """The time from which on every statement sees the transaction; ``inf``: none is known."""
        return self._visible_by.get(transaction, inf)
