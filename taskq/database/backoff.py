"""How long to wait before something that failed is tried again."""

import asyncio
import random


class Backoff:
    """Waits that double, with jitter, so that workers that lost a server do not return as one.

    Args:
        first: The first wait, in seconds.
        longest: The longest, in seconds.
    """

    def __init__(self, first: float = 0.05, longest: float = 5.0) -> None:
        self._next = first
        self._longest = longest

    async def wait(self) -> None:
        """Wait, each time longer."""
        # Spreads load; nothing secret depends on it.
        await asyncio.sleep(self._next * random.uniform(0.5, 1))  # noqa: S311
        self._next = min(self._next * 2, self._longest)
