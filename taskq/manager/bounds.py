"""How many at once: what a caller may ask for."""

from taskq.codec import shown
from taskq.exceptions import TaskqException


def check_count(name: str, count: object, most: int, refusal: type[TaskqException]) -> None:
    """Refuse what is no number from 1 to ``most``.

    Args:
        name: What the caller knows it by.
        count: What was asked for.
        most: The highest number that may be.
        refusal: What is raised otherwise.
    """
    if not isinstance(count, int) or not 1 <= count <= most:
        raise refusal(f"{name}={shown(count)} is none: it goes from 1 to {most:,}")
